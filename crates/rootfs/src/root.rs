//! The root: an open directory, beneath which everything happens.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use layer_format::layer::EntryPath;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::beneath;
use crate::error::{Doing, Error, Failure};

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

    /// Whether there is something at a path of a lower directory of an overlay: it may also say that there isn't, whatever
    /// those below it hold. `None` where it says nothing.
    pub fn has_beneath(&self, path: &EntryPath) -> Option<bool> {
        match beneath::hold(self.as_fd(), path.as_bytes()) {
            Ok(held) => {
                let stat = rustix::fs::fstat(held).ok()?;
                let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                Some(!(is_device && stat.st_rdev == 0))
            }
            Err(Errno::NOTDIR | Errno::LOOP) => Some(false),
            Err(_) => None,
        }
    }

    /// Reads the regular file at `path`, links followed as if the root were `/`; nothing where there is no such file. Beyond
    /// `limit` it isn't read.
    pub fn read_beneath(&self, path: &str, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
        // Opening neither waits for a fifo's writer nor makes a device do anything.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let held = match beneath::hold_in_root(self.as_fd(), path.as_bytes()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
            held => held?,
        };
        let mode = rustix::fs::fstat(&held)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Ok(None);
        }
        let file = rustix::fs::openat(CWD, magic_link(held.as_fd()), flags, Mode::empty())?;
        let mut content = vec![];
        std::fs::File::from(file).take(limit).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Whether there is something at `path`, links followed as if the root were `/`.
    pub fn has(&self, path: &str) -> std::io::Result<bool> {
        match beneath::hold_in_root(self.as_fd(), path.as_bytes()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            held => Ok(held.map(|_| true)?),
        }
    }

    /// Whether the directory that holds, or held, `path` is of another file system than the root, where something is mounted.
    pub fn is_elsewhere(&self, path: &EntryPath) -> bool {
        let device = |path: &[u8]| {
            let held = beneath::hold(self.as_fd(), path).and_then(rustix::fs::fstat);
            held.ok().map(|stat| stat.st_dev)
        };
        let mut above = path.as_bytes();
        while !above.is_empty() {
            if let Some(found) = device(above) {
                return device(b"").is_some_and(|root| root != found);
            }
            let end = above.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            above = &above[..end];
        }
        false
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
    let mode = unlock(held.as_fd())?;
    Ok((open_directory(parent, name)?, mode))
}

/// Gives an inode of ours all permissions for ourselves, and says which mode it had.
pub(crate) fn unlock(held: BorrowedFd<'_>) -> Result<u32> {
    let mode = rustix::fs::fstat(held)?.st_mode & 0o7777;
    match rustix::fs::chmod(magic_link(held), Mode::from_raw_mode(mode | 0o700)) {
        // Somebody else's: what the caller has to hear is that it may not be read.
        Err(Errno::PERM) => Err(Errno::ACCESS),
        changed => changed.map(|()| mode),
    }
}

/// Does something with an inode of ours that lacks permissions, by giving it them meanwhile.
pub(crate) fn unlocked<T>(
    held: BorrowedFd<'_>,
    work: impl FnOnce() -> std::result::Result<T, Failure>,
) -> std::result::Result<T, Failure> {
    const OPERATION: &str = "changing the mode for a moment";
    let mode = unlock(held).doing("reading it")?;
    let result = work();
    rustix::fs::chmod(magic_link(held), Mode::from_raw_mode(mode)).doing(OPERATION)?;
    result
}

/// A path by which the kernel reaches a held inode directly, so that calls without a descriptor form can be used on it.
pub(crate) fn magic_link(held: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", held.as_raw_fd())
}
