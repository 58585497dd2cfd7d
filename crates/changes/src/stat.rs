//! Differences, summed up by directory.

use std::collections::BTreeMap;

use layer_format::layer::EntryPath;

use crate::compare::Difference;

/// The sums of every directory down to a depth, each with all that is below it.
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
    /// By how many bytes its files have grown.
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
        let node = difference.after.or(difference.before);
        let is_directory = node.is_some_and(|node| node.is_directory());
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

#[cfg(test)]
mod tests {
    use layer_format::layer::{Change, Entry, EntryKind, Timestamp};
    use layer_format::listing::Tree;
    use rootfs::Attributes;

    use super::*;
    use crate::record::Node;

    fn tree(kind: EntryKind) -> Tree {
        let entry = Entry {
            path: EntryPath::parse(b"x").unwrap(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: vec![],
        };
        let mut tree = Tree::new();
        tree.begin_layer();
        tree.apply(&Change::Add(entry)).unwrap();
        tree
    }

    #[test]
    fn a_difference_counts_for_all_directories_above_it_down_to_the_depth() {
        let trees = [EntryKind::File { size: 0, data: None }, EntryKind::Directory].map(tree);
        let [file, directory] = trees.each_ref().map(|tree| Node::Tree(tree.find(b"x").unwrap()));
        let mut stat = Stat::new(2);
        for (path, is_before, is_after, place, growth) in [
            ("a/b/c/d", false, true, file, 10),
            ("a/b", true, true, directory, 0),
            ("a/f", true, false, file, -3),
            ("top", true, true, file, 1),
        ] {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            let (before, after) = (is_before.then_some(place), is_after.then_some(place));
            let attributes = Attributes::default();
            stat.add(&Difference { path, before, after, attributes, growth });
        }
        let line = |Line { directory, sums }: Line| {
            let Sums { n_added, n_changed, n_removed, growth } = sums;
            format!("{directory} {n_added} {n_changed} {n_removed} {growth}")
        };
        let lines: Vec<_> = stat.lines().map(line).collect();
        assert_eq!(lines, [". 1 2 1 8", "a 1 1 1 7", "a/b 1 1 0 10"]);
    }
}
