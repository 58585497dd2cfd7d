//! Files that belong to one running program: locked with `flock`, which ends with the program however it ends.
//!
//! Only the program that holds the lock of the file that a path leads to renames or removes it. So a lock counts only if the
//! path still leads to the locked file once the lock is held; [`LockedFile::take`] checks that, and starts again if not.

use std::fs::{self, File, FileType};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Result;
use crate::error::Error;

/// An open file that this program has locked, until it is dropped.
#[derive(Debug)]
pub(crate) struct LockedFile {
    file: File,
    path: PathBuf,
    at_drop: AtDrop,
}

/// What is done with a [`LockedFile`] that has not been renamed, when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtDrop {
    Keep,
    Remove,
}

/// What to do if there is no file to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Create,
    Leave,
}

/// The outcome of [`LockedFile::take`].
#[derive(Debug)]
pub(crate) enum Taken {
    /// This program has locked it; it stays when dropped.
    Mine(LockedFile),
    /// A running program has locked it.
    Busy(File),
    /// There is none.
    Gone,
}

impl LockedFile {
    /// Makes a file with an unused name in `dir`; it is removed when dropped.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        loop {
            let path = dir.join(unused_name());
            let file = match options().create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(Error::io("creating", &path))?,
            };
            // A sweeper may have found it before the lock was on it; then it is gone, and another is made.
            lock(&file).map_err(Error::io("locking", &path))?;
            if leads_to(&path, &file)? {
                return Ok(Self { file, path, at_drop: AtDrop::Remove });
            }
        }
    }

    /// Locks the file at `path`, unless a running program has locked it.
    pub(crate) fn take(path: PathBuf, if_missing: IfMissing) -> Result<Taken> {
        loop {
            let file = match options().create(if_missing == IfMissing::Create).open(&path) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && if_missing == IfMissing::Leave =>
                {
                    return Ok(Taken::Gone);
                }
                opened => opened.map_err(Error::io("opening", &path))?,
            };
            match try_lock(&file) {
                Ok(true) if leads_to(&path, &file)? => {
                    return Ok(Taken::Mine(Self { file, path, at_drop: AtDrop::Keep }));
                }
                Ok(true) => {}
                Ok(false) => return Ok(Taken::Busy(file)),
                Err(error) => return Err(Error::io("locking", &path)(error)),
            }
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    pub(crate) fn metadata(&self) -> Result<fs::Metadata> {
        self.file.metadata().map_err(Error::io("looking at", &self.path))
    }

    /// Truncates the file to `size` bytes and continues there.
    pub(crate) fn cut(&self, size: u64) -> Result<()> {
        let mut file = &self.file;
        self.file
            .set_len(size)
            .and_then(|()| file.seek(SeekFrom::Start(size)).map(drop))
            .map_err(Error::io("truncating", &self.path))
    }

    pub(crate) fn at_drop(&mut self, at_drop: AtDrop) {
        self.at_drop = at_drop;
    }

    /// Removes the file now.
    ///
    /// # Errors
    /// It can't be removed, which a drop would ignore.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.at_drop = AtDrop::Keep;
        remove(&self.path)
    }

    /// Renames the file. From then on it stays when dropped.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(Error::io("renaming to", to))?;
        self.at_drop = AtDrop::Keep;
        Ok(())
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        if self.at_drop == AtDrop::Remove {
            // A file that can't be removed now is unlocked next, and the next program removes it.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Waits for the lock of a file.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            locked => return locked.map_err(io::Error::from),
        }
    }
}

/// Locks a file, unless it is locked through another open file. Gives back whether it did.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes every file in `dir` that no running program has locked. Files that only another user may open stay.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    for path in list(dir)? {
        let swept = match LockedFile::take(path, IfMissing::Leave) {
            Ok(Taken::Mine(file)) => file.remove(),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match swept {
            Err(error) if error.is_about_permission() => {}
            swept => swept?,
        }
    }
    Ok(())
}

/// The metadata of a file; `None` if there is no file.
pub(crate) fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some).map_err(Error::io("looking at", path)),
    }
}

/// The paths of the regular files in `dir`; none if it isn't there.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    entries(dir, FileType::is_file)
}

/// The paths in `dir` whose file type is wanted; none if it isn't there.
pub(crate) fn entries(dir: &Path, is_wanted: fn(&FileType) -> bool) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        listed => listed.map_err(Error::io("listing", dir))?,
    };
    let mut paths = vec![];
    for entry in entries {
        let entry = entry.map_err(Error::io("listing", dir))?;
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if is_wanted(&kind) => paths.push(path),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("looking at", &path)(error)),
        }
    }
    Ok(paths)
}

/// Removes a file. It is no error if there is none.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("removing", path)),
    }
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).truncate(false);
    options
}

/// A file name that no other program uses: random, because programs in different containers may have the same process id.
pub(crate) fn unused_name() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// Whether a path leads to this open file.
pub(crate) fn leads_to(path: &Path, file: &File) -> Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(Error::io("looking at", path))?,
    };
    let here = file.metadata().map_err(Error::io("looking at", path))?;
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

/// Whether a file was last written more than `age` ago.
pub(crate) fn is_older(metadata: &fs::Metadata, age: Duration) -> bool {
    let since = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    since.is_some_and(|since| since > age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mine = LockedFile::create(dir.path()).unwrap();
        fs::write(dir.path().join("left-behind"), "").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [mine.path()]);
        drop(mine);
        assert!(list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_file_is_taken_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let take = || LockedFile::take(path.clone(), IfMissing::Leave).unwrap();
        assert!(matches!(take(), Taken::Gone));
        fs::write(&path, "").unwrap();
        let mine = take();
        assert!(matches!(mine, Taken::Mine(_)) && matches!(take(), Taken::Busy(_)));
        drop(mine);
        assert!(matches!(take(), Taken::Mine(_)));
    }

    #[test]
    fn a_taken_file_is_the_one_that_its_path_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let take = || {
            let taken = LockedFile::take(path.clone(), IfMissing::Create).unwrap();
            let Taken::Mine(mut file) = taken else { return };
            let there = fs::metadata(&path).unwrap();
            assert_eq!(there.ino(), file.metadata().unwrap().ino());
            file.at_drop(AtDrop::Remove);
        };
        let take_often = || (0..3000).for_each(|_| take());
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(take_often))));
    }
}
