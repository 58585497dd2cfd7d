//! The directory that skopeo's `dir:` transport writes: one image, whose blobs are files with their digits for names.
//!
//! ```text
//! version              Directory Transport Version: 1.1
//! manifest.json        the manifest, or an index
//! HEX.manifest.json    a manifest that the index lists
//! HEX                  a config or a layer
//! ```
//!
//! It is only read. Its signatures are left alone.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use layer_format::{DOCUMENT_LIMIT, Document};

use crate::Result;
use crate::error::Error;
use crate::index_entry::IndexEntry;
use crate::store::{Form, MANIFEST, Store, open_file};

/// What `version` begins with. The number after it grows with kinds of files that are added.
const VERSION: &str = "Directory Transport Version: 1.";
const VERSION_LIMIT: u64 = 100;

impl Store {
    /// Opens a directory that holds images, for reading: an OCI layout, or what skopeo's `dir:` transport wrote. `None` if it is
    /// neither.
    ///
    /// # Errors
    /// Those of [`open_existing`](Self::open_existing), and of a `manifest.json` that is malformed or can't be read.
    pub fn open_directory(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        match Self::open_existing(path)? {
            None if is_flat(path)? => Self::flat(path).map(Some),
            layout => Ok(layout),
        }
    }

    fn flat(path: &Path) -> Result<Self> {
        let document = read(&path.join(MANIFEST))?;
        Self::in_form(path, Form::Flat(document.descriptor().digest))
    }

    /// The only image of a directory of skopeo's.
    pub(crate) fn flat_image(&self) -> Result<IndexEntry> {
        let document = read(&self.path().join(MANIFEST))?;
        Ok(IndexEntry { descriptor: document.descriptor() })
    }
}

/// Whether a directory says that skopeo wrote it.
fn is_flat(directory: &Path) -> Result<bool> {
    let path = directory.join("version");
    let file = match open_file(&path) {
        Ok(file) => file,
        // In a root file system it may be anything.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(false),
        Err(error) => return Err(Error::io("opening", &path)(error)),
    };
    let mut version = vec![];
    let read = file.take(VERSION_LIMIT).read_to_end(&mut version);
    read.map_err(Error::io("reading", &path))?;
    Ok(version.starts_with(VERSION.as_bytes())
        && fs::exists(directory.join(MANIFEST)).unwrap_or(false))
}

/// Reads `manifest.json`.
fn read(path: &Path) -> Result<Document> {
    let file = open_file(path).map_err(Error::io("opening", path))?;
    let mut raw = vec![];
    let n = file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut raw);
    let about = |source: layer_format::Error| Error::At {
        what: path.display().to_string(),
        source: Box::new(source.into()),
    };
    if n.map_err(Error::io("reading", path))? as u64 > DOCUMENT_LIMIT {
        let what = MANIFEST.to_owned();
        return Err(about(layer_format::Error::TooLarge { what, limit: DOCUMENT_LIMIT }));
    }
    Document::parse(raw).map_err(about)
}

#[cfg(test)]
mod tests {
    use layer_format::{Descriptor, Digest};

    use super::*;

    const CONFIG: &[u8] = b"{}";

    /// A directory as skopeo writes it, and its manifest.
    fn written(version: &str) -> (tempfile::TempDir, Descriptor) {
        let dir = tempfile::tempdir().unwrap();
        let config = Descriptor::of("application/vnd.oci.image.config.v1+json", CONFIG);
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []});
        let manifest = manifest.to_string().into_bytes();
        fs::write(dir.path().join("version"), version).unwrap();
        fs::write(dir.path().join(MANIFEST), &manifest).unwrap();
        fs::write(dir.path().join(Digest::of(CONFIG).hex()), CONFIG).unwrap();
        (dir, Descriptor::of("", &manifest))
    }

    #[test]
    fn a_directory_of_skopeos_is_known_by_its_version_and_holds_one_image() {
        let (dir, manifest) = written("Directory Transport Version: 1.1\n");
        let store = Store::open_directory(dir.path()).unwrap().unwrap();
        let images = store.images().unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(
            (*images[0].digest(), images[0].descriptor.size),
            (manifest.digest, manifest.size)
        );
        assert_eq!(images[0].name(), None);
        assert_eq!(store.document(&Digest::of(CONFIG)).unwrap(), CONFIG);
        assert!(store.has(&manifest.digest, manifest.size).unwrap());
        assert!(!store.has(&Digest::of(b"other"), 5).unwrap());
    }

    #[test]
    fn it_is_no_store_and_other_directories_are_not_it() {
        let (dir, _) = written("Directory Transport Version: 1.1\n");
        assert!(Store::open_existing(dir.path()).unwrap().is_none());
        assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
        for version in ["", "1.1\n", "Directory Transport Version: 2.0\n"] {
            let (dir, _) = written(version);
            assert!(Store::open_directory(dir.path()).unwrap().is_none(), "{version}");
        }
        fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        assert!(Store::open_directory(dir.path()).unwrap().is_none());
    }

    #[test]
    fn whatever_else_a_version_is_it_says_nothing() {
        let (dir, _) = written("");
        let version = dir.path().join("version");
        let is_nothing = || Store::open_directory(dir.path()).unwrap().is_none();
        fs::remove_file(&version).unwrap();
        assert!(is_nothing(), "missing");
        fs::create_dir(&version).unwrap();
        assert!(is_nothing(), "a directory");
        fs::remove_dir(&version).unwrap();
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &version, rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        assert!(is_nothing(), "a fifo");
        assert!(!is_flat(&dir.path().join(MANIFEST)).unwrap(), "below a file");
        fs::remove_file(&version).unwrap();
        std::os::unix::fs::symlink("version", &version).unwrap();
        let error = is_flat(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "a loop: {error}");
    }

    #[test]
    fn what_was_changed_since_is_refused() {
        let (dir, manifest) = written("Directory Transport Version: 1.1\n");
        let store = Store::open_directory(dir.path()).unwrap().unwrap();
        fs::write(dir.path().join(Digest::of(CONFIG).hex()), "[]").unwrap();
        store.document(&Digest::of(CONFIG)).unwrap_err();
        fs::write(dir.path().join(MANIFEST), "{}").unwrap();
        store.document(&manifest.digest).unwrap_err();
        store.images().unwrap_err();
        store.whole_blob(&manifest).unwrap_err();
        Store::open_directory(dir.path()).unwrap_err();
    }
}
