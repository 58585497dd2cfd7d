//! One inode beneath the root, as it is reached, and the calls that change it. None of them follows a link.

use std::os::fd::{AsFd as _, BorrowedFd};

use layer_format::layer::Timestamp;
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid};

use crate::error::{Doing, SystemError};
use crate::root;

/// How an inode is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InodeHandle<'a> {
    /// Through its own descriptor: a file or a directory that is open.
    Open(BorrowedFd<'a>),
    /// By its name in an open directory: anything else.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl InodeHandle<'_> {
    /// The owner and the group.
    pub(crate) fn owner(self) -> Result<(u32, u32), SystemError> {
        let stat = self.stat().doing("looking at the owner")?;
        Ok((stat.st_uid, stat.st_gid))
    }

    fn stat(self) -> rustix::io::Result<Stat> {
        match self {
            Self::Open(fd) => rustix::fs::fstat(fd),
            Self::Named(dir, name) => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Sets the owner and the group.
    pub(crate) fn set_owner(self, owner: (u32, u32)) -> rustix::io::Result<()> {
        let uid = Some(Uid::from_raw(owner.0));
        let gid = Some(Gid::from_raw(owner.1));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Named(dir, name) => {
                rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Sets the permission bits, with setuid, setgid and sticky.
    pub(crate) fn set_mode(self, mode: u32) -> Result<(), SystemError> {
        let mode = Mode::from_raw_mode(mode);
        let result = match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Named(dir, name) => root::hold(dir, name)
                .and_then(|held| rustix::fs::chmod(root::magic_link(held.as_fd()), mode)),
        };
        result.doing("setting the mode")
    }

    /// Sets the times of access and of modification to `mtime`. The file system clamps what it can't hold.
    pub(crate) fn set_times(self, mtime: Timestamp) -> Result<(), SystemError> {
        let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.min(999_999_999).into() };
        let times = Timestamps { last_access: time, last_modification: time };
        let result = match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            Self::Named(dir, name) => {
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        result.doing("setting the time")
    }
}
