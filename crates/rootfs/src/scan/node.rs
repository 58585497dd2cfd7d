//! One entry as it is kept: 56 bytes, its name, link target and attributes elsewhere.

use layer_format::layer::Timestamp;
use rustix::fs::{FileType, Statx, StatxAttributes};

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
    /// Whether another file system's root hides what was there.
    pub(super) is_mount: bool,
}

impl Node {
    pub(super) fn of(stat: &Statx, device: u16) -> Self {
        let mode = u32::from(stat.stx_mode);
        let kind = FileType::from_raw_mode(mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let number = u64::from(stat.stx_rdev_major) << 32 | u64::from(stat.stx_rdev_minor);
        Self {
            inode: stat.stx_ino,
            size: if is_device { number } else { stat.stx_size },
            seconds: stat.stx_mtime.tv_sec,
            nanos: stat.stx_mtime.tv_nsec,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode,
            name_end: 0,
            more: NONE,
            xattrs: NONE,
            device,
            is_linked: stat.stx_nlink > 1 && kind != FileType::Directory,
            is_mount: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
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
