//! The store itself: where it is, and what is where in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer_format::Digest;

use crate::edit::Editor;
use crate::error::Error;
use crate::index::Index;
use crate::index_entry::IndexEntry;
use crate::owned::{self, Owned};
use crate::{Result, layout};

/// An open store. Clones are the same store; threads may share it.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
}

impl Store {
    /// Where the store is: where it is said to be, or, when nobody says, at `$STRATA_STORE`; else root's is `/var/lib/strata`
    /// and everybody else's `$XDG_DATA_HOME/strata` or `~/.local/share/strata`.
    pub fn path_or_usual(said: Option<&Path>) -> Result<PathBuf> {
        let is_root = rustix::process::geteuid().is_root();
        let usual = || usual_path(|name| std::env::var_os(name), is_root);
        said.map(Path::to_owned).or_else(usual).ok_or(Error::NoPlace)
    }

    /// Opens the store at `path`, making it if it isn't there. An OCI layout of another tool becomes a store as it is; a
    /// directory with other things in it is refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let store = Self::at(path.as_ref())?;
        if !layout::is_there(&store)? {
            layout::create(&store)?;
        }
        Ok(store)
    }

    /// Opens the store at `path` for reading, if it is there. Nothing is written.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let store = Self::at(path.as_ref())?;
        Ok(layout::is_there(&store)?.then_some(store))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Every entry of `index.json` that can be understood, in its order: an image with several names has several.
    pub fn images(&self) -> Result<Vec<IndexEntry>> {
        Ok(Index::read(self)?.into_images())
    }

    /// Takes these entries out of `index.json`, as far as they are still there, and returns those. Their blobs stay until
    /// [`Store::gc`].
    pub fn remove(&self, images: &[IndexEntry]) -> Result<Vec<IndexEntry>> {
        let _guard = self.lock()?;
        let mut editor = Editor::new(Index::read(self)?);
        let removed = editor.remove(images);
        editor.finish().write(self)?;
        Ok(removed)
    }

    fn at(path: &Path) -> Result<Self> {
        let root = std::path::absolute(path).map_err(Error::io("opening the store", path))?;
        Ok(Self { root: root.into() })
    }

    /// Where a blob lies, or would.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(digest.blob_path())
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// One of the folders that are ours alone.
    pub(crate) fn folder(&self, folder: Folder) -> PathBuf {
        self.root.join("strata").join(folder.name())
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.root.join("strata/lock")
    }

    /// Waits for the lock that orders all changes of `index.json` and of leases, and gc.
    pub(crate) fn lock(&self) -> Result<Guard> {
        let path = self.lock_path();
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                layout::create_folders(self)?;
                open()
            }
            opened => opened,
        };
        let file = file.map_err(Error::io("opening", &path))?;
        owned::lock(&file).map_err(Error::io("locking", &path))?;
        Ok(Guard { _file: file })
    }

    /// Puts `content` in the place of the file at `path`, whole or not at all.
    pub(crate) fn replace(
        &self,
        path: &Path,
        content: &[u8],
        durability: Durability,
    ) -> Result<()> {
        layout::create_folders(self)?;
        let mut temp = Owned::create(&self.folder(Folder::Temp))?;
        let written = temp.file().write_all(content);
        written.map_err(Error::io("writing", temp.path()))?;
        if durability == Durability::Synced {
            temp.file().sync_data().map_err(Error::io("syncing", temp.path()))?;
        }
        temp.rename(path)?;
        match (durability, path.parent()) {
            (Durability::Synced, Some(parent)) => sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// Puts a whole, verified file in the place of a blob.
    pub(crate) fn place(&self, mut blob: Owned, digest: &Digest) -> Result<()> {
        blob.file().sync_data().map_err(Error::io("syncing", blob.path()))?;
        let path = self.blob_path(digest);
        match blob.rename(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().expect("a blob lies in a folder");
                layout::create_dir(parent)?;
                blob.rename(&path)
            }
            renamed => renamed,
        }
    }

    /// Makes sure that every blob's name is on disk, not its content only.
    pub(crate) fn sync_names_of_blobs(&self) -> Result<()> {
        for folder in ["blobs", "blobs/sha256", "blobs/sha512"] {
            let path = self.root.join(folder);
            if fs::exists(&path).map_err(Error::io("looking at", &path))? {
                sync_dir(&path)?;
            }
        }
        Ok(())
    }
}

/// The folders below `strata/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    Layers,
    Leases,
    Listing,
    Pairs,
    Partial,
    Repositories,
    Targets,
    Temp,
    Unions,
    Uploads,
}

impl Folder {
    pub(crate) const ALL: [Self; 10] = [
        Self::Layers,
        Self::Leases,
        Self::Listing,
        Self::Pairs,
        Self::Partial,
        Self::Repositories,
        Self::Targets,
        Self::Temp,
        Self::Unions,
        Self::Uploads,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Leases => "leases",
            Self::Listing => "listing",
            Self::Pairs => "pairs",
            Self::Partial => "partial",
            Self::Repositories => "repositories",
            Self::Targets => "targets",
            Self::Temp => "temp",
            Self::Unions => "unions",
            Self::Uploads => "uploads",
        }
    }
}

/// Whether a file must outlive the machine's power, or only programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Synced,
    Cached,
}

/// The store's lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Guard {
    _file: File,
}

/// Brings a directory's entries to the disk.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    match File::open(path).and_then(|dir| dir.sync_all()) {
        // Some file systems can't sync directories, and say so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(Error::io("syncing", path)),
    }
}

fn usual_path(lookup: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The base-directory specification tells readers to ignore relative paths.
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    set("STRATA_STORE")
        .or_else(|| is_root.then(|| PathBuf::from("/var/lib/strata")))
        .or_else(|| absolute("XDG_DATA_HOME").map(|data| data.join("strata")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/strata")))
}

#[cfg(test)]
impl Store {
    /// A store that goes with its directory.
    pub(crate) fn temporary() -> (tempfile::TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let store = Self::open(dir.path()).unwrap();
        (dir, store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], is_root: bool, expected: Option<&str>) {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(usual_path(lookup, is_root), expected.map(PathBuf::from));
    }

    #[test]
    fn the_store_is_where_the_environment_says() {
        let home = ("HOME", "/home/me");
        check(&[("STRATA_STORE", "s"), home], true, Some("s"));
        check(&[("STRATA_STORE", ""), ("XDG_DATA_HOME", "/d"), home], false, Some("/d/strata"));
        check(&[("XDG_DATA_HOME", "d"), home], false, Some("/home/me/.local/share/strata"));
        check(&[("XDG_DATA_HOME", "/d"), home], true, Some("/var/lib/strata"));
        check(&[], false, None);
    }
}
