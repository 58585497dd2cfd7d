//! A layer's stored bytes as what they decompress to, checked against the diff id where that isn't proved already ([`Pair`]).

use std::io::{BufReader, Read};

use layer_format::archive::Layer;
use layer_format::{Decoder, Error, Verified};
use store::{Pair, Store};

/// The size of the pieces that layers are read in, in bytes.
pub const BUFFER: usize = 128 << 10;

/// A layer's uncompressed bytes. They are to be read to their end: there they have been checked.
pub struct Content<'a> {
    bytes: Box<dyn Read + 'a>,
    /// What is shown when all is read, unless it was known before.
    shows: Option<Pair>,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("shows", &self.shows).finish_non_exhaustive()
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
        let pair = Pair::of(layer);
        if pair.is_same(decoder.codec()) || pair.is_known(store) {
            return Ok(Self { bytes: Box::new(decoder), shows: None });
        }
        let verified = Verified::new(decoder, "uncompressed layer", layer.diff_id.0, None);
        Ok(Self { bytes: Box::new(verified), shows: Some(pair) })
    }

    /// Remembers what was proved, once all has been read without an error.
    pub fn note(self, store: Option<&Store>) {
        if let Some(pair) = self.shows {
            pair.remember(store);
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(buffer)
    }
}
