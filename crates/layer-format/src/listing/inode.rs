//! What stands behind names: as it is shown, and as it is kept.

use std::num::NonZeroU64;

use super::texts::{self, Texts, join_xattrs, split_xattrs};
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
}

/// Tells the inodes of one tree apart: names with the same one are hard links of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(pub(super) u32);

/// An inode as it is kept.
#[derive(Debug)]
pub(super) struct Packed {
    origin: Option<Origin>,
    /// Of a file its size, of a device its number, of a link its target's text.
    value: u64,
    seconds: i64,
    nanos: u32,
    uid: u32,
    gid: u32,
    /// Their text.
    xattrs: u32,
    /// How many names it has.
    pub(super) n_names: u32,
    mode: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
}

impl Packed {
    /// Packs an inode, which gets one name.
    pub(super) fn new(inode: &Inode, texts: &mut Texts) -> Self {
        let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
        let (kind, value) = match &inode.kind {
            EntryKind::Directory => (Kind::Directory, 0),
            EntryKind::File { size, .. } => (Kind::File, *size),
            EntryKind::Symlink { target } => (Kind::Symlink, texts.add(target).into()),
            EntryKind::Hardlink { .. } => unreachable!("a hard link has its target's inode"),
            EntryKind::CharDevice { major, minor } => (Kind::CharDevice, device(*major, *minor)),
            EntryKind::BlockDevice { major, minor } => (Kind::BlockDevice, device(*major, *minor)),
            EntryKind::Fifo => (Kind::Fifo, 0),
        };
        let Inode { mode, uid, gid, mtime, xattrs, origin, .. } = inode;
        Self {
            origin: *origin,
            value,
            seconds: mtime.seconds,
            nanos: mtime.nanos,
            uid: *uid,
            gid: *gid,
            xattrs: if xattrs.is_empty() { texts::NONE } else { texts.add(&join_xattrs(xattrs)) },
            n_names: 1,
            mode: u16::try_from(mode & 0o7777).expect("twelve bits are left"),
            kind,
        }
    }

    pub(super) fn unpack(&self, texts: &Texts) -> Inode {
        let Self { value, seconds, nanos, uid, gid, origin, .. } = *self;
        let (major, minor) = (low_half(value >> 32), low_half(value));
        let kind = match self.kind {
            Kind::Directory => EntryKind::Directory,
            Kind::File => EntryKind::File { size: value, data: None },
            Kind::Symlink => EntryKind::Symlink { target: texts.get(low_half(value)).to_vec() },
            Kind::CharDevice => EntryKind::CharDevice { major, minor },
            Kind::BlockDevice => EntryKind::BlockDevice { major, minor },
            Kind::Fifo => EntryKind::Fifo,
        };
        let (mode, mtime) = (self.mode.into(), Timestamp { seconds, nanos });
        let xattrs = split_xattrs(texts.get(self.xattrs));
        Inode { kind, mode, uid, gid, mtime, xattrs, origin }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// Where it leads, if it is a symbolic link.
    pub(super) fn target<'a>(&self, texts: &'a Texts) -> Option<&'a [u8]> {
        (self.kind == Kind::Symlink).then(|| texts.get(low_half(self.value)))
    }

    /// Its texts, or numbers of none.
    pub(super) fn texts(&self) -> impl Iterator<Item = u32> + use<> {
        let target = if self.kind == Kind::Symlink { low_half(self.value) } else { texts::NONE };
        [target, self.xattrs].into_iter()
    }

    /// Takes its texts along to another place.
    pub(super) fn move_texts(&mut self, from: &Texts, to: &mut Texts) {
        if self.kind == Kind::Symlink {
            self.value = to.add(from.get(low_half(self.value))).into();
        }
        if self.xattrs != texts::NONE {
            self.xattrs = to.add(from.get(self.xattrs));
        }
    }
}

fn low_half(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("32 bits are left")
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
        assert_eq!(size_of::<Option<Origin>>(), 8);
    }
}
