//! An earlier record of the tree that is scanned. A file that is as it was is not recorded a second time.

use std::iter::Peekable;
use std::sync::atomic::{AtomicU64, Ordering};

use layer_format::listing::{Inode, NameId, Place, Tree};
use rustix::fs::FileType;

use super::node::{Node, Seen};

/// An earlier record of a tree, and what tells whether a file is the same.
pub struct Known<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) is_same: IsSame<'a>,
}

/// Whether an inode of the record and a scanned one are the same.
pub(crate) type IsSame<'a> = Box<dyn Fn(&Inode, Seen<'_>) -> bool + Sync + 'a>;

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("tree", &self.tree).finish_non_exhaustive()
    }
}

/// The names of an earlier record at which a scan has found the same: files and symbolic links that have, and had, no other
/// names. It takes a bit for each name of the record.
#[derive(Debug, Default)]
pub(super) struct SameNames {
    bits: Box<[AtomicU64]>,
}

impl SameNames {
    /// No name of this tree.
    pub(super) fn of(tree: &Tree) -> Self {
        let n_words = tree.most_names().div_ceil(64);
        Self { bits: (0..n_words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the scan has found the same at this name.
    pub(super) fn has(&self, place: &Place<'_>) -> bool {
        let (word, bit) = position(place);
        self.bits.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn insert(&self, place: &Place<'_>) {
        let (word, bit) = position(place);
        self.bits[word].fetch_or(bit, Ordering::Relaxed);
    }
}

fn position(place: &Place<'_>) -> (usize, u64) {
    let number = place.name_id().number();
    (number / 64, 1 << (number % 64))
}

/// The earlier record that a scan is compared with, and the names at which it has found the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlierRecord<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) same: &'a SameNames,
}

/// The names that the earlier record has in a directory. They are asked for in order.
pub(super) struct EarlierNames<'a> {
    earlier: Option<EarlierRecord<'a>>,
    children: Peekable<Children<'a>>,
}

/// The names in a directory of the record, in order.
type Children<'a> = Box<dyn Iterator<Item = (&'a [u8], Place<'a>)> + 'a>;

impl<'a> EarlierNames<'a> {
    /// The names in `directory` of the record, from `first` on; none without a record or a directory.
    pub(super) fn new(
        earlier: Option<EarlierRecord<'a>>,
        directory: Option<NameId>,
        first: &[u8],
    ) -> Self {
        let directory = earlier.zip(directory).map(|(earlier, id)| earlier.known.tree.place(id));
        let children: Children<'_> = match directory {
            Some(directory) => Box::new(directory.children_from(first)),
            None => Box::new(std::iter::empty()),
        };
        Self { earlier, children: children.peekable() }
    }

    /// What the record has under this name, which must come after those that were asked for before.
    pub(super) fn next(&mut self, name: &[u8]) -> Option<EarlierName<'a>> {
        while self.children.next_if(|(before, _)| *before < name).is_some() {}
        let (_, place) = self.children.next_if(|(other, _)| *other == name)?;
        Some(EarlierName { earlier: self.earlier?, place })
    }
}

/// A name of the earlier record.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlierName<'a> {
    earlier: EarlierRecord<'a>,
    place: Place<'a>,
}

impl EarlierName<'_> {
    /// Whether the scanned inode is the same as the record's. If it is, that is noted.
    pub(super) fn is_same(&self, seen: Seen<'_>) -> bool {
        let Self { earlier: EarlierRecord { known, same }, place } = self;
        let is_same = may_be_left_out(seen.node)
            && !place.is_linked()
            && (known.is_same)(&place.inode(), seen);
        if is_same {
            same.insert(place);
        }
        is_same
    }

    /// The directory, if it is one.
    pub(super) fn directory(&self) -> Option<NameId> {
        self.place.is_directory().then(|| self.place.name_id())
    }
}

/// Whether a node is left out if it is the same as the record's. A file with several names is not, since it is part of a group;
/// a directory is not, since it holds others; a device is not, since some are refused.
fn may_be_left_out(node: &Node) -> bool {
    let is_plain = matches!(node.kind(), FileType::RegularFile | FileType::Symlink);
    is_plain && !node.is_linked() && !node.is_passed()
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};

    use super::*;

    #[test]
    fn names_share_no_bit() {
        let mut tree = Tree::new();
        tree.begin_layer();
        let paths: Vec<_> =
            (0..200).map(|n| EntryPath::parse(format!("{n:03}").as_bytes()).unwrap()).collect();
        for path in &paths {
            let entry = Entry {
                path: path.clone(),
                kind: EntryKind::Fifo,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                xattrs: vec![],
            };
            tree.apply(&Change::Add(entry)).unwrap();
        }
        let places: Vec<_> = paths.iter().map(|path| tree.find(path.as_bytes()).unwrap()).collect();
        let same = SameNames::of(&tree);
        for place in places.iter().step_by(3) {
            same.insert(place);
        }
        for (n, place) in places.iter().enumerate() {
            assert_eq!(same.has(place), n % 3 == 0, "{n}");
        }
        assert!(!SameNames::default().has(&places[0]));
    }
}
