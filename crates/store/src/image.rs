//! One entry of a store's `index.json`: an image, and the name it has there.

use layer_format::{Descriptor, Digest, Reference, annotation};

/// The annotation with the digest of the index that an image was chosen from, by its platform.
pub const STRATA_INDEX: &str = "strata.index";

/// An image (or an index of several) that the store keeps, by a name or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its manifest or index, with all that the entry says about it; the name is an annotation.
    pub descriptor: Descriptor,
}

impl Image {
    /// An entry for `descriptor`, whose other annotations stay. A name that is pinned by a digest, and no name, make an
    /// unnamed entry: it is found by digest.
    pub fn new(name: Option<&Reference>, descriptor: Descriptor) -> Self {
        let mut image = Self { descriptor };
        image.unname();
        if let Some(name) = name.filter(|name| name.digest().is_none()) {
            image.annotate(annotation::REF_NAME, name.full());
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

    /// Its name as it stands there: the full one, if the entry is ours; a stranger's may be anything.
    pub fn name(&self) -> Option<&str> {
        let named = |key| self.descriptor.annotation(key).filter(|name| !name.is_empty());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_full_one_and_only_without_a_digest() {
        let mut descriptor = Descriptor::of("m", b"");
        descriptor.annotations.insert(annotation::IMAGE_NAME.to_owned(), "stream's".to_owned());
        let image = |text: &str| Image::new(Some(&text.parse().unwrap()), descriptor.clone());
        assert_eq!(image("nginx").name(), Some("docker.io/library/nginx:latest"));
        assert_eq!(image(&format!("nginx@{}", Digest::of(b""))).name(), None);
        assert_eq!(Image::new(None, descriptor.clone()).name(), None);
    }
}
