//! What a stream of ours must be beyond what any archive must: the only one that its images make, byte for byte.
//!
//! Blobs are covered by their digests. Headers, padding, `index.json` and `manifest.json` aren't; but they follow from
//! the images and their names, so they are made again and compared. Then no byte is left that could be another one.

use std::collections::HashSet;
use std::io;

use super::input::Input;
use super::shelf::Shelf;
use super::{HEADS_LIMIT, Member};
use crate::descriptor::{Descriptor, annotation};
use crate::digest::{Digest, Verified};
use crate::error::Error;
use crate::image::{DOCUMENT_LIMIT, Document, Index};
use crate::layer::Reader;
use crate::stream::{self, Heads, Image, Name, OCI_LAYOUT, USER_NAME};

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;

/// What has been seen of a stream of ours.
#[derive(Debug, Default)]
pub(super) struct Strict {
    /// The members that are manifests or indexes, as far as is known.
    documents: HashSet<Vec<u8>>,
}

/// Whether a first header is one of ours.
pub(super) fn is_ours(header: &[u8; 512]) -> bool {
    header[265..].starts_with(USER_NAME.as_bytes()) && header[265 + USER_NAME.len()] == 0
}

/// Checks a blob that nobody wants.
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
    /// Whether a member is needed to make the heads again.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        self.documents.contains(path)
    }

    /// Learns from a member that was kept which others are documents.
    pub(super) fn note(&mut self, path: &[u8], shelf: &Shelf) -> Result<(), Error> {
        let is_root = path == b"index.json";
        if !is_root && !self.wants(path) {
            return Ok(());
        }
        let limit = if is_root { HEADS_LIMIT } else { DOCUMENT_LIMIT };
        let Some(raw) = shelf.read(path, "index", limit)? else { return Ok(()) };
        let index = if is_root {
            Index::parse(raw)?
        } else {
            match Document::parse(raw)? {
                Document::Index(index) => index,
                Document::Manifest(_) => return Ok(()),
            }
        };
        self.documents.extend(index.manifests.iter().map(path_of));
        Ok(())
    }
}

/// Compares a member's header with the one that we would have written.
pub(super) fn check_header(path: &[u8], size: u64, found: &[u8; 512]) -> Result<(), Error> {
    let path = std::str::from_utf8(path).map_err(|_| malformed())?;
    if stream::header(path, size)? == *found { Ok(()) } else { Err(malformed()) }
}

/// Makes the heads again from what the stream holds, and compares.
pub(super) fn check_heads(shelf: &Shelf) -> Result<(), Error> {
    let index = shelf.read(b"index.json", "index.json", HEADS_LIMIT)?.ok_or_else(malformed)?;
    let manifest =
        shelf.read(b"manifest.json", "manifest.json", HEADS_LIMIT)?.ok_or_else(malformed)?;
    let layout = shelf.read(b"oci-layout", "oci-layout", DOCUMENT_LIMIT)?;
    let mut names = Vec::new();
    let mut images = Vec::new();
    for entry in Index::parse(index.clone())?.manifests {
        let reference = entry
            .annotation(annotation::IMAGE_NAME)
            .map(str::parse)
            .transpose()
            .map_err(|_| malformed())?;
        let mut image = Image { indexes: vec![], manifests: vec![] };
        collect(shelf, &entry, &mut image, DEPTH_LIMIT)?;
        images.push(image);
        names.push(Name { reference, target: entry });
    }
    if layout.as_deref() == Some(OCI_LAYOUT)
        && Heads::of(&names, &images)? == (Heads { index, manifest })
    {
        return Ok(());
    }
    Err(malformed())
}

/// Collects the documents below an entry. Of an index, some images may have stayed behind; a root must be there.
fn collect(
    shelf: &Shelf,
    entry: &Descriptor,
    image: &mut Image,
    depth: usize,
) -> Result<(), Error> {
    let is_root = depth == DEPTH_LIMIT;
    let raw = match shelf.open(&path_of(entry))? {
        Some(section) => {
            let content = Verified::new(section, "manifest", entry.digest, Some(entry.size));
            crate::image::read_document(content, "manifest", DOCUMENT_LIMIT)?
        }
        None if is_root => return Err(malformed()),
        None => return Ok(()),
    };
    match Document::parse(raw)? {
        Document::Manifest(manifest) => image.manifests.push(manifest),
        Document::Index(_) if depth == 0 => return Err(malformed()),
        Document::Index(index) => {
            let entries = index.manifests.clone();
            image.indexes.push(index);
            entries.iter().try_for_each(|entry| collect(shelf, entry, image, depth - 1))?;
        }
    }
    Ok(())
}

fn path_of(descriptor: &Descriptor) -> Vec<u8> {
    descriptor.digest.blob_path().into_bytes()
}

/// The error for bytes that are not what we write.
pub(super) fn malformed() -> Error {
    Error::Malformed {
        what: "the image stream".to_owned(),
        reason: "is damaged: it isn't what its images make",
    }
}
