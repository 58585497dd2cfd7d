//! A layer's stored bytes as what they decompress to, checked against the diff id.
//!
//! An image claims a digest for the stored bytes and a diff id for the uncompressed ones. Where the store remembers that both
//! were found to belong together, or where nothing is compressed, the first proves the second, and nothing is hashed.

use std::io::{BufReader, Read};

use layer_format::archive::Layer;
use layer_format::{Codec, Decoder, Error, Verified};
use store::Store;

/// The size of the pieces that layers are read in, in bytes.
pub const BUFFER: usize = 128 << 10;

/// A layer's uncompressed bytes. They are to be read to their end: there they have been checked.
pub struct Content<'a> {
    bytes: Box<dyn Read + 'a>,
    proof: Proof,
}

/// Whether what is read shows anything that wasn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    New,
    Known,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("proof", &self.proof).finish_non_exhaustive()
    }
}

impl<'a> Content<'a> {
    /// Decompresses `stored`, whose own end checks them against the blob's digest. `store` tells whether that is proof enough.
    ///
    /// # Errors
    /// The first bytes can't be read.
    pub fn of(layer: &Layer, stored: impl Read + 'a, store: Option<&Store>) -> Result<Self, Error> {
        let opening = |source| Error::io("reading a layer", source);
        let decoder = Decoder::new(BufReader::with_capacity(BUFFER, stored)).map_err(opening)?;
        let blob = layer.blob.as_ref().map(|blob| blob.digest);
        let pair = blob.as_ref().and_then(|blob| store?.verified_pair(blob));
        // Without compression both digests are of the same bytes.
        let is_same = decoder.codec() == Codec::None && blob == Some(layer.diff_id.0);
        if is_same || pair == Some(layer.diff_id) {
            return Ok(Self { bytes: Box::new(decoder), proof: Proof::Known });
        }
        let verified = Verified::new(decoder, "uncompressed layer", layer.diff_id.0, None);
        Ok(Self { bytes: Box::new(verified), proof: Proof::New })
    }

    /// Remembers what was proved, once all has been read without an error.
    pub fn note(self, layer: &Layer, store: Option<&Store>) {
        if let (Some(store), Some(blob), Proof::New) = (store, &layer.blob, self.proof) {
            // A cache; the next reader does without.
            store.note_pair(&blob.digest, &layer.diff_id).ok();
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(buffer)
    }
}
