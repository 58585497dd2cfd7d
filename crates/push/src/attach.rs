//! What refers to an image: signatures, SBOMs and attestations, put where the registry lists such.
//!
//! A registry with the referrers API lists by itself what has a `subject`. For another one the list is an index, under a tag
//! made of the image's digest, which grows with each that comes (distribution-spec, "Referrers Tag Schema").

use layer_format::{Descriptor, Digest, Document, Index, Reference};
use serde_json::Value;
use stream::Graph;

use crate::publish::{self, children_first};
use crate::target::Target;

/// How often a list is put if another program keeps changing it meanwhile.
const TRIES: usize = 16;

/// Puts the manifests of a list of referrers into a repository and adds them to the list there, or puts what cosign made under
/// its tag. `name` is the name that the list had where it came from.
pub(crate) fn attach(
    target: &Target,
    name: &Reference,
    image: &Graph,
    root: &Digest,
) -> anyhow::Result<()> {
    let there = name_at(target, name)?;
    let Some(list) = image.indexes.first().filter(|_| is_list(name)) else {
        return publish::publish(target, &[there], image, root);
    };
    let mut unlisted = vec![];
    for document in
        children_first(image, root).into_iter().filter(|it| it.descriptor.digest != *root)
    {
        cli::interrupt::check()?;
        let Descriptor { digest, media_type, .. } = &document.descriptor;
        let place = digest.to_string();
        if !target.repository.put_manifest(&place, media_type, document.raw)? {
            let entry = list.manifests.iter().find(|entry| entry.digest == *digest);
            unlisted.extend(entry.map(|entry| described(entry, document.raw)));
        }
    }
    extend(target, &there, &unlisted)
}

/// The name that a list of referrers, or what cosign made, gets in a repository.
pub(crate) fn name_at(target: &Target, name: &Reference) -> anyhow::Result<Reference> {
    Ok(target.names[0].tagged(&name.wanted())?)
}

/// Adds entries to the list that the repository has, and again until it is found to have all of them: another program may put
/// its own list in between.
///
/// # Errors
/// The registry's, and if the list lacks entries after [`TRIES`] times.
fn extend(target: &Target, name: &Reference, new: &[Descriptor]) -> anyhow::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    for n in 0..TRIES {
        let list = listed(target, name)?;
        if list.is_subject && n > 0 {
            // The list can be had by its digest, but no program will find it by its tag.
            let text = "the list can't be found: the registry takes its tag for the image itself";
            target.repository.note(&format!("{name}: {text}"));
            return Ok(());
        }
        let missing: Vec<_> = new.iter().filter(|entry| !list.has(&entry.digest)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        cli::interrupt::check()?;
        let entries: Vec<_> = list.entries.iter().chain(missing).cloned().collect();
        let index = Index::listing(&entries)?;
        let (tag, media_type) = (name.wanted(), index.descriptor().media_type);
        let version = list.version.as_deref();
        target.repository.replace_manifest(&tag, &media_type, index.raw(), version)?;
    }
    anyhow::bail!("{name}: others changed this list of referrers {TRIES} times in between")
}

/// A list of referrers as the repository has it.
#[derive(Default)]
struct Listed {
    entries: Vec<Descriptor>,
    /// The registry's entity tag for this content, for a conditional PUT.
    version: Option<String>,
    /// Whether the registry resolves the tag as the digest that it is made of, and so finds the subject itself.
    is_subject: bool,
}

impl Listed {
    fn has(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|entry| entry.digest == *digest)
    }
}

/// The list at a tag of the repository; empty if there is none.
///
/// # Errors
/// The registry's, and if the tag has a manifest.
fn listed(target: &Target, name: &Reference) -> anyhow::Result<Listed> {
    let tag = name.wanted();
    let Some(current) = target.repository.current(&tag)? else { return Ok(Listed::default()) };
    let subject = Listed { is_subject: true, ..Listed::default() };
    match current.document {
        // GitLab takes such a tag for the digest that it is made of (oras-go#1396).
        _ if current.digest.referrers_tag() == tag => Ok(subject),
        Document::Index(index) => {
            Ok(Listed { entries: index.manifests, version: current.version, is_subject: false })
        }
        Document::Manifest(_) => {
            anyhow::bail!("{name}: the tag is not a list of referrers")
        }
    }
}

/// The entry for a manifest in a list of referrers: with its artifact type and its annotations (distribution-spec, "Pushing
/// Manifests with Subject"), which the lists of some registries leave out.
fn described(entry: &Descriptor, raw: &[u8]) -> Descriptor {
    let mut entry = entry.clone();
    let Ok(document) = serde_json::from_slice::<Value>(raw) else { return entry };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let kind = text(&document["artifactType"]).or_else(|| text(&document["config"]["mediaType"]));
    if let Some(kind) = kind {
        entry.other.entry("artifactType".to_owned()).or_insert(kind.into());
    }
    if entry.annotations.is_empty() {
        let annotations = document["annotations"].as_object().into_iter().flatten();
        entry.annotations =
            annotations.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
    }
    entry
}

/// Whether this is the name of a list, and not of something that cosign made.
fn is_list(name: &Reference) -> bool {
    name.tag().is_some_and(|tag| !tag.contains('.'))
}
