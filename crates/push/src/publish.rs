//! Manifests and indexes: put last, and children before the index that lists them.

use std::collections::{HashMap, HashSet};

use cli::{Code, Failure};
use layer_format::{Descriptor, Digest, Reference};
use stream::Graph;

use crate::target::Target;

/// A manifest or an index, and what it lists.
pub(crate) struct Listed<'a> {
    pub(crate) descriptor: Descriptor,
    pub(crate) raw: &'a [u8],
    children: &'a [Descriptor],
}

/// Puts an image's manifests and indexes into a repository, and its root under each of `names`.
pub(crate) fn publish(
    target: &Target,
    names: &[Reference],
    image: &Graph,
    root: &Digest,
) -> anyhow::Result<()> {
    let repository = &target.repository;
    for document in children_first(image, root) {
        let Descriptor { digest, media_type, .. } = &document.descriptor;
        let places: Vec<String> = if digest == root {
            names.iter().map(place).collect()
        } else {
            vec![digest.to_string()]
        };
        for place in places {
            cli::interrupt::check()?;
            repository.put_manifest(&place, media_type, document.raw)?;
        }
    }
    Ok(())
}

/// The part of an image that is pushed.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) image: Graph,
    pub(crate) root: Digest,
    /// If only one image of an index is pushed: its platform, or its digest if the index gives none.
    pub(crate) only: Option<String>,
}

/// Decides what is pushed: all of the image, if every manifest that its indexes list is here or at the registry. Otherwise the
/// one image that is here, as docker and skopeo do.
///
/// # Errors
/// [`Code::NotFound`], if the index isn't whole and there are several images or `all_platforms` asks for all.
pub(crate) fn settle(
    image: &Graph,
    root: &Digest,
    target: &Target,
    all_platforms: bool,
) -> anyhow::Result<Settled> {
    let Some(absent) = first_absent(image, target)? else {
        return Ok(Settled { image: image.clone(), root: *root, only: None });
    };
    let entries = image.entries();
    let whole: Vec<_> = image.manifests.iter().filter(|it| !entries.is_attestation(it)).collect();
    match whole[..] {
        [manifest] if !all_platforms => {
            let digest = manifest.descriptor().digest;
            let platform = entries.platform(manifest).map(ToString::to_string);
            let only = Some(platform.unwrap_or_else(|| digest.to_string()));
            let image = Graph { indexes: vec![], manifests: vec![manifest.clone()] };
            Ok(Settled { image, root: digest, only })
        }
        _ => {
            let text = format!("not whole: {absent}, which the index lists, is not here");
            Err(Failure::new(Code::NotFound, text)
                .hint("bring all of it with pull --all-platforms, or push one with --platform")
                .into())
        }
    }
}

/// The first manifest that an index lists and that is neither here nor at the registry.
fn first_absent(image: &Graph, target: &Target) -> anyhow::Result<Option<Digest>> {
    let here: HashSet<_> = documents(image).map(|document| document.descriptor.digest).collect();
    let listed = image.indexes.iter().flat_map(|index| &index.manifests);
    for absent in listed.filter(|entry| !here.contains(&entry.digest)) {
        if target.repository.manifest_digest(&absent.digest.to_string())?.is_none() {
            return Ok(Some(absent.digest));
        }
    }
    Ok(None)
}

/// Says that an image was pushed without the rest of its index.
pub(crate) fn tell_only(settled: &Settled, target: &Target, io: &cli::Progress) {
    if let Some(platform) = &settled.only {
        io.say(format!(
            "{}: only {platform} of the image is here, and only that was pushed",
            target.name
        ));
    }
}

/// The tag of a name, or the digest if it has none: the reference that the root is put at.
fn place(name: &Reference) -> String {
    name.tag().map_or_else(|| name.wanted(), str::to_owned)
}

/// The indexes and manifests of an image.
fn documents(image: &Graph) -> impl Iterator<Item = Listed<'_>> {
    let indexes = image.indexes.iter().map(|index| Listed {
        descriptor: index.descriptor(),
        raw: index.raw(),
        children: &index.manifests,
    });
    let manifests = image.manifests.iter().map(|manifest| Listed {
        descriptor: manifest.descriptor(),
        raw: manifest.raw(),
        children: &[],
    });
    indexes.chain(manifests)
}

/// Every document once, each after all that it lists; the root comes last. An image's indexes are not nested deep.
pub(crate) fn children_first<'a>(image: &'a Graph, root: &Digest) -> Vec<Listed<'a>> {
    let mut left: HashMap<_, _> =
        documents(image).map(|document| (document.descriptor.digest, document)).collect();
    let mut order = vec![];
    visit(root, &mut left, &mut order);
    order
}

/// Moves a document from `left` to the end of `order`, after those that it lists.
fn visit<'a>(digest: &Digest, left: &mut HashMap<Digest, Listed<'a>>, order: &mut Vec<Listed<'a>>) {
    let Some(document) = left.remove(digest) else { return };
    document.children.iter().for_each(|child| visit(&child.digest, left, order));
    order.push(document);
}

#[cfg(test)]
mod tests {
    use layer_format::{Index, Manifest, media_type};
    use serde_json::json;

    use super::*;

    fn index(entries: &[Descriptor]) -> Index {
        Index::parse(json!({"manifests": entries}).to_string().into_bytes()).unwrap()
    }

    #[test]
    fn what_two_indexes_list_comes_before_both() {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let raw = json!({"config": config, "layers": []}).to_string();
        let manifest = Manifest::parse(raw.into_bytes()).unwrap();
        let inner = index(&[manifest.descriptor()]);
        let other = index(&[inner.descriptor(), manifest.descriptor()]);
        let root = index(&[inner.descriptor(), other.descriptor()]);
        let indexes = vec![root.clone(), inner.clone(), other.clone()];
        let image = Graph { indexes, manifests: vec![manifest.clone()] };
        let order: Vec<_> = children_first(&image, &root.descriptor().digest)
            .iter()
            .map(|document| document.descriptor.digest)
            .collect();
        let expected =
            [manifest.descriptor(), inner.descriptor(), other.descriptor(), root.descriptor()];
        assert_eq!(order, expected.map(|document| document.digest));
    }
}
