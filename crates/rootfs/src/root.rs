//! The root: an open directory, beneath which all work happens.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use layer_format::layer::EntryPath;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::beneath;
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::ids::{IdMaps, MappedIds};

/// An open directory that is, or becomes, the root of an image. It stays the same directory if its path changes.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    ids: MappedIds,
}

impl Root {
    /// Opens the directory `path`. Symbolic links in it are followed, since the path is the user's own.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path) -> std::result::Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| Error::open(path, errno))?;
        Ok(Self::from_fd(fd))
    }

    /// Takes a directory that was opened for reading.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, ids: MappedIds::default() }
    }

    /// The same directory, with other ids on the disk than in the image: what is applied gets the mapped ones, and a scan maps what
    /// it finds back.
    #[must_use]
    pub fn with_ids(self, maps: Option<IdMaps>) -> Self {
        Self { ids: maps.map(MappedIds::mapped).unwrap_or_default(), ..self }
    }

    /// The same directory, with the ids of another one.
    #[must_use]
    pub fn with_ids_of(self, other: &Self) -> Self {
        Self { ids: other.ids.clone(), ..self }
    }

    pub(crate) fn ids(&self) -> &MappedIds {
        &self.ids
    }

    /// Another descriptor of the same directory.
    ///
    /// # Errors
    /// [`Error::Io`] if the process has too many descriptors.
    pub fn try_clone(&self) -> std::result::Result<Self, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3);
        let fd = fd.doing("opening the directory").at_path(&EntryPath::root())?;
        Ok(Self { fd, ids: self.ids.clone() })
    }

    /// Whether a path exists, as far as this lower directory of an overlay tells: `Some(false)` if it has a whiteout there,
    /// and `None` if it has nothing there, so that the directories below it decide.
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

    /// Reads the regular file at `path`, up to `limit` bytes. Links are followed as if the root were `/`. `None` if there is no
    /// such file.
    ///
    /// # Errors
    /// Those of the system, for reasons other than that the path leads nowhere.
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

    /// Whether `path` exists. Links are followed as if the root were `/`.
    ///
    /// # Errors
    /// Those of the system, for reasons other than that the path leads nowhere.
    pub fn has(&self, path: &str) -> std::io::Result<bool> {
        match beneath::hold_in_root(self.as_fd(), path.as_bytes()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            held => Ok(held.map(|_| true)?),
        }
    }

    /// Whether `path`, or the nearest directory above it that exists, is on another file system than the root, which was
    /// mounted there.
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

/// Opens the directory `name`, one component, in `parent`. A link isn't followed.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// A descriptor that refers to `name` in `parent` without opening it (`O_PATH`). A link isn't followed, but held itself.
pub(crate) fn hold(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Opens a directory of this user that its mode doesn't let be read. It gets the permission first; the result has the mode
/// from before.
pub(crate) fn open_locked_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, u32)> {
    let held = hold(parent, name)?;
    open_unlocked(held.as_fd(), || open_directory(parent, name))
}

/// Opens an inode of this user that lacks permissions, which it has afterwards. The result has the mode from before. If it can't be
/// opened, its mode is restored.
pub(crate) fn open_unlocked<T>(
    held: BorrowedFd<'_>,
    open: impl FnOnce() -> Result<T>,
) -> Result<(T, u32)> {
    let mode = unlock(held)?;
    match open() {
        Ok(opened) => Ok((opened, mode)),
        Err(errno) => {
            // Why it can't be opened is what is told.
            rustix::fs::chmod(magic_link(held), Mode::from_raw_mode(mode)).ok();
            Err(errno)
        }
    }
}

/// Gives the owner all permissions for an inode of this user. The result is the mode from before.
pub(crate) fn unlock(held: BorrowedFd<'_>) -> Result<u32> {
    let mode = rustix::fs::fstat(held)?.st_mode & 0o7777;
    match rustix::fs::chmod(magic_link(held), Mode::from_raw_mode(mode | 0o700)) {
        // It is another user's. For the caller that means that it may not be read.
        Err(Errno::PERM) => Err(Errno::ACCESS),
        changed => changed.map(|()| mode),
    }
}

/// Does `work` with an inode of this user that lacks permissions. It has them meanwhile, and its mode is restored.
pub(crate) fn unlocked<T>(
    held: BorrowedFd<'_>,
    work: impl FnOnce() -> std::result::Result<T, SystemError>,
) -> std::result::Result<T, SystemError> {
    const OPERATION: &str = "changing the mode for a moment";
    let mode = unlock(held).doing("reading it")?;
    let result = work();
    rustix::fs::chmod(magic_link(held), Mode::from_raw_mode(mode)).doing(OPERATION)?;
    result
}

/// A path that leads to a held inode, for system calls that take no descriptor.
pub fn magic_link(held: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", held.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_has_its_mode_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locked");
        rustix::fs::mkdir(&path, Mode::empty()).unwrap();
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o1050)).unwrap();
        let mode = || rustix::fs::stat(&path).unwrap().st_mode & 0o7777;
        let held = rustix::fs::openat(CWD, &path, OFlags::PATH, Mode::empty()).unwrap();
        let failed = open_unlocked(held.as_fd(), || {
            assert_eq!(mode(), 0o1750);
            Err::<(), _>(Errno::MFILE)
        });
        assert_eq!((failed, mode()), (Err(Errno::MFILE), 0o1050));
        let opened = open_unlocked(held.as_fd(), || Ok(()));
        assert_eq!((opened, mode()), (Ok(((), 0o1050)), 0o1750));
    }
}
