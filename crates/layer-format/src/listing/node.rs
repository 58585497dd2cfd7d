//! What stands in the tree: names, and the inodes behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::marks::Key;
use crate::layer::{Entry, EntryKind, Timestamp};

/// What lies behind a name, or behind several that are hard links of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What it is; never a hard link, and where a sparse file's data lies isn't kept.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which change described it; none for a directory that only stands above something.
    pub origin: Option<Origin>,
}

/// One change of one layer, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The layer, counted from the base, which is 0.
    pub layer: usize,
    /// The change among those that the layer's reader gives, counted from 0.
    pub change: u64,
}

impl Inode {
    pub(super) fn of(entry: &Entry, origin: Origin) -> Self {
        let kind = match &entry.kind {
            EntryKind::File { size, .. } => EntryKind::File { size: *size, data: None },
            kind => kind.clone(),
        };
        Self {
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
            origin: Some(origin),
        }
    }

    /// A directory that some entry needs and no layer describes.
    pub(super) fn implied() -> Self {
        let (kind, mtime) = (EntryKind::Directory, Timestamp::default());
        Self { kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: vec![], origin: None }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == EntryKind::Directory
    }

    /// About how many bytes it takes besides its own size.
    fn weight(&self) -> u64 {
        let target = match &self.kind {
            EntryKind::Symlink { target } => target.len(),
            _ => 0,
        };
        let xattrs = self.xattrs.iter().map(|(name, value)| 48 + name.len() + value.len());
        (target + xattrs.sum::<usize>()) as u64
    }
}

/// One name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) key: Key,
    /// The layer that put the name there, or described it last.
    pub(super) layer: Option<usize>,
    pub(super) inode: Arc<Inode>,
    pub(super) children: BTreeMap<Box<[u8]>, u32>,
}

impl Node {
    /// About how many bytes it takes, its name left out.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<Self>() + size_of::<Inode>() + 64) as u64 + self.inode.weight()
    }
}
