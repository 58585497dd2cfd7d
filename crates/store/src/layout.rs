//! Opens a store, or makes it: an OCI image layout (image-spec, image-layout.md) with our folders in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Result;
use crate::error::Error;
use crate::index::Index;
use crate::store::{self, Durability, Store, create_dir, create_folders, create_root, open_file};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const LAYOUT_LIMIT: u64 = 4096;
/// The files that a store which is just being made may hold; an empty file system has `lost+found`.
const OURS: [&str; 5] = ["strata", "blobs", "index.json", "oci-layout", "lost+found"];

impl Store {
    /// Opens the store at `path`, or makes it if it isn't there. An OCI layout of another tool becomes a store as it is. Of a list
    /// with colons between, the first is the store, and the others are read beside it.
    ///
    /// # Errors
    /// [`Error::NoStore`] if one of the others isn't there;
    /// [`Error::NotAStore`] for a directory with other files in it; [`Error::Malformed`] for a layout of another version than 1.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (first, others) = split(path.as_ref());
        let store = Self::at(&first)?.with_beside(open_others(&others)?);
        if !is_there(&store)? {
            match create(&store) {
                // The others can be read.
                Err(error) if error.is_about_writing() && !others.is_empty() => {}
                created => created?,
            }
        }
        Ok(store)
    }

    /// Opens the store at `path` for reading; `None` if it isn't there. Nothing is written. Of a list, the first may be missing:
    /// it is made when something is written.
    ///
    /// # Errors
    /// [`Error::NoStore`] if one of the others isn't there; [`Error::Malformed`] or [`Error::MalformedJson`] for a layout of another version than 1, or a damaged one.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let (first, others) = split(path.as_ref());
        let store = Self::at(&first)?.with_beside(open_others(&others)?);
        Ok((is_there(&store)? || !others.is_empty()).then_some(store))
    }

    /// Opens the user's store for reading: the one at the path that the user named, or else the usual one. `None` if the usual
    /// one isn't there yet.
    ///
    /// # Errors
    /// [`Error::NoStore`] if nothing is at the path that the user named; those of [`path_or_usual`](Self::path_or_usual) and
    /// [`open_existing`](Self::open_existing).
    pub fn open_named(named: Option<&Path>) -> Result<Option<Self>> {
        match (Self::open_existing(Self::path_or_usual(named)?)?, named) {
            (None, Some(path)) => Err(Error::NoStore { path: path.to_owned() }),
            (store, _) => Ok(store),
        }
    }
}

/// The paths of a list with colons between: the first, and the others. What is there as a whole is one path.
fn split(list: &Path) -> (PathBuf, Vec<PathBuf>) {
    let bytes = list.as_os_str().as_bytes();
    if !bytes.contains(&b':') || list.exists() {
        return (list.to_owned(), vec![]);
    }
    let mut paths = bytes
        .split(|&byte| byte == b':')
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsStr::from_bytes(path)));
    (paths.next().unwrap_or_else(|| list.to_owned()), paths.collect())
}

/// Opens stores that are only read.
fn open_others(paths: &[PathBuf]) -> Result<Vec<Store>> {
    let open = |path: &PathBuf| {
        let store = Store::at(path)?;
        if is_there(&store)? { Ok(store) } else { Err(Error::NoStore { path: path.clone() }) }
    };
    paths.iter().map(open).collect()
}

/// Makes the store if it isn't there yet, and its folders in any case.
pub(crate) fn create_missing(store: &Store) -> Result<()> {
    if is_there(store)? { create_folders(store) } else { create(store) }
}

/// Whether the directory is an OCI layout. `oci-layout` is written last, so everything else is there too.
///
/// # Errors
/// [`Error::Malformed`] for a layout of another version than 1.
fn is_there(store: &Store) -> Result<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let path = store.path().join("oci-layout");
    let file = match open_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(Error::io("opening", &path))?,
    };
    let mut content = vec![];
    file.take(LAYOUT_LIMIT).read_to_end(&mut content).map_err(Error::io("reading", &path))?;
    let layout: Layout = serde_json::from_slice(&content)
        .map_err(|source| Error::MalformedJson { path: path.clone(), source })?;
    if layout.image_layout_version.starts_with("1.") {
        return Ok(true);
    }
    Err(Error::Malformed { path, reason: "a layout of another version than 1" })
}

