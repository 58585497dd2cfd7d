//! Decompressing a layer's stored bytes, and checking them against the diff id unless that is proved already ([`Pair`]).

use std::io::{BufReader, Read};

use layer_format::{Decoder, Error, Verified};
use store::{Pair, Store};
use stream::archive::Layer;
use stream::decompress::Seek;

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
    bytes: Bytes<'a>,
    pair: Pair,
    /// The store whose seek index is used. If that fails, the next program does without.
    seeks_in: Option<Store>,
}

enum Bytes<'a> {
    /// The diff id was proved before.
    Known(Decoded<'a>),
    /// Reading to the end proves it.
    Proving(Box<Verified<Decoded<'a>>>),
}

type Decoded<'a> = Decoder<BufReader<Box<dyn Read + 'a>>>;

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl<'a> Content<'a> {
    /// Decompresses `stored`, a reader that checks the blob's digest at its end. The store may remember which diff id that digest
    /// has; then nothing more is hashed.
    ///
    /// # Errors
    /// The first bytes can't be read.
    pub fn of(layer: &Layer, stored: impl Read + 'a, store: Option<&Store>) -> Result<Self, Error> {
        let pair = Pair::of(layer);
        let stored: Box<dyn Read + 'a> = Box::new(stored);
        let seek = pair.seek(store);
        let seeks_in = store.filter(|_| matches!(seek, Seek::By(_))).cloned();
        let decoder = seek.decoder(BufReader::with_capacity(BUFFER, stored));
        let decoder = decoder.map_err(|source| Error::io("reading a layer", source))?;
        let bytes = if pair.ask(store).algorithm(decoder.codec()).is_none() {
            Bytes::Known(decoder)
        } else {
            let diff_id = layer.diff_id.0;
            Bytes::Proving(Box::new(Verified::new(decoder, "uncompressed layer", diff_id, None)))
        };
        Ok(Self { bytes, pair, seeks_in })
    }

    /// Makes a store remember what was proved, and the seek index that was made. Everything must have been read to its end without
    /// an error.
    pub fn note(self, store: Option<&Store>) {
        let mut decoder = match self.bytes {
            Bytes::Known(decoder) => decoder,
            Bytes::Proving(verified) => {
                self.pair.remember(store);
                verified.into_inner()
            }
        };
        if let Some(index) = decoder.take_index() {
            self.pair.keep_index(&index, store);
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match &mut self.bytes {
            Bytes::Known(decoder) => decoder.read(buffer),
            Bytes::Proving(verified) => verified.read(buffer),
        };
        if read.is_err() {
            self.pair.forget_index(self.seeks_in.take().as_ref());
        }
        read
    }
}
