//! The content of a scanned file. It is read as the scan found it, or not at all.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::{EntryPath, Timestamp};
use rustix::fs::{FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::root::{self, magic_link};
use crate::scan::ScanEntry;
use crate::xattrs;

/// The most bytes that are read at once.
const BUFFER: usize = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const OPENING: &str = "opening it";
const READING: &str = "reading its content";

/// An open file of a scanned tree.
#[derive(Debug)]
pub struct Content {
    path: EntryPath,
    fd: OwnedFd,
    stat: Stat,
}

impl Content {
    /// Opens the file that the scan found at `path`.
    ///
    /// # Errors
    /// [`Error::Changed`] if it has changed since, or has vanished.
    pub fn open(path: &EntryPath, found: ScanEntry<'_>) -> Result<Self, Error> {
        let content = Self::open_any(path, found)?;
        let is_same = content.stat.st_ino == found.inode_number()
            && content.size() == found.size()
            && content.mtime() == found.mtime();
        if is_same { Ok(content) } else { Err(content.at(SystemError::changed())) }
    }

    /// Opens the file that is at `path` now. It may be another file or have other bytes than the scan found, but its attributes
    /// must be the same, except for its time.
    ///
    /// # Errors
    /// [`Error::Changed`] if more has changed, or it has vanished.
    pub fn open_changed(path: &EntryPath, found: ScanEntry<'_>) -> Result<Self, Error> {
        let content = Self::open_any(path, found)?;
        let (stat, ids) = (&content.stat, found.ids());
        let read_xattrs = || ids.xattrs_in_image(xattrs::read_open(content.fd.as_fd())?);
        let is_same_file = stat.st_ino == found.inode_number();
        let is_like_it = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_mode & 0o7777 == found.mode()
            && content.at_its_path(ids.owner_in_image((stat.st_uid, stat.st_gid)))?
                == found.owner()
            && (is_same_file || (stat.st_nlink == 1 && found.linked_file().is_none()))
            && content.at_its_path(read_xattrs())? == found.xattrs();
        if is_like_it { Ok(content) } else { Err(content.at(SystemError::changed())) }
    }

    fn open_any(path: &EntryPath, found: ScanEntry<'_>) -> Result<Self, Error> {
        let fd = open(path, found).at_path(path)?;
        let stat = rustix::fs::fstat(&fd).doing(OPENING).at_path(path)?;
        Ok(Self { path: path.clone(), fd, stat })
    }

    /// The size in bytes, holes included.
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or_default()
    }

    /// The time of modification when it was opened.
    pub fn mtime(&self) -> Timestamp {
        let nanos = u32::try_from(self.stat.st_mtime_nsec).unwrap_or_default();
        Timestamp { seconds: self.stat.st_mtime, nanos }
    }

    /// Writes all of it to `out`. Holes are written as zeros without being read.
    ///
    /// # Errors
    /// [`Error::Changed`] if it has changed meanwhile, so that what was written is of no use; [`Error::Writing`] if `out`
    /// fails.
    pub fn copy_to(&self, out: &mut dyn Write) -> Result<(), Error> {
        let size = self.size();
        let mut at = 0;
        while at < size {
            let (data, hole) = self.next_data(at)?;
            self.write_zeros(data - at, out)?;
            self.copy(data, hole, out)?;
            at = hole;
        }
        let after = rustix::fs::fstat(&self.fd).doing(READING).at_path(&self.path)?;
        let stamp = |stat: &Stat| {
            (stat.st_size, modified(stat), stat.st_ctime, i128::from(stat.st_ctime_nsec))
        };
        if stamp(&after) == stamp(&self.stat) {
            Ok(())
        } else {
            Err(self.at(SystemError::changed()))
        }
    }

    /// The offsets at which the next data after `at` begins and ends.
    fn next_data(&self, at: u64) -> Result<(u64, u64), Error> {
        let size = self.size();
        if u64::try_from(self.stat.st_blocks).is_ok_and(|blocks| blocks * 512 >= size) {
            return Ok((at, size));
        }
        let data = match rustix::fs::seek(&self.fd, SeekFrom::Data(at)) {
            // There is only a hole up to the end.
            Err(Errno::NXIO) => return Ok((size, size)),
            // A file system that doesn't know where holes are.
            Err(Errno::INVAL) => return Ok((at, size)),
            data => data.doing(READING).at_path(&self.path)?,
        };
        let hole = rustix::fs::seek(&self.fd, SeekFrom::Hole(data)).doing(READING);
        let hole = hole.at_path(&self.path)?;
        Ok((data.min(size), hole.min(size)))
    }

    fn copy(&self, from: u64, to: u64, out: &mut dyn Write) -> Result<(), Error> {
        let mut buffer = vec![0; usize::try_from(to - from).map_or(BUFFER, |n| n.min(BUFFER))];
        let mut at = from;
        while at < to {
            let most = usize::try_from(to - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            let read = || rustix::io::pread(&self.fd, &mut buffer[..most], at);
            let n = rustix::io::retry_on_intr(read).doing(READING).at_path(&self.path)?;
            if n == 0 {
                return Err(self.at(SystemError::changed()));
            }
            self.write(&buffer[..n], out)?;
            at += n as u64;
        }
        Ok(())
    }

    fn write_zeros(&self, n: u64, out: &mut dyn Write) -> Result<(), Error> {
        let mut left = n;
        while left > 0 {
            let n = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.write(&ZEROS[..n], out)?;
            left -= n as u64;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        out.write_all(bytes).map_err(|source| Error::Writing { path: self.path.clone(), source })
    }

    fn at_its_path<T>(&self, result: Result<T, SystemError>) -> Result<T, Error> {
        result.map_err(|failure| self.at(failure))
    }

    fn at(&self, failure: SystemError) -> Error {
        failure.at(self.path.clone())
    }
}

/// Opens a file without blocking, even if its mode doesn't let its owner, this user, read it.
fn open(path: &EntryPath, found: ScanEntry<'_>) -> Result<OwnedFd, SystemError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let root = found.scan().root().as_fd();
    match beneath::open(root, path.as_bytes(), flags) {
        Err(Errno::NOENT | Errno::NOTDIR) => Err(SystemError::vanished()),
        Err(Errno::LOOP) => Err(SystemError::changed()),
        Err(Errno::NXIO) => Err(replaced(root, path)),
        Err(Errno::ACCESS) => {
            let held = beneath::hold(root, path.as_bytes()).doing(OPENING)?;
            root::unlocked(held.as_fd(), || {
                let flags = flags | OFlags::CLOEXEC;
                let mode = rustix::fs::Mode::empty();
                rustix::fs::open(magic_link(held.as_fd()), flags, mode).doing(OPENING)
            })
        }
        opened => opened.doing(OPENING),
    }
}

/// The error for a file that was replaced by something that can't be opened, a socket or a device. If it is a device 0/0, a
/// whiteout, the file was removed from an overlay.
fn replaced(root: BorrowedFd<'_>, path: &EntryPath) -> SystemError {
    let stat = beneath::hold(root, path.as_bytes()).and_then(rustix::fs::fstat);
    let is_whiteout = |stat: &Stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    };
    match stat {
        Ok(stat) if !is_whiteout(&stat) => SystemError::changed(),
        _ => SystemError::vanished(),
    }
}

fn modified(stat: &Stat) -> (i64, i128) {
    (stat.st_mtime, stat.st_mtime_nsec.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, makedev, mknodat};

    use super::*;

    #[test]
    fn what_a_whiteout_stands_for_is_gone_and_everything_else_is_another_thing() {
        let dir = tempfile::tempdir().unwrap();
        let root = root::Root::open(dir.path()).unwrap();
        let check = |name: &str, expected: Errno| {
            let path = EntryPath::parse(name.as_bytes()).unwrap();
            assert_eq!(replaced(root.as_fd(), &path).errno(), expected, "{name}");
        };
        let device = |name: &str, minor: u32| {
            let mode = Mode::RUSR;
            let path = dir.path().join(name);
            mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(0, minor)).is_ok()
        };
        check("missing", Errno::NOENT);
        let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
        check("socket", Errno::STALE);
        // Not every user and every kernel makes these.
        if device("whiteout", 0) {
            check("whiteout", Errno::NOENT);
        }
        if device("device", 3) {
            check("device", Errno::STALE);
        }
    }
}
