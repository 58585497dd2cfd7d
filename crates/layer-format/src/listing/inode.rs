//! Inodes: the objects behind the names of a tree, in a public form and in the form in which they are stored.

use std::num::NonZeroU64;

use super::texts::{self, Texts, join_xattrs, split_xattrs};
use crate::layer::{Entry, EntryKind, Timestamp};

/// The file, directory or other object behind a name. Several names that are hard links of each other share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The kind, which is never a hard link. The pieces of a sparse file aren't kept.
    pub kind: EntryKind,
    /// The permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The numeric user ID of the owner.
    pub uid: u32,
    /// The numeric group ID.
    pub gid: u32,
    /// The time of the last change of the content.
    pub mtime: Timestamp,
    /// The extended attributes, sorted by name.
    pub xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
    /// The change that described it; `None` for a directory that only exists because something is below it.
    pub origin: Option<Origin>,
}

/// A change of a layer, known by the numbers of both. They are packed into 64 bits, because a tree has many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(NonZeroU64);

impl Origin {
    /// The number of bits for the change. The other bits are the layer's.
    const CHANGE_BITS: u32 = 44;

    /// `None` beyond a million layers, or beyond more changes than a tar of petabytes holds.
    pub(super) fn new(layer: usize, change: u64) -> Option<Self> {
        let layer =
            u64::try_from(layer).ok().filter(|layer| layer >> (64 - Self::CHANGE_BITS) == 0)?;
        // One is added, so that no value is zero.
        let change = Some(change + 1).filter(|change| change >> Self::CHANGE_BITS == 0)?;
        NonZeroU64::new(layer << Self::CHANGE_BITS | change).map(Self)
    }

    /// The number of the layer, counted from the base, which is 0.
    pub fn layer(self) -> usize {
        usize::try_from(self.0.get() >> Self::CHANGE_BITS).unwrap_or(usize::MAX)
    }

    /// The number of the change among those that the layer's reader gives, counted from 0.
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

    /// A directory that an entry needs as its parent and that no layer describes.
    pub(super) fn implied() -> Self {
        let (kind, mtime) = (EntryKind::Directory, Timestamp::default());
        Self { kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Box::default(), origin: None }
    }
}

/// Identifies an inode within one tree. Names with the same one are hard links of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(pub(super) u32);

/// The stored form of an inode.
#[derive(Debug)]
pub(super) struct Packed {
    origin: Option<Origin>,
    /// A file's size, a device's number, or the text with a link's target.
    value: u64,
    seconds: i64,
    nanos: u32,
    uid: u32,
    gid: u32,
    /// The text with the extended attributes.
    xattrs: u32,
    /// The number of names.
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
    /// Packs an inode, which has one name then.
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

    /// The target, if it is a symbolic link.
    pub(super) fn target<'a>(&self, texts: &'a Texts) -> Option<&'a [u8]> {
        (self.kind == Kind::Symlink).then(|| texts.get(low_half(self.value)))
    }

    /// The texts that it owns, or [`NONE`](super::texts::NONE) in place of one that it lacks.
    pub(super) fn texts(&self) -> impl Iterator<Item = u32> + use<> {
        let target = if self.kind == Kind::Symlink { low_half(self.value) } else { texts::NONE };
        [target, self.xattrs].into_iter()
    }

    /// Moves its texts to another buffer.
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
