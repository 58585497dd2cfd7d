//! One entry of a store's `index.json`: an image and its name.

use layer_format::{Descriptor, Digest, Reference, annotation};

/// The annotation with the digest of the index from which an image was chosen by its platform.
pub const STRATA_INDEX: &str = "strata.index";

/// An image (or an index of several) that the store keeps, with a name or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The descriptor of its manifest or index, with all annotations of the entry; the name is one of them.
    pub descriptor: Descriptor,
}

impl IndexEntry {
    /// An entry for `descriptor` with this name; without one, the image is found by digest. Other annotations stay, but for
    /// [`STRATA_INDEX`], which a stranger may have written.
    pub fn new(name: Option<&Reference>, descriptor: Descriptor) -> Self {
        let mut image = Self { descriptor };
        image.unname();
        image.descriptor.annotations.remove(STRATA_INDEX);
        if let Some(name) = name {
            image.annotate(annotation::REF_NAME, entry_name(name));
        }
        image
    }

    /// The same entry, with a note that it was chosen from this index.
    #[must_use]
    pub fn chosen_from(mut self, index: Digest) -> Self {
        self.annotate(STRATA_INDEX, index.to_string());
        self
    }

    /// The digest of the manifest or the index.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// The name as the entry has it: a full name in entries that Strata wrote, any text in those of other tools. A name with the
    /// digest of something else doesn't count.
    pub fn name(&self) -> Option<&str> {
        let may_be = |name: &&str| !name.is_empty() && self.keeps_pin(name);
        let named = |key| self.descriptor.annotation(key).filter(may_be);
        named(annotation::IMAGE_NAME).or_else(|| named(annotation::REF_NAME))
    }

    /// The name, if it is a reference that could be pulled.
    pub fn reference(&self) -> Option<Reference> {
        self.name()?.parse().ok()
    }

    /// The digest of the index that the image was chosen from, if it is known.
    pub fn index(&self) -> Option<Digest> {
        self.descriptor.annotation(STRATA_INDEX)?.parse().ok()
    }

    /// Whether a name has no digest, or the digest of this image or of the index that it was chosen from.
    fn keeps_pin(&self, name: &str) -> bool {
        let pin = name.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
        pin.is_none_or(|pin| pin == *self.digest() || self.index() == Some(pin))
    }

    pub(crate) fn unname(&mut self) {
        self.descriptor.annotations.remove(annotation::IMAGE_NAME);
        self.descriptor.annotations.remove(annotation::REF_NAME);
    }

    /// Whether this entry has the digest and all annotations of `other`, which has no name.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let says =
            |(key, value): (&String, &String)| self.descriptor.annotation(key) == Some(value);
        self.digest() == other.digest() && other.descriptor.annotations.iter().all(says)
    }

    fn annotate(&mut self, key: &str, value: String) {
        self.descriptor.annotations.insert(key.to_owned(), value);
    }
}

/// The text for a name in `index.json`. A name with a digest loses its tag, which means nothing beside the digest.
pub(crate) fn entry_name(name: &Reference) -> String {
    name.digest().map_or_else(|| name.full(), |digest| name.at(*digest).full())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_full_one_and_a_pinned_one_means_what_it_says() {
        let mut descriptor = Descriptor::of("m", b"");
        descriptor.annotations.insert(annotation::IMAGE_NAME.to_owned(), "stream's".to_owned());
        let image = |text: &str| IndexEntry::new(Some(&text.parse().unwrap()), descriptor.clone());
        assert_eq!(image("nginx").name(), Some("docker.io/library/nginx:latest"));
        let pin = Digest::of(b"");
        let pinned = format!("docker.io/library/nginx@{pin}");
        assert_eq!(image(&format!("nginx@{pin}")).name(), Some(&*pinned));
        assert_eq!(image(&format!("nginx:1@{pin}")).name(), Some(&*pinned));
        let other = Digest::of(b"other");
        let liar = image(&format!("nginx@{other}"));
        assert_eq!(liar.name(), None);
        assert!(liar.chosen_from(other).name().is_some());
        assert_eq!(IndexEntry::new(None, descriptor.clone()).name(), None);
    }
}
