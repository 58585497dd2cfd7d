//! What a blob decompresses to, as it is claimed, proved, and remembered.
//!
//! An image claims a digest for a layer's stored bytes and a diff id for the uncompressed ones. Once both were hashed and found
//! to belong together, they do for ever: the store remembers that, and then the digest alone is proof. So it is where nothing is
//! compressed. This is the one place that decides whether a diff id has to be computed.

use layer_format::archive::Layer;
use layer_format::{Codec, DiffId, Digest, Error};

use crate::store::Store;

/// The claim that a blob decompresses to what has this diff id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// None of a layer that nothing names by its stored bytes, as in a docker-archive: it is known by its diff id alone.
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

    /// Whether the blob's digest proves the claim, given how the blob is compressed.
    pub fn is_same(&self, codec: Codec) -> bool {
        codec == Codec::None && self.blob == Some(self.diff_id.0)
    }

    /// Whether a store remembers that the claim was proved.
    pub fn is_known(&self, store: Option<&Store>) -> bool {
        let found = self.blob.zip(store).and_then(|(blob, store)| store.diff_id_of(&blob));
        found == Some(self.diff_id)
    }

    /// Compares the claim with what was found.
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

    /// Has a store remember that the claim was proved. A cache: where that fails, whoever needs to know finds out anew.
    pub fn remember(&self, store: Option<&Store>) {
        if let (Some(blob), Some(store)) = (self.blob.filter(|it| *it != self.diff_id.0), store) {
            store.note_diff_id(&blob, &self.diff_id).ok();
        }
    }
}
