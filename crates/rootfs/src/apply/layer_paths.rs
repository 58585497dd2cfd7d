//! The paths of the layer that is being applied. Whiteouts spare them, wherever in the layer the whiteouts stand.
//!
//! Paths are kept as keyed hashes. So a path costs about 35 bytes, whatever its length, and no layer can be made to have two
//! paths that collide. The hashes are shorter than `layer_format::listing::PathKey`, which would cost half as much again.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use layer_format::layer::components;

/// The hash that stands for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathHash([u32; 3]);

/// What the layer has to do with a path: a set of the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PathMarks(u8);

impl PathMarks {
    /// The layer has an entry for it.
    pub(super) const WRITTEN: Self = Self(1);
    /// The layer has an entry below it, or links to one.
    pub(super) const ABOVE: Self = Self(2);
    /// The layer has a hard link to it that took what a lower layer had there.
    pub(super) const LINKED: Self = Self(4);
    /// It holds nothing of the lower layers any more.
    pub(super) const CLEARED: Self = Self(8);
    /// Something below it is [`LINKED`](Self::LINKED).
    pub(super) const ABOVE_LINKED: Self = Self(16);

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has any of these.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a whiteout of the path has to spare something.
    pub(super) fn spare(self) -> bool {
        self.has(Self::WRITTEN.and(Self::ABOVE).and(Self::LINKED))
    }
}

/// The paths of one layer.
#[derive(Debug)]
pub(super) struct LayerPaths {
    seeds: [RandomState; 2],
    marks: HashMap<PathHash, PathMarks>,
    /// The directory that was marked last. It is not marked again for each of its entries.
    last_above: Option<Vec<u8>>,
}

impl LayerPaths {
    pub(super) fn new() -> Self {
        Self {
            seeds: [RandomState::new(), RandomState::new()],
            marks: HashMap::new(),
            last_above: None,
        }
    }

    /// Forgets the paths, since the next layer begins. Hashes stay valid.
    pub(super) fn forget(&mut self) {
        if self.marks.capacity() > 1024 {
            self.marks = HashMap::new();
        } else {
            self.marks.clear();
        }
        self.last_above = None;
    }

    pub(super) fn hash(&self, directory: &[u8], name: &[u8]) -> PathHash {
        let mut hashers = self.hashers();
        for component in components(directory).chain(components(name)) {
            feed(&mut hashers, component);
        }
        hash(&hashers)
    }

    pub(super) fn marks(&self, hash: PathHash) -> PathMarks {
        self.marks.get(&hash).copied().unwrap_or_default()
    }

    /// Adds to a path's marks. The result is what they were before.
    pub(super) fn mark(&mut self, hash: PathHash, marks: PathMarks) -> PathMarks {
        let slot = self.marks.entry(hash).or_default();
        let before = *slot;
        slot.0 |= marks.0;
        before
    }

    /// Marks `directory` and everything above it as being above an entry.
    pub(super) fn mark_above(&mut self, directory: &[u8]) {
        if self.last_above.as_deref() == Some(directory) {
            return;
        }
        self.mark_all(directory, PathMarks::ABOVE);
        self.last_above = Some(directory.to_vec());
    }

    /// Marks the target of a hard link, which is in the lower layers.
    pub(super) fn mark_linked(&mut self, directory: &[u8], name: &[u8]) {
        self.mark_all(directory, PathMarks::ABOVE.and(PathMarks::ABOVE_LINKED));
        let hash = self.hash(directory, name);
        self.mark(hash, PathMarks::LINKED);
    }

    /// Marks `directory` and everything above it.
    fn mark_all(&mut self, directory: &[u8], marks: PathMarks) {
        let mut hashers = self.hashers();
        self.mark(hash(&hashers), marks);
        for component in components(directory) {
            feed(&mut hashers, component);
            self.mark(hash(&hashers), marks);
        }
    }

    fn hashers(&self) -> [DefaultHasher; 2] {
        [self.seeds[0].build_hasher(), self.seeds[1].build_hasher()]
    }
}

fn feed(hashers: &mut [DefaultHasher; 2], component: &[u8]) {
    for hasher in hashers {
        hasher.write(component);
        hasher.write_u8(b'/');
    }
}

fn hash(hashers: &[DefaultHasher; 2]) -> PathHash {
    let [a, b] = [hashers[0].finish(), hashers[1].finish()];
    let halves = [a.to_le_bytes(), b.to_le_bytes()].concat();
    let word = |at: usize| {
        u32::from_le_bytes([halves[at], halves[at + 1], halves[at + 2], halves[at + 3]])
    };
    PathHash([word(0), word(4), word(8)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_hash_however_it_is_split() {
        let paths = LayerPaths::new();
        assert_eq!(paths.hash(b"a/b", b"c"), paths.hash(b"a", b"b/c"));
        assert_eq!(paths.hash(b"", b""), paths.hash(b"", b""));
        assert_ne!(paths.hash(b"a", b"bc"), paths.hash(b"ab", b"c"));
        assert_ne!(paths.hash(b"", b"a"), paths.hash(b"", b""));
    }

    #[test]
    fn what_is_above_an_entry_is_spared_until_the_layer_ends() {
        let mut paths = LayerPaths::new();
        paths.mark_above(b"a/b");
        for (directory, name) in [("", ""), ("", "a"), ("a", "b")] {
            assert!(
                paths.marks(paths.hash(directory.as_bytes(), name.as_bytes())).spare(),
                "{directory}/{name}"
            );
        }
        assert!(!paths.marks(paths.hash(b"a", b"c")).spare());
        let hash = paths.hash(b"", b"x");
        assert_eq!(paths.mark(hash, PathMarks::CLEARED), PathMarks::default());
        assert!(!paths.marks(hash).spare());
        paths.forget();
        paths.mark_above(b"");
        assert!(!paths.marks(paths.hash(b"a", b"b")).spare());
    }
}
