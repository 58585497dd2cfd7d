//! Removes trees by descriptors, one component at a time. It never follows a link and never enters another mount.
//!
//! The number of descriptors doesn't grow with depth: a directory that lies deeper than [`MAX_OPEN`] others is moved up to the
//! top of what is being removed, and is emptied there. Memory doesn't grow with width, since directories are read piece by
//! piece. An overlay can't move directories of its lower layers. There, directories far above are closed, and are opened again
//! by their names when they are needed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::EntryPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::root::{self, Root};

/// The number of directories that are open at once.
const MAX_OPEN: usize = 32;
/// The same in an overlay.
const MAX_OPEN_IN_OVERLAY: usize = 128;

const OPERATION: &str = "removing";

/// Removes `name`, one component, from the directory `parent`, with all that is below it. If there is no such name, nothing
/// happens.
///
/// # Errors
/// [`Error::Io`] if something can't be removed, for example a mount point. What was removed before is gone.
pub fn remove_tree(parent: impl AsFd, name: &[u8]) -> Result<(), Error> {
    remove(parent.as_fd(), name)
        .map(drop)
        .map_err(|failure| failure.at(EntryPath::parse(name).unwrap_or_default()))
}

/// Removes all that is in the root except for `spared`. The root itself stays.
///
/// # Errors
/// Those of [`remove_tree`].
pub fn clear(root: &Root, spared: Option<&'static str>) -> Result<(), Error> {
    Dir::read_from(root)
        .doing(OPERATION)
        .and_then(|top| empty(top, spared))
        .at_path(&EntryPath::root())
}

/// Whether there was something to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Something,
    Nothing,
}

/// Removes `name` from the directory `parent`, with all that is below it.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Removed, SystemError> {
    match unlink(parent, name) {
        Ok(Unlinked::Done) => Ok(Removed::Something),
        Ok(Unlinked::Missing) => Ok(Removed::Nothing),
        Ok(Unlinked::Directory) => {
            let directory = open(parent, name).doing(OPERATION)?;
            empty(Dir::new(directory).doing(OPERATION)?, None)?;
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).doing(OPERATION)?;
            Ok(Removed::Something)
        }
        Err(errno) => Err(errno).doing(OPERATION),
    }
}

enum Unlinked {
    Done,
    Missing,
    Directory,
}

fn unlink(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Unlinked> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(Unlinked::Done),
        // Nothing can have such a name.
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(Unlinked::Missing),
        Err(Errno::ISDIR) => Ok(Unlinked::Directory),
        // POSIX has this error for a directory.
        Err(Errno::PERM) if is_directory(parent, name, FileType::Unknown) => {
            Ok(Unlinked::Directory)
        }
        Err(errno) => Err(errno),
    }
}

/// Whether `name` is a directory. `told` is the type that reading `parent` gave; some file systems give none.
pub(crate) fn is_directory(parent: BorrowedFd<'_>, name: &[u8], told: FileType) -> bool {
    if told != FileType::Unknown {
        return told == FileType::Directory;
    }
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a directory that is about to go, unless another file system is mounted on it.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a filter that doesn't know the call. rmdir refuses a mount point too, only later.
        Err(Errno::NOSYS | Errno::PERM) => root::open_directory(parent, name),
        Err(Errno::ACCESS) => {
            root::open_locked_directory(parent, name).map(|(directory, _)| directory)
        }
        result => result,
    }
}

/// A directory that is being emptied.
struct Frame {
    /// The directory as it is read; `None` while it is closed.
    entries: Option<Dir>,
    /// Its name in its parent; empty for the top.
    name: Vec<u8>,
    /// The name in it that stays.
    spared: Option<&'static str>,
    /// Whether anything went since it was last read from the start.
    progress: bool,
}

