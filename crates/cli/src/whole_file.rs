//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind::{InvalidInput, PermissionDenied};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};

use crate::descriptors::file_type;
use crate::interrupt;
use crate::send::send;
use crate::system;

/// The part of a temporary file's name between the file's own name and the writer's process id.
const MARK: &str = ".part-";

/// A file that is written beside its name and takes the name when it is [finished](Self::finish).
///
/// Dropped before that, it is gone. What a killed program left behind is removed by the next one that
/// writes the same file: each writer holds a lock on its own, so the living are spared. What is no
/// regular file, as a device or a named pipe, is written directly.
#[derive(Debug)]
pub struct WholeFile {
    file: BufWriter<File>,
    target: PathBuf,
    /// None when there is nothing to rename or remove.
    temporary: Option<PathBuf>,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whom the file mode creation mask lets, or who could read the file that is replaced.
    Usual,
    /// Its owner alone.
    Private,
}

impl WholeFile {
    /// Begins a file that will have this name; an existing one stays as it is until then.
    ///
    /// # Errors
    /// `IsADirectory` for a directory; else the temporary file can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with(path, Access::Usual)
    }

    /// Begins a file that only its owner may read; so does an existing one become.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::create_with(path, Access::Private)
    }

    fn create_with(path: &Path, access: Access) -> io::Result<Self> {
        // A symbolic link stays one, and what it points to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = fs::metadata(&target).ok();
        match &existing {
            Some(existing) if existing.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(existing) if !existing.is_file() => {
                let file = OpenOptions::new().write(true).open(&target)?;
                return Ok(Self { file: BufWriter::new(file), target, temporary: None });
            }
            _ => {}
        }
        let Some(name) = target.file_name() else { return Err(io::ErrorKind::IsADirectory.into()) };
        remove_leftovers(parent(&target), name);
        let (file, temporary) = create_locked(&target, name, access)?;
        let whole = Self { file: BufWriter::new(file), target, temporary: Some(temporary) };
        if let Some(existing) = existing.filter(|_| access == Access::Usual) {
            whole.file.get_ref().set_permissions(existing.permissions())?;
        }
        Ok(whole)
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Sends the first `size` bytes of a file, without copying them where the kernel can; `advance` is told how many bytes
    /// more were sent.
    pub(crate) fn send(
        &mut self,
        from: &File,
        size: u64,
        advance: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_ref();
        send(from, file, file_type(file), 0..size, advance)
    }

    /// Syncs the content and gives the file its name.
    ///
    /// # Errors
    /// It can't be written, synced or renamed; then the temporary file is removed.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some(temporary) = self.temporary.clone() else { return Ok(()) };
        self.file.get_ref().sync_all()?;
        fs::rename(temporary, &self.target)?;
        self.temporary = None;
        self.sync_name()
    }

    /// Syncs the directory that holds the name.
    fn sync_name(&self) -> io::Result<()> {
        match File::open(parent(&self.target)).and_then(|directory| directory.sync_all()) {
            // Some file systems can't sync a directory, and a directory may be written to that may not be read. The whole
            // file system can be synced still.
            Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied) => {
                system::sync_file_system(self.file.get_ref())
            }
            synced => synced,
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        interrupt::check()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            drop(fs::remove_file(temporary));
        }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the temporary file and locks it, so that no other writer takes it for a leftover.
fn create_locked(target: &Path, name: &OsStr, access: Access) -> io::Result<(File, PathBuf)> {
    let mode = if access == Access::Private { 0o600 } else { 0o666 };
    let mut n = 0_u32;
    loop {
        let mut temporary = prefix(name);
        temporary.push(format!("{}-{n}", process::id()));
        let temporary = target.with_file_name(temporary);
        n += 1;
        let file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        // Where locks don't exist, leftovers are never removed either.
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok();
        // Another writer may have removed it between the two calls.
        let here = fs::symlink_metadata(&temporary).map(|found| found.ino());
        if here.is_ok_and(|inode| file.metadata().is_ok_and(|own| own.ino() == inode)) {
            return Ok((file, temporary));
        }
    }
}

/// Removes the temporary files of writers that are no more.
fn remove_leftovers(directory: &Path, name: &OsStr) {
    let prefix = prefix(name);
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        if is_regular && ours {
            remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        drop(fs::remove_file(path));
    }
}

fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(MARK);
    prefix
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["image.tar"]);
    }

    #[test]
    fn a_dropped_file_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        fs::write(&path, "old").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["image.tar"]);
    }

    #[test]
    fn the_mode_and_the_link_of_a_replaced_file_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let link = dir.path().join("link");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("image.tar", &link).unwrap();
        let mut file = WholeFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_private_file_is_its_owners_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = WholeFile::create_private(&path).unwrap();
        file.write_all(b"secret").unwrap();
        let modes = fs::read_dir(dir.path()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name() == "auth.json", entry.metadata().unwrap().mode() & 0o777)
        });
        assert!(modes.filter(|(is_old, _)| !is_old).all(|(_, mode)| mode == 0o600));
        file.finish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_dead_writers_file_is_removed_and_a_living_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(dir.path().join(".x.part-1-0"), "left").unwrap();
        fs::write(dir.path().join(".xy.part-1-0"), "another's").unwrap();
        let living = WholeFile::create(&path).unwrap();
        let second = WholeFile::create(&path).unwrap();
        assert_eq!(names(dir.path()).len(), 3, "{:?}", names(dir.path()));
        living.finish().unwrap();
        second.finish().unwrap();
        assert_eq!(names(dir.path()), [".xy.part-1-0", "x"]);
    }

    #[test]
    fn a_directory_that_may_not_be_listed_takes_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o333)).unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_device_is_written_directly() {
        let mut file = WholeFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.finish().unwrap();
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = WholeFile::create(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert!(names(dir.path()).is_empty());
    }
}
