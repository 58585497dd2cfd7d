//! `remote rm`: a tag alone, or a manifest with all of its tags.
//!
//! The distribution-spec 1.1 lets a registry remove a tag. Older ones remove manifests only, and with them every tag that
//! stands for the same one: there a tag is removed if it is the only one, or if that is what the user wants.

use std::io::Write as _;

use cli::{Code, Failure, Io};
use layer_format::{Digest, Document, Reference};
use network::threads::map;
use registry::{Client, Error, Repository};

use crate::names::without_tag;
use crate::tags;

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
    let mut gone: Vec<&Found<'_>> = vec![];
    for image in &found {
        if image.name.tag().is_some() && gone.iter().any(|other| other.is_same(image)) {
            // It went with its image, and was told.
            continue;
        }
        let named = found.iter().filter(|other| other.is_same(image));
        let named: Vec<_> = named.filter_map(|other| other.name.tag()).collect();
        let removed = image.remove(removal, &named, io)?;
        if removed.is_image {
            gone.push(image);
        }
        for line in removed.names {
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

/// What was removed, or would be.
struct Removed {
    names: Vec<String>,
    /// Whether the image went, with all of its tags.
    is_image: bool,
}

impl Found<'_> {
    /// Whether another name stands for the same image.
    fn is_same(&self, other: &Self) -> bool {
        self.name.name() == other.name.name() && self.digest == other.digest
    }

    /// Removes it. `named` are the tags of this image that are all to go.
    fn remove(&self, removal: Removal, named: &[&str], io: &Io<'_>) -> anyhow::Result<Removed> {
        cli::interrupt::check()?;
        match (self.name.tag(), removal.is_dry) {
            (Some(_), true) => {
                self.foretell(removal, named, io)?;
                Ok(Removed { names: vec![tag_of(self.name)], is_image: false })
            }
            (None, true) => Ok(Removed { names: self.with_tags()?, is_image: true }),
            (Some(tag), false) => self.remove_tag(tag, removal, named),
            (None, false) => {
                self.remove_manifest()?;
                let names = vec![self.name.at(self.digest).to_string()];
                Ok(Removed { names, is_image: true })
            }
        }
    }

    /// Warns of what becomes of the other tags if the registry can't remove a tag alone, which only trying shows.
    fn foretell(&self, removal: Removal, named: &[&str], io: &Io<'_>) -> anyhow::Result<()> {
        let ties = self.ties(named)?;
        let others: Vec<_> = ties.iter().map(|(tag, _)| &tag[..]).collect();
        if !others.is_empty() {
            let end = if removal.is_forced { "goes with them" } else { "is refused" };
            io.warn(&format!(
                "{}: if the registry only removes images with all their tags, it {end}, for others need it: {}",
                tag_of(self.name),
                others.join(", ")
            ));
        }
        Ok(())
    }

    fn remove_tag(&self, tag: &str, removal: Removal, named: &[&str]) -> anyhow::Result<Removed> {
        match self.repository.delete(tag) {
            Ok(()) => return Ok(Removed { names: vec![tag_of(self.name)], is_image: false }),
            Err(error) if !is_no_way_to_remove_tags(&error) => return Err(self.explain(error)),
            Err(_) => {}
        }
        if !removal.is_forced {
            self.check_alone(named)?;
        }
        // They are there to be seen only as long as the image is.
        let names = self.with_tags()?;
        self.remove_manifest()?;
        Ok(Removed { names, is_image: true })
    }

    /// Checks that no other tags than these need the manifest.
    fn check_alone(&self, named: &[&str]) -> anyhow::Result<()> {
        let mut reasons = vec![];
        let ties = self.ties(named)?;
        for (tie, words) in [(Tie::Same, "has others"), (Tie::Lists, "is a part of")] {
            let tags: Vec<_> =
                ties.iter().filter(|(_, it)| *it == tie).map(|(tag, _)| &tag[..]).collect();
            if !tags.is_empty() {
                reasons.push(format!("{words}: {}", first_of(&tags)));
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

    fn remove_manifest(&self) -> anyhow::Result<()> {
        self.repository.delete(&self.digest.to_string()).map_err(|error| self.explain(error))
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
        let ties = self.ties(&[])?;
        let tags = ties.iter().filter(|(_, tie)| *tie == Tie::Same);
        let names = tags.map(|(tag, _)| format!("{}:{tag}", without_tag(self.name)));
        Ok(std::iter::once(self.name.at(self.digest).to_string()).chain(names).collect())
    }

    /// The tags but these that need the same manifest.
    fn ties(&self, named: &[&str]) -> anyhow::Result<Vec<(String, Tie)>> {
        let mut others = tags::all(&self.repository)?;
        others.retain(|other| !named.contains(&&other[..]));
        let ties = map(tags::JOBS, &others, |other| self.tie(other))?;
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
            "{registry} doesn't allow removal; distribution's registry does with \
             REGISTRY_STORAGE_DELETE_ENABLED=true"
        ),
    }
}

/// A name without its digest.
fn tag_of(name: &Reference) -> String {
    let shown = name.to_string();
    shown.split('@').next().unwrap_or_default().to_owned()
}

/// Tags for a message: the first ten, and how many more there are.
fn first_of(tags: &[&str]) -> String {
    const SHOWN: usize = 10;
    let shown = tags[..tags.len().min(SHOWN)].join(", ");
    match tags.len().saturating_sub(SHOWN) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_tags_ten_are_shown() {
        let tags: Vec<String> = (0..1200).map(|n| n.to_string()).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        assert_eq!(first_of(&tags[..2]), "0, 1");
        assert!(first_of(&tags[..10]).ends_with("8, 9"));
        assert_eq!(first_of(&tags), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1190 more");
    }
}