impl Frame {
    fn new(entries: Dir, name: Vec<u8>) -> Self {
        Self { entries: Some(entries), name, spared: None, progress: false }
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, SystemError> {
        self.entries.as_ref().ok_or(Errno::BADF).and_then(Dir::fd).doing(OPERATION)
    }

    /// Removes entries up to the next directory. The result is that directory, open, and its name.
    fn next_directory(&mut self) -> Result<Option<(OwnedFd, Vec<u8>)>, SystemError> {
        while let Some(entry) = self.entries.as_mut().and_then(Dir::read) {
            let entry = entry.doing(OPERATION)?;
            let name = entry.file_name().to_bytes();
            let is_spared = self.spared.is_some_and(|spared| spared.as_bytes() == name);
            if name == b"." || name == b".." || is_spared {
                continue;
            }
            self.progress = true;
            if entry.file_type() == FileType::Directory
                || matches!(self.unlink(name)?, Unlinked::Directory)
            {
                return Ok(Some((self.open(name)?, name.to_vec())));
            }
        }
        Ok(None)
    }

    fn unlink(&self, name: &[u8]) -> Result<Unlinked, SystemError> {
        self.insisting(|fd| unlink(fd, name))
    }

    fn open(&self, name: &[u8]) -> Result<OwnedFd, SystemError> {
        self.insisting(|fd| open(fd, name))
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), SystemError> {
        self.insisting(|fd| rustix::fs::unlinkat(fd, name, AtFlags::REMOVEDIR))
    }

    /// Does `work` in the directory. If that is not permitted, the permission is set and `work` is tried again.
    fn insisting<T>(
        &self,
        work: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, SystemError> {
        let fd = self.fd()?;
        match work(fd) {
            Err(Errno::ACCESS) => rustix::fs::fchmod(fd, Mode::RWXU).and_then(|()| work(fd)),
            result => result,
        }
        .doing(OPERATION)
    }

    /// Starts reading it again, since a file system may skip entries while others are removed.
    fn rewind(&mut self) {
        self.progress = false;
        if let Some(entries) = &mut self.entries {
            entries.rewind();
        }
    }
}

fn empty(top: Dir, spared: Option<&'static str>) -> Result<(), SystemError> {
    let mut frames = vec![Frame { spared, ..Frame::new(top, Vec::new()) }];
    let mut n_aside = 0;
    while let Some(frame) = frames.last_mut() {
        match frame.next_directory()? {
            Some((directory, name)) if frames.len() < MAX_OPEN => {
                frames.push(Frame::new(Dir::new(directory).doing(OPERATION)?, name));
            }
            Some((directory, name)) => match set_aside(&frames, &name, &mut n_aside) {
                // An overlay can't move what its lower layers have.
                Err(failure) if failure.errno() == Errno::XDEV => {
                    frames.push(Frame::new(Dir::new(directory).doing(OPERATION)?, name));
                    if frames.len() > MAX_OPEN_IN_OVERLAY {
                        let far_above = frames.len() - MAX_OPEN_IN_OVERLAY;
                        frames[far_above].entries = None;
                    }
                }
                aside => {
                    aside?;
                    frames[0].progress = true;
                }
            },
            None if frames.len() == 1 && !frames[0].progress => return Ok(()),
            None if frames.len() == 1 => frames[0].rewind(),
            None => leave(&mut frames)?,
        }
    }
    Ok(())
}

/// Removes the directory that has just been emptied.
fn leave(frames: &mut Vec<Frame>) -> Result<(), SystemError> {
    let Some(mut done) = frames.pop() else { return Ok(()) };
    reopen(frames)?;
    let Some(parent) = frames.last() else { return Ok(()) };
    match parent.rmdir(&done.name) {
        Err(failure) if failure.errno() == Errno::NOTEMPTY && done.progress => {
            done.rewind();
            frames.push(done);
            Ok(())
        }
        result => result,
    }
}

/// Opens the deepest directory again if it was closed, and with it some of those above it, which are needed next. They are
/// read from their starts, since what they had until then is gone.
fn reopen(frames: &mut [Frame]) -> Result<(), SystemError> {
    if frames.last().is_none_or(|frame| frame.entries.is_some()) {
        return Ok(());
    }
    let first = frames.len().saturating_sub(MAX_OPEN_IN_OVERLAY / 2).max(1);
    let names: Vec<_> = frames[1..=first].iter().map(|frame| &frame.name[..]).collect();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = beneath::open(frames[0].fd()?, &names.join(&b'/'), flags).doing(OPERATION)?;
    frames[first].entries = Some(Dir::new(directory).doing(OPERATION)?);
    for at in first + 1..frames.len() {
        let directory = frames[at - 1].open(&frames[at].name)?;
        frames[at].entries = Some(Dir::new(directory).doing(OPERATION)?);
    }
    Ok(())
}

/// Moves `name` from the deepest open directory to the top, under a name that is free there.
fn set_aside(frames: &[Frame], name: &[u8], n_aside: &mut u64) -> Result<(), SystemError> {
    let (Some(top), Some(deepest)) = (frames.first(), frames.last()) else { return Ok(()) };
    let to = top.fd()?;
    let from = deepest.fd()?;
    loop {
        let free = format!(".removing-{n_aside}");
        *n_aside += 1;
        match rustix::fs::renameat(from, name, to, &free) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // Moving a directory changes its `..`, which takes the permission to write to it.
            Err(Errno::ACCESS) => {
                let mode = Mode::RWXU;
                rustix::fs::fchmod(from, mode).doing(OPERATION)?;
                rustix::fs::fchmod(to, mode).doing(OPERATION)?;
                let moved = root::hold(from, name).doing(OPERATION)?;
                rustix::fs::chmod(root::magic_link(moved.as_fd()), mode).doing(OPERATION)?;
                rustix::fs::renameat(from, name, to, &free).doing(OPERATION)?;
                return Ok(());
            }
            result => return result.doing(OPERATION),
        }
    }
}
