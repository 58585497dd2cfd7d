//! Which paths the layer under way has written: whiteouts spare those, wherever in the archive they stand.
//!
//! A path stays marked when what is there is replaced, so marks hang on paths, not on nodes. Paths are kept as keyed
//! hashes: nobody can choose two that collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Names a path: made from that of the directory and the last name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key([u32; 3]);

/// What the layer has to do with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u8);

impl Mark {
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

    pub(super) fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether a whiteout of the path has anything to spare.
    pub(super) fn spares(self) -> bool {
        self.has(Self::WRITTEN.and(Self::ABOVE).and(Self::LINKED))
    }
}

/// The marks of one layer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    seeds: [RandomState; 2],
    marks: HashMap<Key, Mark>,
}

impl Marks {
    /// The next layer begins. Keys stay valid.
    pub(super) fn forget(&mut self) {
        self.marks = HashMap::new();
    }

    pub(super) fn key(&self, directory: Key, name: &[u8]) -> Key {
        let halves = self.seeds.each_ref().map(|seed| seed.hash_one((directory, name)));
        let [first, second] = halves.map(u64::to_le_bytes);
        let word = |from: &[u8; 8], at: usize| {
            u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]])
        };
        Key([word(&first, 0), word(&first, 4), word(&second, 0)])
    }

    pub(super) fn of(&self, key: Key) -> Mark {
        self.marks.get(&key).copied().unwrap_or_default()
    }

    /// Adds to a path's marks and says what they were before.
    pub(super) fn add(&mut self, key: Key, mark: Mark) -> Mark {
        let slot = self.marks.entry(key).or_default();
        let before = *slot;
        slot.0 |= mark.0;
        before
    }
}
