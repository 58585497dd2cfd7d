//! The additional rules for a stream of ours: it must be the only one that its images make, byte for byte.
//!
//! The digests cover the blobs. They don't cover headers, padding, `index.json` and `manifest.json`, but these follow
//! from the images and their names. Therefore they are made again and compared, and no byte of a stream can be changed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;

use layer_format::layer::Reader;
use layer_format::{
    DOCUMENT_LIMIT, Descriptor, Digest, Document, Error, Index, Verified, annotation,
};

use super::input::Input;
use super::kept::Kept;
use super::{Member, PREAMBLE_LIMIT, contents};
use crate::{Graph, Lookup, Name, OCI_LAYOUT, Preamble, Thin, USER_NAME};

/// The parts of a stream of ours that were read so far.
#[derive(Debug, Default)]
pub(super) struct Strict {
    /// The members that are known to be documents.
    documents: HashMap<Vec<u8>, Kind>,
    /// The digests of the blobs that were read.
    seen: HashSet<Digest>,
    directories: Directories,
}

/// The members that are directories. Each comes once, right before the first blob in it. Streams of older versions have
/// none.
#[derive(Debug, Default)]
struct Directories {
    /// A blob came before any directory, so no directory may follow.
    is_without: bool,
    /// The directories that contain a blob.
    used: Vec<String>,
    /// The directories that came after the last blob.
    pending: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ManifestOrIndex,
    /// A config, which is needed to make `strata.json` again.
    Config,
}

/// Whether the first header of an archive is one of ours.
pub(super) fn is_ours(header: &[u8; 512]) -> bool {
    header[265..].starts_with(USER_NAME.as_bytes()) && header[265 + USER_NAME.len()] == 0
}

/// Checks a blob that isn't wanted.
pub(super) fn check_blob(member: &Member, members: &mut Reader<Input>) -> Result<(), Error> {
    let digest = std::str::from_utf8(&member.path)
        .ok()
        .and_then(Digest::from_blob_path)
        .ok_or_else(malformed)?;
    let mut content = Verified::new(members, "blob", digest, Some(member.size));
    io::copy(&mut content, &mut io::sink())
        .map(drop)
        .map_err(|source| Error::io("reading the archive", source))
}

