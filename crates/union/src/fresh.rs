//! Directories that are made if missing, and go again if nothing comes of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cache;
use cli::text::clean_path;

/// A directory that a run may have made. Unless it is [kept](Self::keep), it then goes when dropped.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// What was made.
    made: Option<PathBuf>,
}

impl Fresh {
    /// Makes the directory, if there is none.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        let made = match fs::create_dir(path) {
            // Removal goes by the directory above, which a bare name doesn't tell.
            Ok(()) => Some(std::path::absolute(path).with_context(|| clean_path(path))?),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(error).with_context(|| clean_path(path)),
        };
        let fresh = Self { made };
        if fresh.is_new() || fs::metadata(path).with_context(|| clean_path(path))?.is_dir() {
            return Ok(fresh);
        }
        Err(cli::usage(format!("{}: not a directory", clean_path(path))).into())
    }

    /// Whether it was missing.
    pub(crate) fn is_new(&self) -> bool {
        self.made.is_some()
    }

    /// Something has come of it.
    pub(crate) fn keep(&mut self) {
        self.made = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // There is another error to report.
            cache::remove(path).ok();
        }
    }
}
