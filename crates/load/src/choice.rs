//! Which of the images that came are loaded, and the name that one of them gets.

use layer_format::{Digest, Error, Reference};
use stream::archive::LoadedImage;

use crate::{Taken, is_of};

/// What the user says about the images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// The name or the digest of the only image that is loaded.
    pub(crate) image: Option<&'a str>,
    /// The name that the only image gets.
    pub(crate) tag: Option<&'a Reference>,
}

impl Choice<'_> {
    /// Leaves the image that was asked for, with what refers to it, and names it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it isn't there; [`Error::Ambiguous`] if one of several would get the name.
    pub(crate) fn apply(&self, taken: &mut Taken) -> anyhow::Result<()> {
        if let Some(wanted) = self.image {
            choose(wanted, taken)?;
        }
        match self.tag {
            Some(name) => rename(name, taken),
            None => Ok(()),
        }
    }
}

fn choose(wanted: &str, taken: &mut Taken) -> anyhow::Result<()> {
    let meant = Wanted::parse(wanted);
    if taken.images.iter().any(|found| meant.is(found)) {
        let roots: Vec<_> =
            taken.images.iter().filter(|it| meant.is(it)).flat_map(digests).collect();
        taken.images.retain(|found| meant.is(found) || is_about(found, &roots));
        // What the others lack is nobody's concern.
        taken.left_out.clear();
        return Ok(());
    }
    let names: Vec<_> = taken.images.iter().map(shown).collect();
    let left_out = taken.left_out.iter().position(|it| meant.is_text(&it.name));
    if let Some(left_out) = left_out.map(|position| taken.left_out.swap_remove(position)) {
        return Err(left_out.error.into());
    }
    let failure = cli::Failure::from_cause(Error::NotFound { what: wanted.to_owned() });
    Err(failure.hint(format!("there is {}", names.join(", "))).into())
}

/// Gives the only image a name, in the place of its own, and moves what refers to it to the repository of that name.
fn rename(name: &Reference, taken: &mut Taken) -> anyhow::Result<()> {
    let is_own = |found: &&LoadedImage| found.name.as_ref().is_none_or(|it| it.subject().is_none());
    let own: Vec<&LoadedImage> = taken.images.iter().filter(is_own).collect();
    let own = if own.is_empty() { taken.images.iter().collect() } else { own };
    let root = own.first().map(|found| found.root.digest);
    if !taken.left_out.is_empty() || own.iter().any(|found| Some(found.root.digest) != root) {
        let left_out = taken.left_out.iter().map(|it| it.name.clone());
        let names = own.iter().map(|found| shown(found)).chain(left_out).collect();
        let failure = cli::Failure::from_cause(Error::Ambiguous { names });
        return Err(failure.hint("choose one with --image NAME").into());
    }
    let mut is_named = false;
    let mut images = vec![];
    for mut found in std::mem::take(&mut taken.images) {
        let subject =
            found.name.as_ref().and_then(Reference::tag).filter(|_| !is_root(&found, root));
        found.name = match subject {
            Some(tag) => Some(name.tagged(tag)?),
            None if is_named => continue,
            None => {
                is_named = true;
                Some(name.clone())
            }
        };
        images.push(found);
    }
    taken.images = images;
    Ok(())
}

fn is_root(found: &LoadedImage, root: Option<Digest>) -> bool {
    Some(found.root.digest) == root
}

/// The digests that an image is known by, in names of what refers to it.
fn digests(found: &LoadedImage) -> Vec<Digest> {
    let manifests = found.image.manifests.iter().map(|manifest| manifest.descriptor().digest);
    manifests.chain([found.root.digest]).chain(found.chosen_from).collect()
}

fn is_about(found: &LoadedImage, roots: &[Digest]) -> bool {
    let subject = found.name.as_ref().and_then(Reference::subject);
    subject.is_some_and(|subject| roots.iter().any(|root| root.referrers_tag() == subject))
}

/// The name of an image, or its digest.
fn shown(found: &LoadedImage) -> String {
    found.name.as_ref().map_or_else(|| found.root.digest.to_string(), Reference::to_string)
}

/// An image that the user has asked for.
#[derive(Debug)]
struct Wanted {
    name: Option<Reference>,
    digest: Option<Digest>,
}

impl Wanted {
    fn parse(text: &str) -> Self {
        Self { name: text.parse().ok(), digest: text.parse().ok() }
    }

    fn is(&self, found: &LoadedImage) -> bool {
        let has_name = self.name.is_some() && self.name == found.name;
        has_name || self.digest.is_some_and(|digest| is_of(found, &digest))
    }

    fn is_text(&self, name: &str) -> bool {
        self.name.is_some() && name.parse().ok() == self.name
    }
}
