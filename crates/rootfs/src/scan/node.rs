//! One entry as it is kept: 56 bytes, its name, link target and attributes elsewhere.

use layer_format::layer::Timestamp;
use rustix::fs::FileType;

use super::look::Look;

/// No number of a directory, target or list of attributes.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of an inode, under one of its names.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) inode: u64,
    /// Of a file its size, of a device its number.
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Where its name ends among the names of its directory; it begins where the one before ends.
    pub(super) name_end: u32,
    /// Of a directory the number of its contents, of a link that of its target.
    pub(super) more: u32,
    pub(super) xattrs: u32,
    /// The file system, by its number among those met.
    pub(super) device: u16,
    /// Whether it has more names than this one.
    pub(super) is_linked: bool,
    /// Whether something is mounted there that wasn't looked at.
    pub(super) is_passed: bool,
}

impl Node {
    pub(super) fn of(look: &Look, device: u16) -> Self {
        let kind = FileType::from_raw_mode(look.mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let number = u64::from(look.number.0) << 32 | u64::from(look.number.1);
        Self {
            inode: look.inode,
            size: if is_device { number } else { look.size },
            seconds: look.seconds,
            nanos: look.nanos,
            uid: look.uid,
            gid: look.gid,
            mode: look.mode,
            name_end: 0,
            more: NONE,
            xattrs: NONE,
            device,
            is_linked: look.is_linked && kind != FileType::Directory,
            is_passed: false,
        }
    }

    /// Makes it stand for what a mount hides. A directory looks as if its parent's owner had just made it.
    pub(super) fn pass(&mut self, parent: &Look) {
        self.is_passed = true;
        self.is_linked = false;
        if self.kind() == FileType::Directory {
            self.mode = (self.mode & !0o7777) | 0o755;
            (self.uid, self.gid) = (parent.uid, parent.gid);
            (self.seconds, self.nanos) = (parent.seconds, parent.nanos);
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(super) fn mtime(&self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanos: self.nanos }
    }

    /// Major and minor number of a device.
    pub(super) fn number(&self) -> (u32, u32) {
        let half = |number: u64| u32::try_from(number & 0xffff_ffff).expect("32 bits are left");
        (half(self.size >> 32), half(self.size))
    }
}
