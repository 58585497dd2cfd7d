//! Diff ids of blobs that pass by: what they decompress to is hashed beside them, once.
//!
//! ```text
//! intake ──stored bytes──► decoder ──plain──► hasher
//! ```
//!
//! A thread a stage, as measured for unpack (docs/performance.md). Decompressed bytes are kept nowhere.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::thread::{self, JoinHandle};

use layer_format::relay::{Pool, Sending, Taking, relay};
use layer_format::{Algorithm, Decoder, DiffId, Digest, Error, Hasher};

/// How many chunks wait between two stages.
const DEPTH: usize = 8;
/// How many blobs may be behind.
const BEHIND: usize = 4;

type Outcome = Result<Digest, Error>;

/// The diff ids that are known, and those on their way.
#[derive(Debug, Default)]
pub(crate) struct Diffs {
    running: VecDeque<(Digest, JoinHandle<Outcome>)>,
    known: HashMap<Digest, Outcome>,
}

/// A blob whose stored bytes go through.
#[derive(Debug)]
pub(crate) struct Diffing {
    pub(crate) feed: Sending,
    outcome: JoinHandle<Outcome>,
}

impl Diffs {
    /// Notes a diff id that needs no finding out.
    pub(crate) fn note(&mut self, blob: Digest, diff_id: Digest) {
        self.known.insert(blob, Ok(diff_id));
    }

    /// Takes in what was begun, once the blob's digest is known.
    pub(crate) fn add(&mut self, blob: Digest, diffing: Diffing) {
        // A decoder that has stopped says why in the end.
        diffing.feed.end().ok();
        self.running.push_back((blob, diffing.outcome));
        while self.running.len() > BEHIND {
            self.join_one();
        }
    }

    /// What a blob was found to decompress to; `None` if nobody looked.
    pub(crate) fn take(&mut self, blob: &Digest) -> Option<Outcome> {
        while self.running.iter().any(|(running, _)| running == blob) {
            self.join_one();
        }
        self.known.remove(blob)
    }

    fn join_one(&mut self) {
        if let Some((blob, outcome)) = self.running.pop_front() {
            let outcome = outcome.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.known.insert(blob, outcome);
        }
    }
}

/// Begins to hash what a blob decompresses to.
pub(crate) fn begin(algorithm: Algorithm) -> Diffing {
    let (feed, raw) = relay(DEPTH);
    Diffing { feed, outcome: thread::spawn(move || digest(raw, algorithm)) }
}

/// The digest of what a blob decompresses to.
pub(crate) fn of(mut content: impl Read, algorithm: Algorithm) -> Outcome {
    let Diffing { feed, outcome } = begin(algorithm);
    // Should the decoder stop early, it says why.
    feed.send_all(&Pool::default(), &mut content).ok();
    drop(feed);
    outcome.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn digest(raw: Taking, algorithm: Algorithm) -> Outcome {
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

/// Compares a diff id with what was found.
pub(crate) fn check(expected: DiffId, found: Digest) -> Result<(), Error> {
    if found == expected.0 {
        return Ok(());
    }
    let what = "uncompressed layer";
    Err(Error::DigestMismatch { what, expected: expected.0.into(), found: found.into() })
}
