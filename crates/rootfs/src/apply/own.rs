//! Which paths the layer under way has written: whiteouts spare those, wherever in the archive they stand.
//!
//! Paths are kept as keyed hashes, so a path costs about 35 bytes, whatever its length, and nobody can choose two that
//! collide. They are shorter than `layer_format::listing::PathKey`, which would cost half as much again.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use layer_format::layer::components;

/// Names a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u32; 3]);

/// What the layer has to do with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
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

    /// Whether it has one of these.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a whiteout of the path has anything to spare.
    pub(super) fn spare(self) -> bool {
        self.has(Self::WRITTEN.and(Self::ABOVE).and(Self::LINKED))
    }
}

/// The paths of one layer.
#[derive(Debug)]
pub(super) struct OwnPaths {
    seeds: [RandomState; 2],
    marks: HashMap<Key, Marks>,
    /// The directory that was marked last, to save doing it again for each of its entries.
    last_above: Option<Vec<u8>>,
}

impl OwnPaths {
    pub(super) fn new() -> Self {
        Self {
            seeds: [RandomState::new(), RandomState::new()],
            marks: HashMap::new(),
            last_above: None,
        }
    }

    /// The next layer begins. Keys stay valid.
    pub(super) fn forget(&mut self) {
        if self.marks.capacity() > 1024 {
            self.marks = HashMap::new();
        } else {
            self.marks.clear();
        }
        self.last_above = None;
    }

    pub(super) fn key(&self, directory: &[u8], name: &[u8]) -> Key {
        let mut hashers = self.hashers();
        for component in components(directory).chain(components(name)) {
            feed(&mut hashers, component);
        }
        key(&hashers)
    }

    pub(super) fn marks(&self, key: Key) -> Marks {
        self.marks.get(&key).copied().unwrap_or_default()
    }

    /// Adds to a path's marks and says what they were before.
    pub(super) fn mark(&mut self, key: Key, marks: Marks) -> Marks {
        let slot = self.marks.entry(key).or_default();
        let before = *slot;
        slot.0 |= marks.0;
        before
    }

    /// Marks `directory` and everything above it as being above an entry.
    pub(super) fn mark_above(&mut self, directory: &[u8]) {
        if self.last_above.as_deref() == Some(directory) {
            return;
        }
        self.mark_way(directory, Marks::ABOVE);
        self.last_above = Some(directory.to_vec());
    }

    /// Marks what a hard link takes from the lower layers.
    pub(super) fn mark_linked(&mut self, directory: &[u8], name: &[u8]) {
        self.mark_way(directory, Marks::ABOVE.and(Marks::ABOVE_LINKED));
        let key = self.key(directory, name);
        self.mark(key, Marks::LINKED);
    }

    /// Marks `directory` and everything above it.
    fn mark_way(&mut self, directory: &[u8], marks: Marks) {
        let mut hashers = self.hashers();
        self.mark(key(&hashers), marks);
        for component in components(directory) {
            feed(&mut hashers, component);
            self.mark(key(&hashers), marks);
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

fn key(hashers: &[DefaultHasher; 2]) -> Key {
    let [a, b] = [hashers[0].finish(), hashers[1].finish()];
    let halves = [a.to_le_bytes(), b.to_le_bytes()].concat();
    let word = |at: usize| {
        u32::from_le_bytes([halves[at], halves[at + 1], halves[at + 2], halves[at + 3]])
    };
    Key([word(0), word(4), word(8)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_key_however_it_is_split() {
        let own = OwnPaths::new();
        assert_eq!(own.key(b"a/b", b"c"), own.key(b"a", b"b/c"));
        assert_eq!(own.key(b"", b""), own.key(b"", b""));
        assert_ne!(own.key(b"a", b"bc"), own.key(b"ab", b"c"));
        assert_ne!(own.key(b"", b"a"), own.key(b"", b""));
    }

    #[test]
    fn what_is_above_an_entry_is_spared_until_the_layer_ends() {
        let mut own = OwnPaths::new();
        own.mark_above(b"a/b");
        for (directory, name) in [("", ""), ("", "a"), ("a", "b")] {
            assert!(
                own.marks(own.key(directory.as_bytes(), name.as_bytes())).spare(),
                "{directory}/{name}"
            );
        }
        assert!(!own.marks(own.key(b"a", b"c")).spare());
        let key = own.key(b"", b"x");
        assert_eq!(own.mark(key, Marks::CLEARED), Marks::default());
        assert!(!own.marks(key).spare());
        own.forget();
        own.mark_above(b"");
        assert!(!own.marks(own.key(b"a", b"b")).spare());
    }
}
