//! What refers to an image: signatures, SBOMs and attestations, put where the registry lists such.
//!
//! A registry with the referrers API lists by itself what has a `subject`. For another one the list is an index, under a tag
//! made of the image's digest, which grows with each that comes (distribution-spec, "Referrers Tag Schema").

use std::collections::HashSet;

use layer_format::stream::Image;
use layer_format::{Descriptor, Digest, Document, Index, Reference};

use crate::publish::{self, children_first};
use crate::target::Target;

/// Puts what a list of referrers holds into a repository, or what cosign made under its tag. `name` is the one that it had
/// elsewhere.
pub(crate) fn attach(
    target: &Target,
    name: &Reference,
    image: &Image,
    root: &Digest,
) -> anyhow::Result<()> {
    let there = name_at(target, name)?;
    let Some(list) = image.indexes.first().filter(|_| is_list(name)) else {
        return publish::publish(target, &[&there], image, root);
    };
    let mut unlisted = HashSet::new();
    for document in
        children_first(image, root).into_iter().filter(|it| it.descriptor.digest != *root)
    {
        cli::interrupt::check()?;
        let Descriptor { digest, media_type, .. } = &document.descriptor;
        let place = digest.to_string();
        if !target.repository.put_manifest(&place, media_type, document.raw)? {
            unlisted.insert(*digest);
        }
    }
    let entries = list.manifests.iter().filter(|entry| unlisted.contains(&entry.digest));
    let entries: Vec<_> = entries.cloned().collect();
    if entries.is_empty() { Ok(()) } else { extend(target, &there, entries) }
}

/// The name that something gets in a repository.
pub(crate) fn name_at(target: &Target, name: &Reference) -> anyhow::Result<Reference> {
    Ok(target.names[0].tagged(&name.wanted())?)
}

/// Adds to the list that is there.
fn extend(target: &Target, name: &Reference, new: Vec<Descriptor>) -> anyhow::Result<()> {
    let tag = name.wanted();
    // By its digest, so that no mirror's older list takes its place.
    let known = target.repository.manifest_digest(&tag)?;
    let known = known.map(|digest| target.repository.manifest(&digest.to_string())).transpose()?;
    let mut entries = match known {
        None => vec![],
        Some((Document::Index(index), _)) => index.manifests,
        Some((Document::Manifest(_), _)) => {
            anyhow::bail!("{name}: there is something else than a list of referrers")
        }
    };
    let mut seen: HashSet<Digest> = entries.iter().map(|entry| entry.digest).collect();
    entries.extend(new.into_iter().filter(|entry| seen.insert(entry.digest)));
    let index = Index::listing(&entries)?;
    target.repository.put_manifest(&tag, &index.descriptor().media_type, &index.raw)?;
    Ok(())
}

/// Whether this is the name of a list, and not of something that cosign made.
fn is_list(name: &Reference) -> bool {
    name.tag().is_some_and(|tag| !tag.contains('.'))
}
