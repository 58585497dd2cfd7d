//! Which image of a stream goes where, and which blobs with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cli::Failure;
use layer_format::{
    Descriptor, Digest, Document, Error, Index, Platform, Reference, annotation, select,
};
use registry::Client;
use stream::archive::{LoadedImage, Outline};

use crate::Goal;
use crate::prefix::{Renamed, check_collisions};
use crate::target::Target;

/// The targets, and which blobs and images of the stream go to which of them.
#[derive(Debug)]
pub(crate) struct Route {
    goal: Goal,
    pub(crate) targets: Arc<[Target]>,
    /// The repositories (`host/path`) that the images come from, as far as the stream says.
    pub(crate) sources: Vec<String>,
    /// The positions of the targets that each blob goes to; `None` if all blobs go to all targets.
    owners: Option<HashMap<Digest, BTreeSet<usize>>>,
    /// The layers that are not to be distributed, as far as is known.
    foreign: HashSet<Digest>,
    /// The one platform that is asked for.
    platform: Option<Platform>,
    /// The manifests and blobs of that platform, as far as is known.
    wanted: HashSet<Digest>,
    /// Those of other platforms.
    unwanted: HashSet<Digest>,
}

/// An image, the target that it goes to, and the names that it gets there.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) target: usize,
    pub(crate) names: Vec<Reference>,
    /// The name that it has in the stream, if it refers to another image: it gets no other name.
    pub(crate) about: Option<&'a Reference>,
    pub(crate) found: &'a LoadedImage,
}

impl Route {
    /// Plans by the names that were given, else by those that the stream begins with, as they are or below a prefix.
    ///
    /// # Errors
    /// Wrong usage, if there are neither, or two images would get one name below the prefix; [`Error::Ambiguous`], if several
    /// images would get the given names.
    pub(crate) fn plan(
        goal: &Goal,
        index: Option<&Index>,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let own = own_names(index)?;
        let sources = own.iter().map(|(name, _)| name.name()).collect();
        if let Goal::Names(names) = goal {
            refuse_several(
                own.iter()
                    .filter(|(name, _)| name.subject().is_none())
                    .map(|(name, root)| (Some(name), root)),
            )?;
            let targets = Target::of(names, client)?.into();
            return Ok(Self::new(goal, targets, sources, None));
        }
        let n_images = index.map_or(0, |index| index.manifests.len());
        if own.is_empty() || own.len() < n_images {
            return Err(nameless(goal).into());
        }
        let own = match goal {
            Goal::Under(prefix) => {
                let renamed = own.into_iter().map(|(name, root)| Renamed::of(name, root, prefix));
                let renamed: Vec<_> = renamed.collect::<Result<_, _>>()?;
                check_collisions(&renamed)?;
                renamed.into_iter().map(|Renamed { new, root, .. }| (new, root)).collect()
            }
            Goal::Own | Goal::Names(_) => own,
        };
        let names: Vec<_> = own.iter().map(|(name, _)| name.clone()).collect();
        let targets = Target::of(&names, client)?;
        let mut owners: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (name, root) in own {
            owners.entry(root).or_default().extend(position(&targets, &name));
        }
        Ok(Self::new(goal, targets.into(), sources, Some(owners)))
    }

    /// The name that an image gets which has this one in the stream; `None` if no name can be made of it.
    fn new_name(&self, own: &Reference) -> Option<Reference> {
        match &self.goal {
            Goal::Under(prefix) => prefix.name_of(own).ok(),
            Goal::Own | Goal::Names(_) => Some(own.clone()),
        }
    }

    fn new(
        goal: &Goal,
        targets: Arc<[Target]>,
        sources: Vec<String>,
        owners: Option<HashMap<Digest, BTreeSet<usize>>>,
    ) -> Self {
        Self {
            goal: goal.clone(),
            targets,
            sources,
            owners,
            foreign: HashSet::new(),
            platform: None,
            wanted: HashSet::new(),
            unwanted: HashSet::new(),
        }
    }

    /// The same route for one platform of each image, if one is given.
    pub(crate) fn of_platform(self, platform: Option<Platform>) -> Self {
        Self { platform, ..self }
    }

    /// Takes in the outlines of the images whose manifests come after layers that they share with others, so that those layers
    /// reach all of their targets.
    pub(crate) fn expect(&mut self, outlines: &[Outline]) {
        for Outline { names, layers } in outlines {
            let names = names.iter().filter_map(|name| self.new_name(name));
            let own: Vec<_> = names.filter_map(|name| position(&self.targets, &name)).collect();
            let Some(owners) = &mut self.owners else { return };
            for layer in layers {
                owners.entry(*layer).or_default().extend(&own);
            }
        }
    }

    /// Learns from a document where its parts go.
    pub(crate) fn learn(&mut self, digest: &Digest, raw: &[u8]) {
        // What is no manifest is a config, which says nothing about other blobs.
        let parts: Vec<_> = match Document::parse(raw.to_vec()) {
            Ok(Document::Index(index)) => {
                self.choose(&index.manifests);
                index.manifests
            }
            Ok(Document::Manifest(manifest)) => {
                let parts: Vec<_> = manifest.parts().cloned().collect();
                let digests = parts.iter().map(|part| part.digest);
                if self.is_unwanted(digest) {
                    self.unwanted.extend(digests);
                } else {
                    self.wanted.extend(digests);
                }
                parts
            }
            Err(_) => return,
        };
        self.foreign.extend(parts.iter().filter(|it| it.is_foreign()).map(|it| it.digest));
        let Some(owners) = &mut self.owners else { return };
        let own = owners.get(digest).cloned().unwrap_or_default();
        for part in parts {
            owners.entry(part.digest).or_default().extend(&own);
        }
    }