/// Makes the parts of a store that aren't there yet. Several programs may do so at once, and any of them may be killed.
///
/// # Errors
/// [`Error::NotAStore`] if the directory holds other files.
fn create(store: &Store) -> Result<()> {
    refuse_other_things(store.path())?;
    let missing = missing(store.path())?;
    create_root(store.path())?;
    create_folders(store)?;
    sync_names(&missing)?;
    let _guard = store.lock()?;
    create_dir(&store.path().join("blobs/sha256"))?;
    let index = store.index_path();
    if !fs::exists(&index).map_err(Error::io("looking at", &index))? {
        store.replace(&index, Index::EMPTY, Durability::Synced)?;
    }
    let layout = store.path().join("oci-layout");
    if !fs::exists(&layout).map_err(Error::io("looking at", &layout))? {
        store.replace(&layout, LAYOUT, Durability::Synced)?;
    }
    Ok(())
}

/// The store's directory and those above it, as far as they don't exist, innermost first.
fn missing(root: &Path) -> Result<Vec<&Path>> {
    let mut missing = vec![];
    for path in root.ancestors() {
        if fs::exists(path).map_err(Error::io("looking at", path))? {
            break;
        }
        missing.push(path);
    }
    Ok(missing)
}

/// Syncs the names of new directories.
fn sync_names(directories: &[&Path]) -> Result<()> {
    directories.iter().filter_map(|path| path.parent()).try_for_each(|parent| {
        match store::sync_dir(parent) {
            // It may be written to and not read.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Ok(())
            }
            synced => synced,
        }
    })
}

fn refuse_other_things(root: &Path) -> Result<()> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(Error::io("listing", root))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("listing", root))?;
        if !OURS.iter().any(|ours| entry.file_name() == *ours) {
            return Err(Error::NotAStore { path: root.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &[(&str, &str)]) -> Result<Store> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        Store::open(dir.path())
    }

    #[test]
    fn a_store_is_made_only_where_nothing_else_is() {
        assert!(open(&[]).is_ok());
        assert!(matches!(open(&[("letter.txt", "dear")]), Err(Error::NotAStore { .. })));
        assert!(
            open(&[("oci-layout", r#"{"imageLayoutVersion":"1.1.0"}"#), ("other", "")]).is_ok()
        );
    }

    #[test]
    fn of_a_list_the_first_is_the_store() {
        let paths = |text: &str| {
            let (first, others) = split(Path::new(text));
            std::iter::once(first)
                .chain(others)
                .map(|it| it.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(paths("/a"), ["/a"]);
        assert_eq!(paths("/a:/b:c"), ["/a", "/b", "c"]);
        assert_eq!(paths("/a::/b:"), ["/a", "/b"]);
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("a:b");
        fs::create_dir(&whole).unwrap();
        assert_eq!(paths(whole.to_str().unwrap()), [whole.to_str().unwrap()]);
    }

    #[test]
    fn other_layouts_are_refused() {
        let version = open(&[("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#)]);
        assert!(matches!(version, Err(Error::Malformed { .. })));
        assert!(matches!(open(&[("oci-layout", "<html>")]), Err(Error::MalformedJson { .. })));
    }

    #[test]
    fn a_store_that_is_not_there_is_not_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(Store::open_existing(&path).unwrap().is_none());
        assert!(!path.exists());
        Store::open(&path).unwrap();
        assert!(Store::open_existing(&path).unwrap().is_some());
    }

    #[test]
    fn an_index_from_before_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("index.json"), "mine").unwrap();
        Store::open(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("index.json")).unwrap(), b"mine");
    }
}
