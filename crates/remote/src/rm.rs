//! `remote rm`: a tag alone, or a manifest with all of its tags.
//!
//! The distribution-spec 1.1 lets a registry remove a tag. Older ones remove manifests only, and with them every tag that
//! stands for the same one: there a tag is removed if it is the only one, or if that is what the user wants.

use std::io::Write as _;

use cli::{Code, Failure, Io};
use layer_format::{Digest, Document, Reference};
use registry::{Client, Error, Repository};

use crate::names::without_tag;
use crate::{parallel, tags};

/// Docker's own registry.
const HUB: &str = "docker.io";

/// How images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Whether the other tags of an image may go with one.
    pub(crate) is_forced: bool,
    /// Whether it is only said what would be removed.
    pub(crate) is_dry: bool,
}

/// How a tag needs a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    /// It stands for that.
    Same,
    /// It stands for an index that lists it.
    Lists,
}

/// A name that is there.
struct Found<'a> {
    name: &'a Reference,
    repository: Repository,
    digest: Digest,
}

/// Removes what names stand for; nothing, if one of them isn't there. Prints what was removed.
pub(crate) fn remove(
    names: &[Reference],
    removal: Removal,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let task = io.progress.task(names[0].to_string(), None);
    task.state("Asking");
    let found: Vec<_> =
        names.iter().map(|name| find(name, client)).collect::<anyhow::Result<_>>()?;
    drop(task);
    for image in &found {
        for line in image.remove(removal)? {
            writeln!(io.output, "{line}")?;
        }
        // What is gone is told even if the next one can't be removed.
        io.output.flush()?;
    }
    Ok(())
}

/// Finds what a name stands for. A tag beside a digest must stand for that.
fn find<'a>(name: &'a Reference, client: &Client) -> anyhow::Result<Found<'a>> {
    let repository = client.repository(name)?.without_mirrors();
    let digest = match name.tag() {
        Some(tag) => repository.digest(tag)?,
        None => repository.digest(&name.wanted())?,
    };
    if let Some(pinned) = name.digest().filter(|pinned| **pinned != digest) {
        let text = format!("{}: stands for {digest} now, not for {pinned}", tag_of(name));
        return Err(Failure::new(Code::Failed, text).into());
    }
    Ok(Found { name, repository, digest })
}

impl Found<'_> {
    /// Removes it; gives the names of what was removed, or would be.
    fn remove(&self, removal: Removal) -> anyhow::Result<Vec<String>> {
        cli::interrupt::check()?;
        match (self.name.tag(), removal.is_dry) {
            (Some(_), true) => Ok(vec![tag_of(self.name)]),
            (None, true) => self.with_tags(),
            (Some(tag), false) => self.remove_tag(tag, removal.is_forced),
            (None, false) => self.remove_manifest(),
        }
    }

    fn remove_tag(&self, tag: &str, is_forced: bool) -> anyhow::Result<Vec<String>> {
        match self.repository.delete(tag) {
            Ok(()) => return Ok(vec![tag_of(self.name)]),
            Err(error) if !is_no_way_to_remove_tags(&error) => return Err(self.explain(error)),
            Err(_) => {}
        }
        if !is_forced {
            self.check_alone(tag)?;
        }
        self.remove_manifest()
    }

    /// Checks that nothing but this tag needs the manifest.
    fn check_alone(&self, tag: &str) -> anyhow::Result<()> {
        let mut reasons = vec![];
        let ties = self.ties(tag)?;
        for (tie, words) in [(Tie::Same, "has others"), (Tie::Lists, "is a part of")] {
            let tags: Vec<_> =
                ties.iter().filter(|(_, it)| *it == tie).map(|(tag, _)| &tag[..]).collect();
            if !tags.is_empty() {
                reasons.push(format!("{words}: {}", tags.join(", ")));
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{}: this registry only removes images with all their tags, and this one {}",
            tag_of(self.name),
            reasons.join("; and it ")
        );
        let hint = format!("remote rm --force {} removes it with all of them", self.name);
        Err(Failure::new(Code::Failed, text).hint(hint).into())
    }

    fn remove_manifest(&self) -> anyhow::Result<Vec<String>> {
        match self.repository.delete(&self.digest.to_string()) {
            Ok(()) => Ok(vec![self.name.at(self.digest).to_string()]),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Adds what can be done about a registry that removes nothing.
    fn explain(&self, error: Error) -> anyhow::Error {
        let registry = self.name.registry();
        match &error {
            Error::Refused { status: 400 | 405 | 501, .. } => {
                Failure::from_cause(error).code(Code::Failed).hint(switched_off(registry)).into()
            }
            // It gives nobody a token for that.
            Error::Unauthorised { .. } if registry == HUB => {
                Failure::from_cause(error).hint(switched_off(registry)).into()
            }
            _ => error.into(),
        }
    }

    /// The image by its digest, then its tags.
    fn with_tags(&self) -> anyhow::Result<Vec<String>> {
        let ties = self.ties("")?;
        let tags = ties.iter().filter(|(_, tie)| *tie == Tie::Same);
        let names = tags.map(|(tag, _)| format!("{}:{tag}", without_tag(self.name)));
        Ok(std::iter::once(self.name.at(self.digest).to_string()).chain(names).collect())
    }

    /// The other tags that need the same manifest.
    fn ties(&self, tag: &str) -> anyhow::Result<Vec<(String, Tie)>> {
        let mut others = tags::all(&self.repository)?;
        others.retain(|other| other != tag);
        let ties = parallel::map(&others, |other| self.tie(other))?;
        Ok(others.into_iter().zip(ties).filter_map(|(tag, tie)| Some((tag, tie?))).collect())
    }

    /// How a tag needs the manifest, if it does.
    fn tie(&self, tag: &str) -> anyhow::Result<Option<Tie>> {
        cli::interrupt::check()?;
        match self.repository.manifest(tag) {
            Ok((_, digest)) if digest == self.digest => Ok(Some(Tie::Same)),
            Ok((Document::Index(index), _)) => {
                let is_listed = index.manifests.iter().any(|entry| entry.digest == self.digest);
                Ok(is_listed.then_some(Tie::Lists))
            }
            // A tag may have gone meanwhile, lead nowhere, or be of a kind that lists nothing.
            Ok(_) | Err(Error::NotFound { .. } | Error::Malformed { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a registry answers so to who removes a tag, where it only removes manifests: by what the spec wants (400, 405), as
/// not done (501), or as if the tag, which is there, were none.
fn is_no_way_to_remove_tags(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400 | 405 | 501, .. } | Error::NotFound { .. })
}

/// What to do about a registry that removes nothing.
fn switched_off(registry: &str) -> String {
    match registry {
        HUB => "Docker Hub removes images at hub.docker.com alone".to_owned(),
        // mkuchin/docker-registry-web#35
        _ => format!(
            "{registry} has removal switched off, or doesn't know it; distribution's registry is told to by \
             REGISTRY_STORAGE_DELETE_ENABLED=true"
        ),
    }
}

/// A name without its digest.
fn tag_of(name: &Reference) -> String {
    let shown = name.to_string();
    shown.split('@').next().unwrap_or_default().to_owned()
}
