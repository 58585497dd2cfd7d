//! Reading files and directories that may be missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::Error;

/// Whether there is no such file or directory.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether there is none, or only others may read it.
pub(super) fn is_not_for_us(error: &io::Error) -> bool {
    is_missing(error) || error.kind() == io::ErrorKind::PermissionDenied
}

/// The text of a file with settings, if the file is there.
///
/// # Errors
///
/// [`Error::UnreadableSettings`].
pub(super) fn text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Error::unreadable_settings(path, error)),
    }
}

/// The paths of a directory's entries in byte order.
///
/// # Errors
///
/// If the directory is missing, or can't be read.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<_> = entries.collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}