    /// Learns from an index which images are for the platform that is asked for.
    fn choose(&mut self, entries: &[Descriptor]) {
        let Some(platform) = &self.platform else { return };
        // Where there is none, that is told in the end.
        let Ok(chosen) = select(entries, platform) else { return };
        self.wanted.insert(chosen.digest);
        let is_image = |entry: &&Descriptor| entry.platform.is_some() && *entry != chosen;
        self.unwanted.extend(entries.iter().filter(is_image).map(|entry| entry.digest));
    }

    fn is_unwanted(&self, digest: &Digest) -> bool {
        self.unwanted.contains(digest) && !self.wanted.contains(digest)
    }

    /// The positions of the targets that a blob goes to.
    pub(crate) fn targets_of(&self, digest: &Digest) -> Vec<usize> {
        match &self.owners {
            _ if self.is_unwanted(digest) => vec![],
            None => (0..self.targets.len()).collect(),
            Some(owners) => owners.get(digest).into_iter().flatten().copied().collect(),
        }
    }

    /// Whether a blob is known as a layer that is not to be distributed.
    pub(crate) fn is_foreign(&self, digest: &Digest) -> bool {
        self.foreign.contains(digest)
    }

    /// Which image goes to which target, once the stream has ended.
    pub(crate) fn deliveries<'a>(
        &'a self,
        images: &'a [LoadedImage],
    ) -> anyhow::Result<Vec<Delivery<'a>>> {
        if self.owners.is_none() {
            return self.to_all(images);
        }
        let named = images.iter().filter_map(|found| Some((found, found.name.as_ref()?)));
        let deliveries = named.filter_map(|(found, name)| {
            let new = self.new_name(name)?;
            let target = position(&self.targets, &new)?;
            Some(match name.subject() {
                Some(_) => Delivery { target, names: vec![], about: Some(name), found },
                None => Delivery { target, names: vec![new], about: None, found },
            })
        });
        Ok(deliveries.collect())
    }

    /// Sends the one image to all targets, under the names that were given, and what refers to it.
    fn to_all<'a>(&'a self, images: &'a [LoadedImage]) -> anyhow::Result<Vec<Delivery<'a>>> {
        let is_about = |found: &&LoadedImage| about(found).is_some();
        let (mut referrers, mut own): (Vec<_>, Vec<_>) = images.iter().partition(is_about);
        if own.is_empty() {
            std::mem::swap(&mut own, &mut referrers);
        }
        refuse_several(own.iter().map(|found| (found.name.as_ref(), &found.root.digest)))?;
        let mut deliveries = vec![];
        for (target, it) in self.targets.iter().enumerate() {
            let names = it.names.clone();
            let first = own.first().map(|found| Delivery { target, names, about: None, found });
            deliveries.extend(first);
            deliveries.extend(referrers.iter().map(|found| Delivery {
                target,
                names: vec![],
                about: about(found),
                found,
            }));
        }
        Ok(deliveries)
    }
}

/// The error for a stream without names where names are needed.
fn nameless(goal: &Goal) -> Failure {
    match goal {
        Goal::Under(_) => cli::usage("the stream doesn't begin with the names of all its images")
            .hint("load it, then save IMAGE… | push - --to REGISTRY/PREFIX"),
        Goal::Own | Goal::Names(_) => {
            cli::usage("the stream doesn't begin with names: to which NAME?")
        }
    }
}

/// The names that a stream begins with, and the digest of each.
fn own_names(index: Option<&Index>) -> Result<Vec<(Reference, Digest)>, Error> {
    let entries = index.into_iter().flat_map(|index| &index.manifests);
    let named = entries.filter_map(|entry| {
        let name = entry.annotation(annotation::IMAGE_NAME)?;
        Some(name.parse().map(|name| (name, entry.digest)))
    });
    named.collect()
}

/// The name of what refers to another image.
fn about(found: &LoadedImage) -> Option<&Reference> {
    found.name.as_ref().filter(|name| name.subject().is_some())
}

fn position(targets: &[Target], name: &Reference) -> Option<usize> {
    targets.iter().position(|target| target.name == name.name())
}

/// Checks that there is at most one image to give a name to.
///
/// # Errors
/// [`Error::Ambiguous`], if there are several.
fn refuse_several<'a>(
    images: impl Iterator<Item = (Option<&'a Reference>, &'a Digest)>,
) -> Result<(), Error> {
    let images: Vec<_> = images.collect();
    let roots: HashSet<_> = images.iter().map(|(_, root)| *root).collect();
    if roots.len() < 2 {
        return Ok(());
    }
    let shown = |(name, root): &(Option<&Reference>, &Digest)| match name {
        Some(name) => name.to_string(),
        None => root.to_string(),
    };
    Err(Error::Ambiguous { names: images.iter().map(shown).collect() })
}
