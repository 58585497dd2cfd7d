//! Reading blobs.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use layer_format::{DOCUMENT_LIMIT, Descriptor, Digest, Document, Manifest, Verified};

use crate::Result;
use crate::error::Error;
use crate::locked_file;
use crate::store::Store;

impl Store {
    /// Opens a blob, of this store or of one beside it; `None` if it isn't there. It was verified when it was written, and is not
    /// verified again here: a disk may have damaged it since.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        let own = self.own_blob(digest)?;
        // A blob that was found to be damaged is empty.
        if self.beside().is_empty() || own.as_ref().is_some_and(|file| size(file) != Some(0)) {
            return Ok(own);
        }
        Ok(self.beside_blob(digest, |_| true).or(own))
    }

    /// A blob of a store beside this one whose size in bytes `is_meant`. What can't be opened there counts as missing.
    fn beside_blob(&self, digest: &Digest, is_meant: impl Fn(u64) -> bool) -> Option<File> {
        let blobs = self.beside().iter().filter_map(|store| store.own_blob(digest).ok().flatten());
        blobs.into_iter().find(|file| size(file).is_some_and(&is_meant))
    }

    /// Opens a blob of this store alone.
    fn own_blob(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.blob_path(digest);
        // Another tool's layout may hold anything by that name; without NONBLOCK a fifo would wait for its writer.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = match File::options().read(true).custom_flags(nonblock).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Error::io("opening", &path))?,
        };
        let metadata = file.metadata().map_err(Error::io("looking at", &path))?;
        Ok(metadata.is_file().then_some(file))
    }

    /// Opens a blob that must be there, with the descriptor's size.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], and [`layer_format::Error::SizeMismatch`] if it has another size.
    pub fn whole_blob(&self, blob: &Descriptor) -> Result<File> {
        let missing = Error::MissingBlob { digest: blob.digest };
        let file = self.blob(&blob.digest)?.ok_or(missing)?;
        let metadata = file.metadata();
        let found = metadata.map_err(Error::io("looking at", &self.blob_path(&blob.digest)))?.len();
        if found == blob.size {
            return Ok(file);
        }
        if let Some(file) = self.beside_blob(&blob.digest, |size| size == blob.size) {
            return Ok(file);
        }
        let digest = blob.digest;
        let expected = blob.size;
        Err(layer_format::Error::SizeMismatch { digest, expected, found }.into())
    }

    /// Whether a blob is there, in this store or in one beside it, with this size in bytes. gc may remove it at any time; a blob
    /// of this store that a [`Lease`](crate::Lease) was asked for stays.
    pub fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.has_itself(digest, size)?
            || self.beside_blob(digest, |found| found == size).is_some())
    }

    /// Whether a blob is in this store itself, with this size in bytes.
    pub(crate) fn has_itself(&self, digest: &Digest, size: u64) -> Result<bool> {
        let found = locked_file::metadata(&self.blob_path(digest))?;
        Ok(found.is_some_and(|it| it.is_file() && it.len() == size))
    }

    /// The blobs that are not there, or have another size.
    pub fn lacks<'a>(
        &self,
        blobs: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Result<Vec<&'a Descriptor>> {
        let mut missing = vec![];
        for blob in blobs {
            if !self.has(&blob.digest, blob.size)? {
                missing.push(blob);
            }
        }
        Ok(missing)
    }

    /// The verified bytes of a manifest, an index or a config.
    ///
    /// # Errors
    /// [`Error::MissingBlob`]; [`layer_format::Error::DigestMismatch`] if it is damaged; [`layer_format::Error::TooLarge`] beyond
    /// [`DOCUMENT_LIMIT`].
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.document_if_here(digest)?.ok_or(Error::MissingBlob { digest: *digest })
    }

    /// The verified bytes of a manifest, an index or a config; `None` if the store doesn't have it.
    ///
    /// # Errors
    /// As [`document`](Self::document), except for what is missing.
    pub fn document_if_here(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.blob(digest)? else { return Ok(None) };
        let mut content = vec![];
        let n = Verified::new(blob, "document", *digest, None)
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut content)
            .map_err(Error::io("reading", &self.blob_path(digest)))?;
        if n as u64 > DOCUMENT_LIMIT {
            let what = digest.to_string();
            return Err(layer_format::Error::TooLarge { what, limit: DOCUMENT_LIMIT }.into());
        }
        Ok(Some(content))
    }

    /// The blobs of an image that are not there: its manifest, its config, its layers. An index lacks at most itself, because
    /// the store may have it for some of its platforms only; ask about its manifests one by one.
    ///
    /// # Errors
    /// The manifest or the index is damaged or malformed.
    pub fn missing(&self, image: &Descriptor) -> Result<Vec<Descriptor>> {
        if !self.has(&image.digest, image.size)? {
            return Ok(vec![image.clone()]);
        }
        match Document::parse(self.document(&image.digest)?)? {
            Document::Manifest(manifest) => {
                Ok(self.lacks(parts(&manifest))?.into_iter().cloned().collect())
            }
            Document::Index(_) => Ok(vec![]),
        }
    }

    /// Every blob in the store itself with its size in bytes, whether an image needs it or not.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = vec![];
        for algorithm in ["sha256", "sha512"] {
            let paths = locked_file::list(&self.path().join("blobs").join(algorithm))?;
            for path in &paths {
                blobs.extend(named_blob(algorithm, path)?);
            }
        }
        Ok(blobs)
    }

    /// Empties a blob if its bytes don't have the digest that it is named for. Then it counts as missing, and the next pull or
    /// load brings it again. Says whether it was damaged. A file that replaces the blob meanwhile stays as it is, and so does one
    /// of a store beside this one.
    ///
    /// # Errors
    /// The blob can't be read, or is damaged and can't be written to.
    pub fn discard_damaged(&self, digest: &Digest) -> Result<bool> {
        if self.own_blob(digest)?.is_none() {
            return Ok(false);
        }
        let path = self.blob_path(digest);
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(Error::io("opening", &path))?;
        let mut verified = Verified::new(&file, "blob", *digest, None);
        let read = io::copy(&mut verified, &mut io::sink()).map_err(Error::io("reading", &path));
        match read {
            Ok(_) => Ok(false),
            Err(Error::Layer(layer_format::Error::DigestMismatch { .. })) => {
                file.set_len(0).map_err(Error::io("emptying", &path)).map(|()| true)
            }
            Err(error) => Err(error),
        }
    }
}

/// The size of an open file in bytes.
fn size(file: &File) -> Option<u64> {
    Some(file.metadata().ok()?.len())
}

/// The blobs that a manifest names.
pub(crate) fn parts(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(&manifest.config).chain(&manifest.layers)
}

/// The digest and the size of a file below `blobs/`; `None` for a file that is named for no digest, and for one that was
/// removed meanwhile.
fn named_blob(algorithm: &str, path: &Path) -> Result<Option<(Digest, u64)>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let digest = name.and_then(|name| format!("{algorithm}:{name}").parse().ok());
    let Some(digest) = digest else { return Ok(None) };
    Ok(locked_file::metadata(path)?.map(|metadata| (digest, metadata.len())))
}
