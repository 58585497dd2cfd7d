//! Finding an image by a name, a digest, or the first digits of a digest.

use std::collections::{BTreeMap, HashSet};

use layer_format::{Descriptor, Digest, Document, Manifest, Reference};

use crate::Result;
use crate::error::Error;
use crate::index_entry::{IndexEntry, entry_name};
use crate::store::Store;
use crate::word::MIN_DIGITS;

/// An image that was found in the store.
#[derive(Clone, Debug)]
pub struct Found {
    /// The manifest or the index that was asked for.
    pub descriptor: Descriptor,
    /// The entry of `index.json` that leads to it. Its descriptor is another one if it is an index that holds what was asked for.
    pub image: IndexEntry,
    /// How it was found.
    pub by: FoundBy,
}

/// How an image was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// By its name.
    Name,
    /// By a digest or the first digits of one: its own, its config's, or that of the index it was chosen from.
    Digest,
}

impl Store {
    /// Finds an image by its name; else by the digest of an index, a manifest or a config; else by at least six first digits of
    /// such a digest. In a name with a digest, six first digits of it are enough as well; with a tag beside the digest, the
    /// image of that name is meant if it is the one. A text that is a whole digest is never
    /// taken for a name.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Ambiguous`] where several images match.
    pub fn find(&self, text: &str) -> Result<Found> {
        let images = self.images()?;
        if let Ok(digest) = text.parse() {
            return self.by_digest(text, &digest, &images);
        }
        let reference = text.parse::<Reference>().ok();
        if let Some(found) = by_name(text, reference.as_ref(), &images)? {
            return Ok(found);
        }
        if let Some(digest) = reference.as_ref().and_then(Reference::digest) {
            let named = reference.as_ref().and_then(|it| it.tagged(it.tag()?).ok());
            if let Some(found) = named.and_then(|it| by_pinned_name(&it, digest, &images)) {
                return Ok(found);
            }
            return self.by_digest(text, digest, &images);
        }
        if let Some(found) = by_short_pin(text, &images)? {
            return Ok(found);
        }
        let mut matches = Matches::default();
        if let Some(prefix) = Prefix::parse(text) {
            let is_entry = |image: &&IndexEntry| {
                prefix.fits(image.digest()) || image.index().is_some_and(|it| prefix.fits(&it))
            };
            images.iter().filter(is_entry).for_each(|it| matches.add(&it.descriptor, it));
            self.search(&images, &|digest| prefix.fits(digest), &mut matches)?;
        }
        matches.only(text)
    }

    /// The manifests that an entry leads to. Those that are missing or damaged are left out.
    pub fn manifests(&self, root: &Descriptor) -> Result<Vec<Manifest>> {
        let mut manifests = vec![];
        let mut seen = HashSet::from([root.digest]);
        let mut queue = vec![root.digest];
        while let Some(digest) = queue.pop() {
            match self.look_into(&digest)? {
                Some(Document::Manifest(manifest)) => manifests.push(manifest),
                Some(Document::Index(index)) => {
                    let children = index.manifests.iter().map(|child| child.digest);
                    queue.extend(children.filter(|child| seen.insert(*child)));
                }
                None => {}
            }
        }
        Ok(manifests)
    }

    fn by_digest(&self, text: &str, digest: &Digest, images: &[IndexEntry]) -> Result<Found> {
        let entries = [
            images.iter().filter(|image| image.digest() == digest).collect::<Vec<_>>(),
            images.iter().filter(|image| image.index() == Some(*digest)).collect(),
        ];
        let mut matches = Matches::default();
        match entries.iter().find(|matching| !matching.is_empty()) {
            Some(entries) => entries.iter().for_each(|it| matches.add(&it.descriptor, it)),
            None => self.search(images, &|it| it == digest, &mut matches)?,
        }
        matches.only(text)
    }

    /// Adds everything that the entries lead to, configs included, and whose digest fits.
    fn search(
        &self,
        images: &[IndexEntry],
        fits: &dyn Fn(&Digest) -> bool,
        matches: &mut Matches,
    ) -> Result<()> {
        let mut seen: HashSet<Digest> = images.iter().map(|image| *image.digest()).collect();
        let mut queue: Vec<_> =
            images.iter().rev().map(|image| (image, image.descriptor.clone())).collect();
        while let Some((image, descriptor)) = queue.pop() {
            let Some(document) = self.look_into(&descriptor.digest)? else { continue };
            if fits(&descriptor.digest) || config_of(&document).is_some_and(|it| fits(&it)) {
                matches.add(&descriptor, image);
            }
            let children = children_of(document).into_iter().filter(|it| seen.insert(it.digest));
            queue.extend(children.map(|child| (image, child)));
        }
        Ok(())
    }

    /// Reads a manifest or an index; `None` if it is missing (an index leads to images that were never pulled) or damaged.
    pub(crate) fn look_into(&self, digest: &Digest) -> Result<Option<Document>> {
        match self.document(digest) {
            Err(Error::MissingBlob { .. } | Error::Layer(_)) => Ok(None),
            read => Ok(Document::parse(read?).ok()),
        }
    }
}

