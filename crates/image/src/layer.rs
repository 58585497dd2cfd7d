//! Decompressing a layer's stored bytes, and checking them against the diff id unless that is proved already ([`Pair`]).

use std::io::{BufReader, Read};

use layer_format::{Decoder, Error, Verified};
use store::{Pair, Store};
use stream::archive::Layer;

/// The size of the pieces that layers are read in, in bytes.
pub const BUFFER: usize = 128 << 10;

/// Decompresses a layer's stored bytes and checks nothing.
///
/// # Errors
/// The first bytes can't be read.
pub fn decompressed<R: Read>(stored: R) -> Result<Decoder<BufReader<R>>, Error> {
    let decoder = Decoder::new(BufReader::with_capacity(BUFFER, stored));
    decoder.map_err(|source| Error::io("reading a layer", source))
}

/// A layer's uncompressed bytes. They are checked once they have been read to their end, not before.
pub struct Content<'a> {
    bytes: Box<dyn Read + 'a>,
    /// What reading to the end proves; `None` if it was known before.
    proves: Option<Pair>,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("proves", &self.proves).finish_non_exhaustive()
    }
}

impl<'a> Content<'a> {
    /// Decompresses `stored`, a reader that checks the blob's digest at its end. The store may remember which diff id that digest
    /// has; then nothing more is hashed.
    ///
    /// # Errors
    /// The first bytes can't be read.
    pub fn of(layer: &Layer, stored: impl Read + 'a, store: Option<&Store>) -> Result<Self, Error> {
        let decoder = decompressed(stored)?;
        let pair = Pair::of(layer);
        if pair.ask(store).algorithm(decoder.codec()).is_none() {
            return Ok(Self { bytes: Box::new(decoder), proves: None });
        }
        let verified = Verified::new(decoder, "uncompressed layer", layer.diff_id.0, None);
        Ok(Self { bytes: Box::new(verified), proves: Some(pair) })
    }

    /// Makes a store remember what was proved. Everything must have been read to its end without an error.
    pub fn note(self, store: Option<&Store>) {
        if let Some(pair) = self.proves {
            pair.remember(store);
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(buffer)
    }
}
