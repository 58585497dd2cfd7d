//! The places of `registries.conf` and its drop-ins, as podman 6 looks for them (containers-config(5)).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::config::files;

const FILE: &str = "registries.conf";

/// The directories `containers` of the user, of the machine and of its vendor, and the user's number.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) user: Option<PathBuf>,
    pub(super) machine: PathBuf,
    pub(super) vendor: PathBuf,
    pub(super) uid: u32,
}

impl Directories {
    /// The places of the main file, of which the first that is there counts.
    pub(super) fn main(&self) -> impl Iterator<Item = PathBuf> {
        let dirs = self.user.iter().chain([&self.machine, &self.vendor]);
        dirs.map(|dir| dir.join(FILE))
    }

    /// The drop-ins in the order of their names. Where several have one name, the one in the most important directory
    /// counts.
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
    let mut paths = match files::list(dir) {
        Err(error) if files::is_missing(&error) => return Ok(vec![]),
        paths => paths.map_err(|error| Error::unreadable_settings(dir, error))?,
    };
    paths.retain(|path| path.extension().is_some_and(|it| it == "conf") && !path.is_dir());
    Ok(paths)
}
