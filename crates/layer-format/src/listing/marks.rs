//! Marks for the layer that is being applied. Whiteouts spare what this layer has written, wherever in the archive they
//! stand.
//!
//! A node itself shows that the layer has written its name. Marks keep the rest, and are removed with their nodes: if
//! the layer has removed a name and then puts something else there, that is the layer's own.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::nodes::ROOT;
use super::tree::Tree;
use crate::layer::EntryPath;

/// What the layer has done to a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u8);

impl Mark {
    /// The layer has an entry below the directory.
    pub(super) const ABOVE: Self = Self(1);
    /// The directory holds nothing of the lower layers any more.
    pub(super) const CLEARED: Self = Self(2);

    /// Whether this has one of the marks in `other`.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The marks of one layer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    directories: HashMap<u32, Mark>,
    /// The paths of lower layers that the layer's hard links name.
    taken: BTreeSet<EntryPath>,
    /// The size of those paths in bytes.
    taken_bytes: usize,
}

impl Marks {
    /// Adds to a directory's marks and returns the marks before.
    pub(super) fn add(&mut self, directory: u32, mark: Mark) -> Mark {
        let slot = self.directories.entry(directory).or_default();
        let before = *slot;
        slot.0 |= mark.0;
        before
    }

    /// Removes the marks of a node that is removed.
    pub(super) fn forget(&mut self, node: u32) {
        self.directories.remove(&node);
    }

    /// Notes that a hard link names what a lower layer has at `path`.
    pub(super) fn take(&mut self, path: EntryPath) {
        self.taken_bytes += path.as_bytes().len();
        self.taken.insert(path);
    }

    pub(super) fn is_taken(&self, path: &EntryPath) -> bool {
        self.taken.contains(path)
    }

    /// Whether a hard link names anything below a path.
    pub(super) fn is_above_taken(&self, path: &EntryPath) -> bool {
        if path.is_root() {
            return !self.taken.is_empty();
        }
        // All paths below it are adjacent in the set: they begin with its path and a slash.
        let start = path.join(b"\x01");
        let mut after = self.taken.range((Bound::Included(start), Bound::Unbounded));
        after.next().is_some_and(|taken| taken.is_below(path))
    }

    /// The approximate size of the marks in bytes.
    pub(super) fn weight(&self) -> usize {
        self.directories.len() * 16 + self.taken.len() * 48 + self.taken_bytes
    }
}

impl Tree {
    /// Whether the layer has put a node there.
    pub(super) fn is_written(&self, node: u32) -> bool {
        self.nodes[node].n_layers == self.n_layers && self.nodes.packed(node).origin().is_some()
    }

    /// Whether a whiteout of a node must spare the node or something below it.
    pub(super) fn is_spared(&self, node: u32) -> bool {
        let mark = self.marks.directories.get(&node).copied().unwrap_or_default();
        self.is_written(node) || mark.has(Mark::ABOVE)
    }

    /// Marks a directory and all directories above it with [`Mark::ABOVE`].
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
