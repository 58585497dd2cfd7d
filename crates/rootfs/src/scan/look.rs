//! Looks at one inode: by statx, or by fstatat if the kernel lacks statx or a filter forbids it.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Stat, Statx, StatxAttributes, StatxFlags};
use rustix::io::{Errno, Result};

/// What the kernel tells about an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) inode: u64,
    /// In bytes.
    pub(super) size: u64,
    /// The time of modification.
    pub(super) seconds: i64,
    pub(super) nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The type and the permission bits.
    pub(super) mode: u32,
    /// Whether it has more than one name. Every directory has.
    pub(super) is_linked: bool,
    /// The major and the minor number of the file system that it is in.
    pub(super) device: (u32, u32),
    /// The major and the minor number of a device.
    pub(super) number: (u32, u32),
    /// Whether it is the root of a mount. `None` if the kernel doesn't tell (before Linux 5.8).
    pub(super) is_mount: Option<bool>,
}

/// Looks at `name` in `directory`, or at the directory itself if the name is empty and the flags say so.
pub(super) fn look(directory: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Look> {
    match rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS) {
        // A kernel before 4.11, or a filter that doesn't know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            rustix::fs::statat(directory, name, flags).map(|stat| Look::of_stat(&stat))
        }
        stat => stat.map(|stat| Look::of_statx(&stat)),
    }
}

impl Look {
    fn of_statx(stat: &Statx) -> Self {
        let knows_mounts = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        Self {
            inode: stat.stx_ino,
            size: stat.stx_size,
            seconds: stat.stx_mtime.tv_sec,
            nanos: stat.stx_mtime.tv_nsec,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: u32::from(stat.stx_mode),
            is_linked: stat.stx_nlink > 1,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            number: (stat.stx_rdev_major, stat.stx_rdev_minor),
            is_mount: knows_mounts.then_some(is_mount),
        }
    }

    fn of_stat(stat: &Stat) -> Self {
        let numbers = |device| (rustix::fs::major(device), rustix::fs::minor(device));
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            is_linked: stat.st_nlink > 1,
            device: numbers(stat.st_dev),
            number: numbers(stat.st_rdev),
            is_mount: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::root::Root;

    #[test]
    fn both_ways_of_looking_say_the_same() {
        for (directory, name) in [("/dev", c"null"), ("/proc", c"self"), ("/", c"etc")] {
            let root = Root::open(directory.as_ref()).unwrap();
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let new = look(root.as_fd(), name, flags).unwrap();
            let old = Look::of_stat(&rustix::fs::statat(&root, name, flags).unwrap());
            assert_eq!(Look { is_mount: None, ..new }, old, "{directory} {name:?}");
        }
    }
}
