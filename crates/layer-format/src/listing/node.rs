//! What stands in the tree: names, and the inodes behind them.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
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
    pub xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
    /// Which change described it; none for a directory that only stands above something.
    pub origin: Option<Origin>,
}

/// One change of one layer, by its numbers. A tree has many of them, so they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(NonZeroU64);

impl Origin {
    /// The change's part of the bits; the rest is the layer's.
    const CHANGE_BITS: u32 = 44;

    /// None beyond a million layers, or more changes than a tar of petabytes holds.
    pub(super) fn new(layer: usize, change: u64) -> Option<Self> {
        let layer =
            u64::try_from(layer).ok().filter(|layer| layer >> (64 - Self::CHANGE_BITS) == 0)?;
        // One more, so that nothing is zero.
        let change = Some(change + 1).filter(|change| change >> Self::CHANGE_BITS == 0)?;
        NonZeroU64::new(layer << Self::CHANGE_BITS | change).map(Self)
    }

    /// The layer, counted from the base, which is 0.
    pub fn layer(self) -> usize {
        usize::try_from(self.0.get() >> Self::CHANGE_BITS).unwrap_or(usize::MAX)
    }

    /// The change among those that the layer's reader gives, counted from 0.
    pub fn change(self) -> u64 {
        (self.0.get() & ((1 << Self::CHANGE_BITS) - 1)) - 1
    }
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
            xattrs: entry.xattrs.as_slice().into(),
            origin: Some(origin),
        }
    }

    /// A directory that some entry needs and no layer describes.
    pub(super) fn implied() -> Self {
        let (kind, mtime) = (EntryKind::Directory, Timestamp::default());
        Self { kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Box::default(), origin: None }
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

/// What is in a directory, by name.
pub(super) type Children = BTreeMap<Box<[u8]>, u32>;

static NOTHING: Children = Children::new();

/// One name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) key: Key,
    /// How many layers there were when the name was put there or described last, that layer included; 0 for none.
    pub(super) n_layers: u32,
    pub(super) inode: Arc<Inode>,
    /// Most names are no directories.
    pub(super) children: Option<Box<Children>>,
}

impl Node {
    /// The layer that put the name there, or described it last.
    pub(super) fn layer(&self) -> Option<usize> {
        (self.n_layers as usize).checked_sub(1)
    }

    pub(super) fn children(&self) -> &Children {
        self.children.as_deref().unwrap_or(&NOTHING)
    }

    /// About how many bytes it takes, its name left out.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<Self>() + size_of::<Inode>() + 64) as u64 + self.inode.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_packed_and_its_numbers_come_out_again() {
        for (layer, change) in [(0, 0), (1, 0), (0, 7), (20_000, (1 << 44) - 2), ((1 << 20) - 1, 5)]
        {
            let origin = Origin::new(layer, change).unwrap();
            assert_eq!((origin.layer(), origin.change()), (layer, change));
        }
        assert!(Origin::new(1, 0) > Origin::new(0, 1 << 40));
        for (layer, change) in [(1 << 20, 0), (0, (1 << 44) - 1)] {
            assert_eq!(Origin::new(layer, change), None);
        }
        assert_eq!((size_of::<Option<Origin>>(), size_of::<Node>()), (8, 40));
    }
}
