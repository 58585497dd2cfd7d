//! An earlier record of the tree that is scanned: of a file that is as it was, no second record is kept.

use std::iter::Peekable;
use std::sync::atomic::{AtomicU64, Ordering};

use layer_format::listing::{Inode, NameId, Place, Tree};
use rustix::fs::FileType;

use super::node::Node;
use super::seen::Seen;

/// An earlier record of a tree, and when a file counts as the same.
pub struct Known<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) is_same: IsSame<'a>,
}

/// Says whether nothing is different.
pub(crate) type IsSame<'a> = Box<dyn Fn(&Inode, Seen<'_>) -> bool + Sync + 'a>;

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("tree", &self.tree).finish_non_exhaustive()
    }
}

/// The names of an earlier record at which a scan has found what the record says: files and symbolic links that have no
/// other name, neither then nor now. A bit for each name.
#[derive(Debug, Default)]
pub(super) struct SameNames {
    bits: Box<[AtomicU64]>,
}

impl SameNames {
    /// None of the names of this tree, yet.
    pub(super) fn of(tree: &Tree) -> Self {
        let n_words = tree.most_names().div_ceil(64);
        Self { bits: (0..n_words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether what is there is what the record says.
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

/// What a scan is compared with while it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) same: &'a SameNames,
}

/// What the earlier record has in a directory, gone through beside what is found there.
pub(super) struct Earlier<'a> {
    comparison: Option<Comparison<'a>>,
    children: Peekable<Children<'a>>,
}

/// The names in a directory of the record, in order.
type Children<'a> = Box<dyn Iterator<Item = (&'a [u8], Place<'a>)> + 'a>;

impl<'a> Earlier<'a> {
    /// What is in the directory that the record has; nothing without one.
    pub(super) fn new(comparison: Option<Comparison<'a>>, directory: Option<NameId>) -> Self {
        let directory = comparison.zip(directory);
        let directory = directory.map(|(comparison, id)| comparison.known.tree.place(id));
        let children: Children<'_> = match directory {
            Some(directory) => Box::new(directory.children()),
            None => Box::new(std::iter::empty()),
        };
        Self { comparison, children: children.peekable() }
    }

    /// What it has under this name, which comes after those that were asked for before.
    pub(super) fn next(&mut self, name: &[u8]) -> Option<EarlierName<'a>> {
        while self.children.next_if(|(earlier, _)| *earlier < name).is_some() {}
        let (_, place) = self.children.next_if(|(earlier, _)| *earlier == name)?;
        Some(EarlierName { comparison: self.comparison?, place })
    }
}

/// One name of the earlier record.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlierName<'a> {
    comparison: Comparison<'a>,
    place: Place<'a>,
}

impl EarlierName<'_> {
    /// Whether what was found is what the record says, of which a note is made then.
    pub(super) fn is_same(&self, seen: Seen<'_>) -> bool {
        let Self { comparison: Comparison { known, same }, place } = self;
        let is_same = may_be_known_by_another(seen.node)
            && !place.is_linked()
            && (known.is_same)(&place.inode(), seen);
        if is_same {
            same.insert(place);
        }
        is_same
    }

    /// Which directory it is, if it is one.
    pub(super) fn directory(&self) -> Option<NameId> {
        self.place.is_directory().then(|| self.place.name_id())
    }
}

/// Whether the earlier record may stand for it. A file of several names is one of a group, a directory stands above others,
/// and some devices are refused.
fn may_be_known_by_another(node: &Node) -> bool {
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
            let (kind, mtime) = (EntryKind::Fifo, Timestamp::default());
            let (path, mode, uid, gid, xattrs) = (path.clone(), 0o644, 0, 0, vec![]);
            tree.apply(&Change::Add(Entry { path, kind, mode, uid, gid, mtime, xattrs })).unwrap();
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
