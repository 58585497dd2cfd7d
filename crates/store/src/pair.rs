//! The claim that a blob decompresses to bytes with a certain diff id: made, proved, and remembered.
//!
//! An image claims a digest for a layer's stored bytes and a diff id for the uncompressed ones. Once both were hashed and found
//! to belong together, they do for ever. The store remembers that, and then the digest alone is proof. It is proof, too, where
//! nothing is compressed. This is the one place that decides whether a diff id has to be computed.

use std::sync::Arc;

use layer_format::{DiffId, Digest, Error, SeekIndex};
use stream::archive::Layer;
use stream::decompress::{Ask, Seek};

use crate::store::Store;

/// The claim that a blob decompresses to bytes with this diff id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The blob's digest. `None` for a layer whose stored bytes have no digest, for example one of a docker-archive.
    blob: Option<Digest>,
    diff_id: DiffId,
}

impl Pair {
    /// The claim about a blob.
    pub fn new(blob: Digest, diff_id: DiffId) -> Self {
        Self { blob: Some(blob), diff_id }
    }

    /// The claim that an image makes about a layer.
    pub fn of(layer: &Layer) -> Self {
        Self { blob: layer.blob.as_ref().map(|blob| blob.digest), diff_id: layer.diff_id }
    }

    /// The diff id that is claimed.
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// What has to be computed to prove the claim. Nothing if a store remembers that it was proved; and only if the blob is
    /// compressed, if its digest is the diff id.
    pub fn ask(&self, store: Option<&Store>) -> Ask {
        let algorithm = self.diff_id.0.algorithm();
        if self.blob == Some(self.diff_id.0) {
            Ask::DigestIfCompressed(algorithm)
        } else if self.is_known(store) {
            Ask::Nothing
        } else {
            Ask::Digest(algorithm)
        }
    }

    /// How to decompress the blob: by the seek index that a store has of a blob whose diff id was proved, and otherwise so that
    /// there is one.
    pub fn seek(&self, store: Option<&Store>) -> Seek {
        let Some((blob, store)) = self.blob.zip(store) else { return Seek::Nothing };
        if !self.is_known(Some(store)) {
            return if store.has_seek_index(&blob) { Seek::Nothing } else { Seek::Record };
        }
        store.seek_index(&blob).map_or(Seek::Record, |index| Seek::By(Arc::new(index)))
    }

    /// Makes a store keep the blob's seek index. The claim must have been proved.
    pub fn keep_index(&self, index: &SeekIndex, store: Option<&Store>) {
        if let Some((blob, store)) = self.blob.zip(store) {
            // On a full disk, or in a store of others, there is none.
            store.keep_seek_index(&blob, index).ok();
        }
    }

    /// Removes the blob's seek index from a store, since reading by it has failed. The index may be to blame.
    pub fn forget_index(&self, store: Option<&Store>) {
        if let Some((blob, store)) = self.blob.zip(store) {
            store.forget_seek_index(&blob);
        }
    }

    /// Whether a store remembers that the claim was proved.
    pub fn is_known(&self, store: Option<&Store>) -> bool {
        let found = self.blob.zip(store).and_then(|(blob, store)| store.diff_id_of(&blob));
        found == Some(self.diff_id)
    }

    /// Compares the claim with the digest of the decompressed bytes.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] names both.
    pub fn check(&self, found: Digest) -> Result<(), Error> {
        if found == self.diff_id.0 {
            return Ok(());
        }
        let what = "uncompressed layer";
        Err(Error::DigestMismatch { what, expected: self.diff_id.0.into(), found: found.into() })
    }

    /// Makes a store remember that the claim was proved. Errors are ignored, because it can be proved again.
    pub fn remember(&self, store: Option<&Store>) {
        if let (Some(blob), Some(store)) = (self.blob.filter(|it| *it != self.diff_id.0), store) {
            store.note_diff_id(&blob, &self.diff_id).ok();
        }
    }
}
