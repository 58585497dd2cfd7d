//! One entry of a store's `index.json`: an image, and the name it has there.

use layer_format::{Descriptor, Digest, Reference, annotation};

/// The annotation with the digest of the index that an image was chosen from, by its platform.
pub const STRATA_INDEX: &str = "strata.index";

/// An image (or an index of several) that the store keeps, by a name or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its manifest or index, with all that the entry says about it; the name is an annotation.
    pub descriptor: Descriptor,
}

impl IndexEntry {
    /// An entry for `descriptor`, whose other annotations stay, but for what says which index it was chosen from: a stranger
    /// may have written it. Without a name, it is found by digest.
    pub fn new(name: Option<&Reference>, descriptor: Descriptor) -> Self {
        let mut image = Self { descriptor };
        image.unname();
        image.descriptor.annotations.remove(STRATA_INDEX);
        if let Some(name) = name {
            image.annotate(annotation::REF_NAME, entry_name(name));
        }
        image
    }

    /// The same entry, chosen from this index.
    #[must_use]
    pub fn chosen_from(mut self, index: Digest) -> Self {
        self.annotate(STRATA_INDEX, index.to_string());
        self
    }

    /// The manifest's or index's digest.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// Its name as it stands there: the full one, if the entry is ours; a stranger's may be anything, but for a name that is
    /// pinned by the digest of something else.
    pub fn name(&self) -> Option<&str> {
        let may_be = |name: &&str| !name.is_empty() && self.keeps_pin(name);
        let named = |key| self.descriptor.annotation(key).filter(may_be);
        named(annotation::IMAGE_NAME).or_else(|| named(annotation::REF_NAME))
    }

    /// Its name, if it is one that could be pulled.
    pub fn reference(&self) -> Option<Reference> {
        self.name()?.parse().ok()
    }

    /// The digest of the index that it was chosen from.
    pub fn index(&self) -> Option<Digest> {
        self.descriptor.annotation(STRATA_INDEX)?.parse().ok()
    }

    /// Whether a name that is pinned means this image, or the index that it was chosen from.
    fn keeps_pin(&self, name: &str) -> bool {
        let pin = name.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
        pin.is_none_or(|pin| pin == *self.digest() || self.index() == Some(pin))
    }

    pub(crate) fn unname(&mut self) {
        self.descriptor.annotations.remove(annotation::IMAGE_NAME);
        self.descriptor.annotations.remove(annotation::REF_NAME);
    }

    /// Whether `other`, which is unnamed, says nothing that this entry doesn't say.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let says =
            |(key, value): (&String, &String)| self.descriptor.annotation(key) == Some(value);
        self.digest() == other.digest() && other.descriptor.annotations.iter().all(says)
    }

    fn annotate(&mut self, key: &str, value: String) {
        self.descriptor.annotations.insert(key.to_owned(), value);
    }
}

/// What an image of this name is called in `index.json`. One that is pinned means the same whatever its tag was.
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