fn config_of(document: &Document) -> Option<Digest> {
    match document {
        Document::Manifest(manifest) => Some(manifest.config.digest),
        Document::Index(_) => None,
    }
}

pub(crate) fn children_of(document: Document) -> Vec<Descriptor> {
    match document {
        Document::Manifest(_) => vec![],
        Document::Index(index) => index.manifests,
    }
}

/// The first hexadecimal digits of a digest, with or without the algorithm.
struct Prefix<'a> {
    algorithm: Option<&'a str>,
    hex: &'a str,
}

impl<'a> Prefix<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (algorithm, hex) = match text.split_once(':') {
            Some((algorithm, hex)) => (Some(algorithm), hex),
            None => (None, text),
        };
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && hex.len() >= MIN_DIGITS).then_some(Self { algorithm, hex })
    }

    fn fits(&self, digest: &Digest) -> bool {
        let is_algorithm = self.algorithm.is_none_or(|name| name == digest.algorithm().name());
        is_algorithm && digest.hex().starts_with(self.hex)
    }
}

/// The images that match, by digest: one image with several names matches once.
#[derive(Default)]
struct Matches(BTreeMap<Digest, Found>);

impl Matches {
    fn add(&mut self, descriptor: &Descriptor, image: &IndexEntry) {
        self.0.entry(descriptor.digest).or_insert_with(|| Found {
            descriptor: descriptor.clone(),
            image: image.clone(),
            by: FoundBy::Digest,
        });
    }

    fn only(mut self, text: &str) -> Result<Found> {
        let text = text.to_owned();
        match self.0.pop_first() {
            None => Err(Error::NotFound { text }),
            Some((_, found)) if self.0.is_empty() => Ok(found),
            Some((_, first)) => {
                let all = std::iter::once(&first).chain(self.0.values());
                Err(Error::Ambiguous { text, matches: all.map(Found::line).collect() })
            }
        }
    }
}

impl Found {
    fn line(&self) -> String {
        match self.image.name() {
            Some(name) => format!("{} ({})", name.escape_debug(), self.descriptor.digest),
            None => self.descriptor.digest.to_string(),
        }
    }
}

/// Finds an image by name: by the full name that we write, else by the same text in another tool's entry, else by another
/// spelling of the same name.
fn by_name(
    text: &str,
    reference: Option<&Reference>,
    images: &[IndexEntry],
) -> Result<Option<Found>> {
    let full = reference.map(entry_name);
    let ways: [&dyn Fn(&IndexEntry) -> bool; 3] = [
        &|image| image.name().is_some() && image.name() == full.as_deref(),
        &|image| image.name() == Some(text),
        &|image| reference.is_some() && image.reference().as_ref() == reference,
    ];
    for way in ways {
        let mut matches = Matches::default();
        images.iter().filter(|image| way(image)).for_each(|it| matches.add(&it.descriptor, it));
        if !matches.0.is_empty() {
            return matches.only(text).map(|found| Some(Found { by: FoundBy::Name, ..found }));
        }
    }
    Ok(None)
}

/// Finds an image by a name with a tag, if it has this digest, or was chosen from an index that has it.
fn by_pinned_name(name: &Reference, digest: &Digest, images: &[IndexEntry]) -> Option<Found> {
    let is_meant = |image: &&IndexEntry| {
        (image.digest() == digest || image.index() == Some(*digest))
            && image.reference().as_ref() == Some(name)
    };
    let image = images.iter().find(is_meant)?;
    let descriptor = image.descriptor.clone();
    Some(Found { descriptor, image: image.clone(), by: FoundBy::Name })
}

/// Finds an image by a name with the first digits of its digest, as lists show it.
fn by_short_pin(text: &str, images: &[IndexEntry]) -> Result<Option<Found>> {
    let Some((name, digits)) = text.split_once('@') else { return Ok(None) };
    let (Ok(name), Some(prefix)) = (name.parse::<Reference>(), Prefix::parse(digits)) else {
        return Ok(None);
    };
    let fits = |image: &IndexEntry| {
        let reference = image.reference();
        let pinned = reference.filter(|it| it.name() == name.name());
        pinned.and_then(|it| it.digest().copied()).is_some_and(|digest| prefix.fits(&digest))
    };
    let mut matches = Matches::default();
    images.iter().filter(|image| fits(image)).for_each(|it| matches.add(&it.descriptor, it));
    if matches.0.is_empty() {
        return Ok(None);
    }
    matches.only(text).map(|found| Some(Found { by: FoundBy::Name, ..found }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_six_hex_digits() {
        let digest = Digest::of(b"");
        let fits = |text| Prefix::parse(text).is_some_and(|prefix| prefix.fits(&digest));
        assert!(fits("e3b0c4") && fits("sha256:e3b0c4"));
        for text in ["e3b0c", "E3B0C4", "sha512:e3b0c4", "e3b0c5", "", "sha256:", "e3b0cx"] {
            assert!(!fits(text), "{text}");
        }
    }
}
