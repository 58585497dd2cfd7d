//! Differences, summed up by directory.

use std::collections::BTreeMap;

use layer_format::layer::{EntryKind, EntryPath};

use crate::compare::Difference;

/// Sums for every directory down to a depth, each with all below it.
pub(crate) struct Stat {
    depth: usize,
    sums: BTreeMap<EntryPath, Sums>,
}

/// What has changed in one directory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) n_added: u64,
    pub(crate) n_changed: u64,
    pub(crate) n_removed: u64,
    /// In bytes of files.
    pub(crate) growth: i128,
}

/// A directory and its sums.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) directory: EntryPath,
    pub(crate) sums: Sums,
}

impl Stat {
    pub(crate) fn new(depth: usize) -> Self {
        Self { depth, sums: BTreeMap::new() }
    }

    /// Counts a difference for the directory that it is in, or is, and for those above.
    pub(crate) fn add(&mut self, difference: &Difference<'_>) {
        let is_directory = difference
            .after
            .or(difference.before)
            .is_some_and(|it| it.kind == EntryKind::Directory);
        let n_names = difference.path.components().count();
        let deepest = if is_directory { n_names } else { n_names.saturating_sub(1) };
        let mut directory = EntryPath::root();
        let mut names = difference.path.components();
        for depth in 0..=deepest.min(self.depth) {
            if depth > 0 {
                directory = names.next().map_or_else(EntryPath::root, |name| directory.join(name));
            }
            self.sums.entry(directory.clone()).or_default().add(difference);
        }
    }

    /// The sums, in the order of paths.
    pub(crate) fn lines(self) -> impl Iterator<Item = Line> {
        self.sums.into_iter().map(|(directory, sums)| Line { directory, sums })
    }
}

impl Sums {
    fn add(&mut self, difference: &Difference<'_>) {
        match (difference.before, difference.after) {
            (None, _) => self.n_added += 1,
            (_, None) => self.n_removed += 1,
            _ => self.n_changed += 1,
        }
        self.growth += difference.growth;
    }
}
