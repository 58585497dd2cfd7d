//! Diff ids of blobs that pass by: what they decompress to is hashed beside them, in the same pass.
//!
//! ```text
//! whoever has the blob ──stored bytes──► decoder ──plain──► hasher
//! ```
//!
//! A thread a stage, as measured for unpack (docs/performance.md). Decompressed bytes are kept nowhere.

use std::io::Read;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::codec::Decoder;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::error::Error;
use crate::relay::{Chunk, Pool, Sending, Taking, relay};

/// How many chunks wait between two stages.
const DEPTH: usize = 8;

/// A blob whose stored bytes go through.
#[derive(Debug)]
pub struct Diffing {
    feed: Sending,
    outcome: JoinHandle<Result<Digest, Error>>,
}

/// A blob whose stored bytes have all gone through, and whose diff id may still be on its way.
#[derive(Debug)]
pub struct Ending(JoinHandle<Result<Digest, Error>>);

impl Diffing {
    /// Begins to hash what a blob decompresses to.
    pub fn begin(algorithm: Algorithm) -> Self {
        let (feed, raw) = relay(DEPTH);
        Self { feed, outcome: thread::spawn(move || digest(raw, algorithm)) }
    }

    /// The next of the stored bytes.
    pub fn feed(&self, chunk: Arc<Chunk>) {
        // A decoder that has stopped says why in the end.
        self.feed.send(chunk).ok();
    }

    /// There is no more.
    pub fn end(self) -> Ending {
        self.feed.end().ok();
        Ending(self.outcome)
    }
}

impl Ending {
    /// Waits for what the blob decompresses to.
    pub fn digest(self) -> Result<Digest, Error> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The digest of what a blob decompresses to.
pub fn of(mut content: impl Read, algorithm: Algorithm) -> Result<Digest, Error> {
    let Diffing { feed, outcome } = Diffing::begin(algorithm);
    // Should the decoder stop early, it says why; it also tells what could not be read.
    feed.send_all(&Pool::default(), &mut content).ok();
    drop(feed);
    Ending(outcome).digest()
}

/// Compares a diff id with what was found.
pub fn check(expected: DiffId, found: Digest) -> Result<(), Error> {
    if found == expected.0 {
        return Ok(());
    }
    let what = "uncompressed layer";
    Err(Error::DigestMismatch { what, expected: expected.0.into(), found: found.into() })
}

fn digest(raw: Taking, algorithm: Algorithm) -> Result<Digest, Error> {
    let decoding = |source| Error::io("decompressing a layer", source);
    let mut decoder = Decoder::new(raw).map_err(decoding)?;
    let (sending, plain) = relay(DEPTH);
    thread::scope(|scope| {
        let hasher = scope.spawn(move || hash(plain, algorithm));
        sending.send_all(&Pool::default(), &mut decoder).ok();
        drop(sending);
        hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(decoding)
    })
}

fn hash(mut plain: Taking, algorithm: Algorithm) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(chunk) = plain.take_chunk()? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn in_pieces(content: &[u8]) -> Result<Digest, Error> {
        let (pool, diffing) = (Pool::default(), Diffing::begin(Algorithm::Sha256));
        let mut content = content;
        while let Some(chunk) = Chunk::read_from(&pool, &mut content).unwrap() {
            diffing.feed(chunk);
        }
        diffing.end().digest()
    }

    #[test]
    fn what_comes_out_is_hashed_whatever_the_codec() {
        let content = vec![7; 3_000_000];
        for stored in [content.clone(), gzip(&content)] {
            assert_eq!(in_pieces(&stored).unwrap(), Digest::of(&content));
            assert_eq!(of(&stored[..], Algorithm::Sha256).unwrap(), Digest::of(&content));
        }
    }

    #[test]
    fn damage_is_told_and_nobody_waits() {
        let mut stored = gzip(&vec![7; 9_000_000]);
        let middle = stored.len() / 2;
        stored[middle..].fill(0xff);
        for stored in [&stored[..], &stored[..middle], b"\x1f\x8bno"] {
            assert!(in_pieces(stored).is_err());
            assert!(of(stored, Algorithm::Sha256).is_err());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the disk is gone"))
            }
        }
        let error = of(Broken, Algorithm::Sha256).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "the disk is gone");
    }
}
