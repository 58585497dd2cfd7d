//! Files that belong to one running program: locked with `flock`, which ends with the program however it ends.
//!
//! Whoever holds the lock of the file that a path leads to may rename or remove it, and nobody else does. A lock is
//! therefore worth something only when, once it is held, the path still leads to the locked file; [`Owned::take`]
//! looks, and starts anew if not.

use std::fs::{self, File, FileType, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::Error;

/// A file that is ours until it is dropped.
#[derive(Debug)]
pub(crate) struct Owned {
    file: File,
    path: PathBuf,
    at_drop: AtDrop,
}

/// What becomes of an [`Owned`] file that has not been renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtDrop {
    Keep,
    Remove,
}

/// What to do when there is no file to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Create,
    Leave,
}

/// What came of [`Owned::take`].
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours, and stays when dropped.
    Mine(Owned),
    /// A running program has it.
    Busy(File),
    /// There is none.
    Gone,
}

impl Owned {
    /// Makes a file by a name that nobody else uses; it goes when dropped.
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

    /// Takes over the file at `path`, unless a running program has it.
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
            match file.try_lock() {
                Ok(()) if leads_to(&path, &file)? => {
                    return Ok(Taken::Mine(Self { file, path, at_drop: AtDrop::Keep }));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Taken::Busy(file)),
                Err(TryLockError::Error(error)) => return Err(Error::io("locking", &path)(error)),
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

    /// Takes back everything beyond the first `size` bytes.
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

    /// Removes the file now, for those who must know whether it went.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.at_drop = AtDrop::Keep;
        remove(&self.path)
    }

    /// Moves the file to its place, where it stays.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(Error::io("renaming to", to))?;
        self.at_drop = AtDrop::Keep;
        Ok(())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.at_drop == AtDrop::Remove {
            // What can't be removed now is unlocked in a moment and swept by the next program.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Waits for the lock of a file.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// Removes every file in `dir` that no running program has. What another user left and keeps to himself stays: it is in
/// nobody's way.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    for path in list(dir)? {
        let swept = match Owned::take(path, IfMissing::Leave) {
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

/// What there is to know about a file; nothing where there is none.
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

/// The paths in `dir` of things of one kind; none if it isn't there.
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

/// Removes a file; it is well if somebody else has done so.
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

/// Random, so that programs in different containers, whose ids may be alike, don't meet.
pub(crate) fn unused_name() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

pub(crate) fn leads_to(path: &Path, file: &File) -> Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(Error::io("looking at", path))?,
    };
    let here = file.metadata().map_err(Error::io("looking at", path))?;
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Owned::create(dir.path()).unwrap();
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
        let take = || Owned::take(path.clone(), IfMissing::Leave).unwrap();
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
            let taken = Owned::take(path.clone(), IfMissing::Create).unwrap();
            let Taken::Mine(mut file) = taken else { return };
            let there = fs::metadata(&path).unwrap();
            assert_eq!(there.ino(), file.metadata().unwrap().ino());
            file.at_drop(AtDrop::Remove);
        };
        let take_often = || (0..3000).for_each(|_| take());
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(take_often))));
    }
}
