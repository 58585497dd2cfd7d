//! What the layer under way has to do with what is there: whiteouts spare what it has written, wherever in the archive they
//! stand.
//!
//! That the layer has written a name shows in its node. Marks say the rest, and go with their nodes: whatever takes the
//! place of a name that the layer has removed is the layer's own.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::nodes::ROOT;
use super::tree::Tree;
use crate::layer::EntryPath;

/// What the layer has to do with a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u8);

impl Mark {
    /// The layer has an entry below it.
    pub(super) const ABOVE: Self = Self(1);
    /// It holds nothing of the lower layers any more.
    pub(super) const CLEARED: Self = Self(2);

    /// Whether it has one of these.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The marks of one layer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    directories: HashMap<u32, Mark>,
    /// The paths of what hard links have taken from the lower layers.
    taken: BTreeSet<EntryPath>,
    /// How many bytes those paths have.
    taken_bytes: usize,
}

impl Marks {
    /// Adds to a directory's marks and says what they were before.
    pub(super) fn add(&mut self, directory: u32, mark: Mark) -> Mark {
        let slot = self.directories.entry(directory).or_default();
        let before = *slot;
        slot.0 |= mark.0;
        before
    }

    /// A node goes.
    pub(super) fn forget(&mut self, node: u32) {
        self.directories.remove(&node);
    }

    /// A hard link takes what a lower layer has at `path`.
    pub(super) fn take(&mut self, path: EntryPath) {
        self.taken_bytes += path.as_bytes().len();
        self.taken.insert(path);
    }

    pub(super) fn is_taken(&self, path: &EntryPath) -> bool {
        self.taken.contains(path)
    }

    /// Whether anything below a path was taken.
    pub(super) fn is_above_taken(&self, path: &EntryPath) -> bool {
        if path.is_root() {
            return !self.taken.is_empty();
        }
        // What is below it stands in one piece: from its path with a slash on.
        let start = path.join(b"\x01");
        let mut after = self.taken.range((Bound::Included(start), Bound::Unbounded));
        after.next().is_some_and(|taken| taken.is_below(path))
    }

    /// About how many bytes they take.
    pub(super) fn weight(&self) -> usize {
        self.directories.len() * 16 + self.taken.len() * 48 + self.taken_bytes
    }
}

impl Tree {
    /// Whether the layer has put there what is at a node now.
    pub(super) fn is_written(&self, node: u32) -> bool {
        self.nodes[node].n_layers == self.n_layers && self.nodes.packed(node).origin().is_some()
    }

    /// Whether a whiteout of a node has anything to spare.
    pub(super) fn is_spared(&self, node: u32) -> bool {
        let mark = self.marks.directories.get(&node).copied().unwrap_or_default();
        self.is_written(node) || mark.has(Mark::ABOVE)
    }

    /// Marks a directory and everything above it as being above an entry.
    pub(super) fn mark_above(&mut self, directory: u32) {
        let mut here = directory;
        while !self.marks.add(here, Mark::ABOVE).has(Mark::ABOVE) && here != ROOT {
            here = self.nodes[here].parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_something_taken_is_known_by_whole_names() {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        let mut marks = Marks::default();
        assert!(!marks.is_above_taken(&path("")));
        for taken in ["a/b/c", "a-/x", "a\u{1}/y"] {
            marks.take(path(taken));
        }
        for above in ["", "a", "a/b", "a-", "a\u{1}"] {
            assert!(marks.is_above_taken(&path(above)), "{above:?}");
        }
        for other in ["a/b/c", "a/b/c/d", "b", "a/a", "a/c", "a-/x", "a,"] {
            assert!(!marks.is_above_taken(&path(other)), "{other:?}");
        }
        assert!(marks.is_taken(&path("a/b/c")) && !marks.is_taken(&path("a/b")));
    }

    #[test]
    fn what_marks_weigh_grows_with_each_of_them() {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        let mut marks = Marks::default();
        assert_eq!(marks.weight(), 0);
        marks.add(3, Mark::ABOVE);
        marks.add(3, Mark::CLEARED);
        marks.add(7, Mark::ABOVE);
        assert_eq!(marks.weight(), 2 * 16);
        marks.take(path("a/b/c"));
        marks.take(path("a/b/long"));
        assert_eq!(marks.weight(), 2 * 16 + 2 * 48 + 5 + 8);
        marks.forget(3);
        assert_eq!(marks.weight(), 16 + 2 * 48 + 5 + 8);
    }
}
