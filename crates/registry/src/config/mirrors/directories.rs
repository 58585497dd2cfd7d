//! Where `registries.conf` and its drop-ins are, as podman 6 looks for them (containers-config(5)).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::base::Error;

const FILE: &str = "registries.conf";

/// The directories `containers` of the user, of the machine and of its vendor, and who the user is.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) user: Option<PathBuf>,
    pub(super) machine: PathBuf,
    pub(super) vendor: PathBuf,
    pub(super) uid: u32,
}

impl Directories {
    /// The main file: the first that is there.
    pub(super) fn main(&self) -> impl Iterator<Item = PathBuf> {
        let dirs = self.user.iter().chain([&self.machine, &self.vendor]);
        dirs.map(|dir| dir.join(FILE))
    }

    /// The drop-ins in the order of their names. Of several with one name only that of the more important directory counts.
    ///
    /// # Errors
    ///
    /// If a directory is there and can't be read.
    pub(super) fn drop_ins(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for dir in self.directories() {
            for path in list(&dir)? {
                let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
                found.entry(name).or_insert(path);
            }
        }
        Ok(found.into_values().collect())
    }

    /// The directories of drop-ins, the most important first.
    fn directories(&self) -> Vec<PathBuf> {
        let of_all = "registries.conf.d";
        let mut dirs: Vec<_> = self.user.iter().map(|dir| dir.join(of_all)).collect();
        for dir in [&self.machine, &self.vendor] {
            if self.uid == 0 {
                dirs.push(dir.join("registries.rootful.conf.d"));
            } else {
                let rootless = dir.join("registries.rootless.conf.d");
                dirs.extend([rootless.join(self.uid.to_string()), rootless]);
            }
            dirs.push(dir.join(of_all));
        }
        dirs
    }
}

/// The `*.conf` files of a directory; none if it isn't there.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::UnreadableSettings { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if is_missing(&error) => return Ok(vec![]),
        entries => entries.map_err(unreadable)?,
    };
    let mut paths = vec![];
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == "conf") && !path.is_dir() {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// A file's text, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(source) => Err(Error::UnreadableSettings { path: path.to_owned(), source }),
    }
}

/// Whether there is no such file or directory.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
