//! The store itself: its path, and the paths of the files in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer_format::Digest;

use crate::Result;
use crate::error::Error;
use crate::locked_file::{self, LockedFile};

/// An open store. Clones are the same store; threads may share it.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
    form: Form,
    /// Stores of others, each by itself, that are read and never written: what this one lacks is looked for there, in this order.
    beside: Arc<[Self]>,
}

/// The name of the manifest or index in skopeo's directories, and the end of the names of manifests that an index lists.
pub(crate) const MANIFEST: &str = "manifest.json";

/// How the files of a store are named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// As in an OCI layout.
    Layout,
    /// As skopeo's `dir:` transport names them. `manifest.json` has this digest.
    Flat(Digest),
}

impl Store {
    /// The path of the store: the given one, or else `$STRATA_STORE`, or else `/var/lib/strata` for root and
    /// `$XDG_DATA_HOME/strata` or `~/.local/share/strata` for other users. It may be a list with colons between: the first store
    /// is written, all are read. If the first of a list is empty, the usual one stands there.
    ///
    /// # Errors
    /// [`Error::NoPlace`] if none of these is set.
    pub fn path_or_usual(said: Option<&Path>) -> Result<PathBuf> {
        let is_root = rustix::process::geteuid().is_root();
        path_of(said.map(Path::as_os_str), |name| std::env::var_os(name), is_root)
            .ok_or(Error::NoPlace)
    }

    /// This store alone, and then each of those beside it that are only read.
    pub fn each(&self) -> Vec<Self> {
        let alone = Self { beside: Arc::new([]), ..self.clone() };
        std::iter::once(alone).chain(self.beside.iter().cloned()).collect()
    }

    /// The stores that are only read.
    pub(crate) fn beside(&self) -> &[Self] {
        &self.beside
    }

    /// This store with others beside it, which are only read.
    pub(crate) fn with_beside(self, beside: Vec<Self>) -> Self {
        Self { beside: beside.into(), ..self }
    }

    /// The store's directory, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The store at a path, whether it is there or not.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        Self::in_form(path, Form::Layout)
    }

    pub(crate) fn in_form(path: &Path, form: Form) -> Result<Self> {
        let root = std::path::absolute(path).map_err(Error::io("opening the store", path))?;
        Ok(Self { root: root.into(), form, beside: Arc::new([]) })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The path of a blob, whether it is there or not.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        match &self.form {
            Form::Layout => self.root.join(digest.blob_path()),
            Form::Flat(manifest) if manifest == digest => self.root.join(MANIFEST),
            Form::Flat(_) => {
                let listed = self.root.join(format!("{}.{MANIFEST}", digest.hex()));
                if listed.exists() { listed } else { self.root.join(digest.hex()) }
            }
        }
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// The path of a folder that only Strata uses.
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
                create_folders(self)?;
                open()
            }
            opened => opened,
        };
        let file = file.map_err(Error::io("opening", &path))?;
        locked_file::lock(&file).map_err(Error::io("locking", &path))?;
        Ok(Guard { _file: file })
    }

    /// Replaces the file at `path` by one with this content, whole or not at all.
    pub(crate) fn replace(
        &self,
        path: &Path,
        content: &[u8],
        durability: Durability,
    ) -> Result<()> {
        create_folders(self)?;
        let mut temp = LockedFile::create(&self.folder(Folder::Temp))?;
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

    /// Syncs a whole, verified file and gives it the name of a blob.
    pub(crate) fn place(&self, mut blob: LockedFile, digest: &Digest) -> Result<()> {
        blob.file().sync_data().map_err(Error::io("syncing", blob.path()))?;
        let path = self.blob_path(digest);
        match blob.rename(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().expect("a blob lies in a folder");
                create_dir(parent)?;
                blob.rename(&path)
            }
            renamed => renamed,
        }
    }

    /// Syncs the directories that hold the blobs' names.
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
    Seek,
    Targets,
    Temp,
    Unions,
    Uploads,
}

impl Folder {
    pub(crate) const ALL: [Self; 11] = [
        Self::Layers,
        Self::Leases,
        Self::Listing,
        Self::Pairs,
        Self::Partial,
        Self::Repositories,
        Self::Seek,
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
            Self::Seek => "seek",
            Self::Targets => "targets",
            Self::Temp => "temp",
            Self::Unions => "unions",
            Self::Uploads => "uploads",
        }
    }
}

/// Whether a file must survive a power cut, or only the end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Synced,
    Cached,
}

/// The store's lock, which is released when this is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    _file: File,
}

/// Opens a regular file of a layout, which may be a stranger's. A fifo or a device in its place is an error, and is not waited
/// for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Makes those of our folders that are missing.
pub(crate) fn create_folders(store: &Store) -> Result<()> {
    // Where others' stores are read, this one may not be there yet.
    if !store.beside().is_empty() {
        create_root(store.path())?;
    }
    Folder::ALL.iter().try_for_each(|&folder| create_dir(&store.folder(folder)))
}

/// Makes a directory and those above it, as `mkdir -p` does. Inside of a store, the mode of its directory and the umask decide
/// who else may enter.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).create(path);
    made.map_err(Error::io("making directory", path))
}

/// Makes the store's directory with mode 0700, if it is missing. A directory that is there keeps its mode.
pub(crate) fn create_root(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(Error::io("making directory", path)),
    }
}

/// Syncs a directory's entries.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    match File::open(path).and_then(|dir| dir.sync_all()) {
        // Some file systems can't sync directories, and say so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(Error::io("syncing", path)),
    }
}

/// The path of the store, or the list of them, that was said or that the environment says.
fn path_of(
    said: Option<&OsStr>,
    lookup: impl Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Option<PathBuf> {
    let of_environment = || lookup("STRATA_STORE").filter(|value| !value.is_empty());
    match said.map(OsStr::to_owned).or_else(of_environment) {
        None => usual_path(lookup, is_root),
        Some(list) if list.as_bytes().starts_with(b":") => {
            let mut whole = usual_path(lookup, is_root)?.into_os_string();
            whole.push(list);
            Some(whole.into())
        }
        Some(path) => Some(path.into()),
    }
}

fn usual_path(lookup: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The base-directory specification tells readers to ignore relative paths.
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    is_root
        .then(|| PathBuf::from("/var/lib/strata"))
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
        assert_eq!(path_of(None, lookup, is_root), expected.map(PathBuf::from));
    }

    #[test]
    fn the_first_of_a_list_may_be_the_usual_one() {
        let home = ("HOME", "/home/me");
        check(&[("STRATA_STORE", "/s:/opt"), home], false, Some("/s:/opt"));
        check(&[("STRATA_STORE", ":/opt"), home], false, Some("/home/me/.local/share/strata:/opt"));
        check(&[("STRATA_STORE", ":/opt"), home], true, Some("/var/lib/strata:/opt"));
        let said = path_of(Some(OsStr::new(":/opt")), |_| None, true);
        assert_eq!(said, Some(PathBuf::from("/var/lib/strata:/opt")));
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

    #[test]
    fn a_directory_that_cannot_be_synced_is_no_error_but_one_that_is_not_there_is() {
        // The file system of /proc says EINVAL.
        sync_dir(Path::new("/proc/self")).unwrap();
        sync_dir(Path::new("/proc/self/nothing")).unwrap_err();
    }
}