impl Strict {
    /// Whether a member is needed to make the preamble again.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        self.documents.contains_key(path)
    }

    /// Whether a blob was read.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.seen.contains(digest)
    }

    /// Checks a member that is a file. Its header must be the one that the writer makes.
    pub(super) fn see_file(
        &mut self,
        path: &[u8],
        size: u64,
        header: &[u8; 512],
    ) -> Result<(), Error> {
        let path = std::str::from_utf8(path).map_err(|_| malformed())?;
        if crate::header(path, size)? != *header {
            return Err(malformed());
        }
        match Digest::from_blob_path(path) {
            Some(digest) => {
                self.seen.insert(digest);
                self.directories.check(&digest)
            }
            None => self.directories.check_none_pending(),
        }
    }

    /// Checks a member that is a directory.
    pub(super) fn see_directory(&mut self, path: &[u8], header: &[u8; 512]) -> Result<(), Error> {
        let path = std::str::from_utf8(path).map_err(|_| malformed())?;
        let path = format!("{path}/");
        if crate::directory_header(&path)? != *header {
            return Err(malformed());
        }
        self.directories.add(path)
    }

    /// Finds out from a kept document which other members are documents.
    pub(super) fn note(&mut self, path: &[u8], kept: &mut Kept) -> Result<(), Error> {
        let is_root = path == b"index.json";
        if !is_root && self.documents.get(path) != Some(&Kind::ManifestOrIndex) {
            return Ok(());
        }
        let limit = if is_root { PREAMBLE_LIMIT } else { DOCUMENT_LIMIT };
        let Some(raw) = kept.read(path, "index", limit)? else { return Ok(()) };
        let index = if is_root {
            Index::parse(raw)?
        } else {
            match Document::parse(raw)? {
                Document::Index(index) => index,
                Document::Manifest(manifest) if kept.has(b"strata.json") => {
                    self.documents.insert(path_of(&manifest.config), Kind::Config);
                    return Ok(());
                }
                Document::Manifest(_) => return Ok(()),
            }
        };
        for path in index.manifests.iter().map(path_of) {
            if let Entry::Vacant(place) = self.documents.entry(path) {
                kept.remember(place.key())?;
                place.insert(Kind::ManifestOrIndex);
            }
        }
        Ok(())
    }

    /// Makes the preamble again from the contents of the stream, and compares them.
    pub(super) fn check_heads(
        &self,
        head: &dyn Fn(&'static str) -> Result<Option<Vec<u8>>, Error>,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), Error> {
        let index = head("index.json")?.ok_or_else(malformed)?;
        let manifest = head("manifest.json")?.ok_or_else(malformed)?;
        let mut names = Vec::new();
        let mut images = Vec::new();
        let mut seen = HashSet::new();
        let mut weight = 0;
        for entry in Index::parse(index.clone())?.manifests {
            let reference = entry
                .annotation(annotation::IMAGE_NAME)
                .map(str::parse)
                .transpose()
                .map_err(|_| malformed())?;
            if seen.insert(entry.digest) {
                // Images of an index may be missing, but a root must be there.
                let image = Graph::gather(&entry, &[], &mut *lookup)?.ok_or_else(malformed)?;
                weight += image.n_bytes();
                contents::check_weight(weight)?;
                images.push(image);
            }
            names.push(Name { reference, target: entry });
        }
        self.directories.check_none_pending()?;
        let is_sound = head("oci-layout")?.as_deref() == Some(OCI_LAYOUT)
            && Preamble::of(&names, &images)? == (Preamble { index, manifest })
            && self.has_configs(&images)
            && self.is_as_thin_as_it_says(&images, head("strata.json")?, lookup)?;
        if is_sound { Ok(()) } else { Err(malformed()) }
    }

    fn has_configs(&self, images: &[Graph]) -> bool {
        let mut manifests = images.iter().flat_map(|image| &image.manifests);
        manifests.all(|manifest| self.has(&manifest.config.digest))
    }

    fn is_as_thin_as_it_says(
        &self,
        images: &[Graph],
        strata: Option<Vec<u8>>,
        lookup: &mut Lookup<'_>,
    ) -> Result<bool, Error> {
        let Some(strata) = strata else {
            let blobs = images.iter().flat_map(Graph::blobs);
            return Ok(blobs.map(|blob| blob.digest).all(|digest| self.has(&digest)));
        };
        let base = Thin::parse(&strata)?.base;
        let thin = Thin::of(base, images, &|digest| !self.has(digest), lookup)?;
        Ok(!thin.left_out.is_empty() && thin.to_json()? == strata)
    }
}

impl Directories {
    fn add(&mut self, path: String) -> Result<(), Error> {
        // A blob lies in two directories.
        if self.is_without || self.pending.len() == 2 {
            return Err(malformed());
        }
        self.pending.push(path);
        Ok(())
    }

    /// Checks that a blob comes after its directories, and after no others.
    fn check(&mut self, blob: &Digest) -> Result<(), Error> {
        self.is_without |= self.used.is_empty() && self.pending.is_empty();
        if self.is_without {
            return Ok(());
        }
        let needed = crate::directories_of(blob).into_iter();
        let needed: Vec<_> = needed.filter(|path| !self.used.contains(path)).collect();
        if needed != self.pending {
            return Err(malformed());
        }
        self.used.append(&mut self.pending);
        Ok(())
    }

    fn check_none_pending(&self) -> Result<(), Error> {
        if self.pending.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// Makes the preamble again from the kept members, and compares them.
pub(super) fn check_preamble(strict: &Strict, kept: &Kept) -> Result<(), Error> {
    let head = |name: &'static str| kept.read(name.as_bytes(), name, PREAMBLE_LIMIT);
    strict.check_heads(&head, &mut |descriptor| {
        let Some(section) = kept.open(&path_of(descriptor))? else { return Ok(None) };
        let content = Verified::new(section, "document", descriptor.digest, Some(descriptor.size));
        layer_format::read_document(content, "document", DOCUMENT_LIMIT).map(Some)
    })
}

fn path_of(descriptor: &Descriptor) -> Vec<u8> {
    descriptor.digest.blob_path().into_bytes()
}

/// The error for bytes that the writer doesn't make.
pub(super) fn malformed() -> Error {
    Error::Malformed {
        what: "the image stream".to_owned(),
        reason: "is damaged: its parts don't fit the images that it names",
    }
}
