//! The root: an open directory, beneath which everything happens.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use layer_format::layer::EntryPath;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::error::{Doing, Error};

/// A directory that is, or becomes, the root of an image. What it was called when it was opened no longer matters.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory `path`, which its owner names; symbolic links in it are followed.
    pub fn open(path: &Path) -> std::result::Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| Error::open(path, errno))?;
        Ok(Self { fd })
    }

    /// Takes a directory that was opened for reading.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The same directory once more.
    pub fn try_clone(&self) -> std::result::Result<Self, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3);
        Ok(Self {
            fd: fd
                .doing("opening the directory")
                .map_err(|failure| failure.at(EntryPath::root()))?,
        })
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the directory `name` in `parent`: one component, never a link.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Takes hold of whatever `name` in `parent` is, a link itself included, without opening it.
pub(crate) fn hold(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Opens a directory of ours that lacks the permission to be read, by giving it that.
pub(crate) fn open_locked_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, u32)> {
    let held = hold(parent, name)?;
    let mode = rustix::fs::fstat(&held)?.st_mode & 0o7777;
    rustix::fs::chmod(magic_link(held.as_fd()), Mode::from_raw_mode(mode | 0o700)).map_err(
        |errno| match errno {
            // Somebody else's directory: what the caller has to hear is that it may not be opened.
            Errno::PERM => Errno::ACCESS,
            errno => errno,
        },
    )?;
    Ok((open_directory(parent, name)?, mode))
}

/// A path by which the kernel reaches a held inode directly, so that calls without a descriptor form can be used on it.
pub(crate) fn magic_link(held: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", held.as_raw_fd())
}
