//! Decompresses and hashes blobs in threads ahead of the reader.
//!
//! ```text
//! raw ──► decoder ──plain──► reader
//!            └──────plain──► hasher ──digest──► reader
//! ```
//!
//! One thread for each stage is the fastest arrangement, measured on two cores (docs/performance.md). The threads last
//! for all blobs of a relay, so the next blob is begun while this one is still read. They aren't scoped: a reader that
//! stops early doesn't wait for a decoder that waits for the bytes of a silent pipe.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::thread::Builder;

use layer_format::{Algorithm, Codec, Decoder, Digest, Error, Hasher, SeekIndex};

use crate::relay::{Chunk, Gone, Pool, Receiver, Sender, relay};

/// The most chunks that may wait between two stages. It is high enough that no stage waits for a wake-up, and low
/// enough that the chunks stay in the cache.
pub(crate) const DEPTH: usize = 8;

/// A check before each piece that is decompressed. Once it returns `true`, the decoder fails. It is needed because a
/// few stored bytes can expand to gigabytes.
pub type Stop = fn() -> bool;

/// Whether to compute the digest of a blob's uncompressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Compute none, because the digest is known.
    Nothing,
    /// Compute the digest with this algorithm.
    Digest(Algorithm),
    /// Compute the digest only if the blob is compressed. Otherwise it is the digest of the stored bytes.
    DigestIfCompressed(Algorithm),
}

impl Ask {
    /// The algorithm of the digest to compute for a blob in this codec; `None` if none is to be computed.
    pub fn algorithm(self, codec: Codec) -> Option<Algorithm> {
        match self {
            Self::Nothing => None,
            Self::Digest(algorithm) => Some(algorithm),
            Self::DigestIfCompressed(algorithm) => (codec != Codec::None).then_some(algorithm),
        }
    }
}

/// How a blob is decompressed.
#[derive(Clone, Debug, Default)]
pub enum Seek {
    /// From its beginning to its end.
    #[default]
    Nothing,
    /// The same, and a seek index is made, if the blob has any use for one.
    Record,
    /// Several parts at once, by the index of this very blob.
    By(Arc<SeekIndex>),
}

impl Seek {
    /// A decoder of the blob's stored bytes.
    ///
    /// # Errors
    /// The errors of [`Decoder::new`].
    pub fn decoder<R: BufRead>(&self, stored: R) -> io::Result<Decoder<R>> {
        match self {
            Self::Nothing => Decoder::new(stored),
            Self::Record => Decoder::recording(stored),
            Self::By(index) => Ok(Decoder::indexed(stored, Arc::clone(index), 0)),
        }
    }
}

/// What was found out about a blob that has been read.
#[derive(Debug, Default)]
pub struct Found {
    /// The digest of its uncompressed bytes, if it was computed.
    pub digest: Option<Digest>,
    /// Its seek index, if one was made.
    pub index: Option<SeekIndex>,
}

/// The uncompressed bytes of several blobs, one after the other.
#[derive(Debug)]
pub struct Decompressed {
    plain: Receiver,
    /// Whether the hasher computes a digest, for each blob in turn.
    is_hashed: mpsc::Receiver<bool>,
    digests: mpsc::Receiver<Digest>,
    indexes: mpsc::Receiver<Option<SeekIndex>>,
}

impl Decompressed {
    /// Starts the threads. `raw` has one stream of stored bytes for each of `asks`.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start(raw: Receiver, asks: Vec<Ask>, stop: Stop) -> io::Result<Self> {
        Self::start_seeking(raw, asks, |_| Seek::Nothing, stop)
    }

    /// The same. `seek` is asked before each blob how to decompress it; it gets the blob's position.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start_seeking(
        raw: Receiver,
        asks: Vec<Ask>,
        seek: impl Fn(usize) -> Seek + Send + 'static,
        stop: Stop,
    ) -> io::Result<Self> {
        let (plain_sending, plain) = relay(DEPTH);
        let (hash_sending, hashing) = relay(DEPTH);
        let (answer_sending, is_hashed) = sync_channel(asks.len());
        let (algorithm_sending, algorithms) = sync_channel(asks.len());
        let (digest_sending, digests) = sync_channel(asks.len());
        let (index_sending, indexes) = sync_channel(asks.len());
        if asks.iter().any(|ask| *ask != Ask::Nothing) {
            Builder::new().spawn(move || hash(hashing, &algorithms, &digest_sending))?;
        }
        Builder::new().spawn(move || {
            let mut decoding = Decoding {
                raw,
                plain: plain_sending,
                hashing: hash_sending,
                algorithms: algorithm_sending,
                is_hashed: answer_sending,
                indexes: index_sending,
                pool: Pool::default(),
                stop,
            };
            asks.into_iter().enumerate().try_for_each(|(at, ask)| decoding.blob(ask, &seek(at)))
        })?;
        Ok(Self { plain, is_hashed, digests, indexes })
    }

    /// The uncompressed bytes of the current blob. The caller must read them to their end.
    pub fn plain(&mut self) -> &mut Receiver {
        &mut self.plain
    }

    /// Goes on to the next blob. Returns what was found out about the current one.
    ///
    /// # Errors
    /// [`Error::Truncated`] if a thread stopped before the end of the blob.
    pub fn end_blob(&mut self) -> Result<Found, Error> {
        self.plain.next_stream();
        let stopped = |_| Error::Truncated { what: "the layer".to_owned() };
        let is_hashed = self.is_hashed.recv().map_err(stopped)?;
        let digest = is_hashed.then(|| self.digests.recv()).transpose().map_err(stopped)?;
        Ok(Found { digest, index: self.indexes.recv().map_err(stopped)? })
    }
}

/// The uncompressed bytes of the current blob.
impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain.read(buffer)
    }
}

impl BufRead for Decompressed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.plain.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.plain.consume(n);
    }
}

/// The stage that decompresses blobs for the reader and the hasher.
struct Decoding {
    raw: Receiver,
    plain: Sender,
    hashing: Sender,
    algorithms: SyncSender<Algorithm>,
    is_hashed: SyncSender<bool>,
    indexes: SyncSender<Option<SeekIndex>>,
    pool: Pool,
    stop: Stop,
}

impl Decoding {
    fn blob(&mut self, ask: Ask, seek: &Seek) -> Result<(), Gone> {
        let mut decoder = match seek.decoder(&mut self.raw) {
            Ok(decoder) => decoder,
            Err(error) => return self.plain.fail(error).and(Err(Gone)),
        };
        let algorithm = ask.algorithm(decoder.codec());
        self.is_hashed.send(algorithm.is_some()).map_err(|_| Gone)?;
        let hashing = match algorithm {
            Some(algorithm) => {
                self.algorithms.send(algorithm).map_err(|_| Gone)?;
                Some(&self.hashing)
            }
            None => None,
        };
        let mut content = Stopping { decoder: &mut decoder, stop: self.stop };
        loop {
            match Chunk::read_from(&self.pool, &mut content) {
                Ok(Some(chunk)) => {
                    hashing.map_or(Ok(()), |hashing| hashing.send(chunk.clone()))?;
                    self.plain.send(chunk)?;
                }
                Ok(None) => break,
                Err(error) => return self.plain.fail(error).and(Err(Gone)),
            }
        }
        let index = decoder.take_index();
        drop(decoder);
        hashing.map_or(Ok(()), Sender::end)?;
        self.raw.next_stream();
        self.plain.end()?;
        self.indexes.send(index).map_err(|_| Gone)
    }
}

/// The stage that hashes: it computes the digests of uncompressed bytes, in order.
fn hash(mut plain: Receiver, algorithms: &mpsc::Receiver<Algorithm>, digests: &SyncSender<Digest>) {
    for algorithm in algorithms {
        let mut hasher = Hasher::new(algorithm);
        loop {
            match plain.take_chunk() {
                Ok(Some(chunk)) => hasher.update(&chunk),
                Ok(None) => break,
                // The decoder has failed and has told the reader.
                Err(_) => return,
            }
        }
        plain.next_stream();
        if digests.send(hasher.finish()).is_err() {
            return;
        }
    }
}

/// A reader that fails when the decoder should stop.
struct Stopping<R> {
    decoder: R,
    stop: Stop,
}

impl<R: Read> Read for Stopping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            return Err(io::Error::other("it was stopped"));
        }
        self.decoder.read(buffer)
    }
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

    /// What is read of a blob, and the digest at its end.
    type Found = (Vec<u8>, Option<Digest>);

    fn read(blobs: Vec<Vec<u8>>, asks: &[Ask], stop: Stop) -> Result<Vec<Found>, Error> {
        let (sending, raw) = relay(2);
        let mut decompressed = Decompressed::start(raw, asks.to_vec(), stop).unwrap();
        std::thread::spawn(move || {
            let pool = Pool::default();
            blobs.iter().try_for_each(|blob| sending.send_all(&pool, &mut &blob[..]))
        });
        let mut found = vec![];
        for _ in asks {
            let mut plain = vec![];
            let read = decompressed.read_to_end(&mut plain);
            read.map_err(|source| Error::io("reading", source))?;
            found.push((plain, decompressed.end_blob()?.digest));
        }
        Ok(found)
    }

    #[test]
    fn blobs_follow_one_another_and_only_what_is_asked_for_is_hashed() {
        let content = vec![7; 1_000_000];
        let other = vec![8; 10];
        let blobs = vec![gzip(&content), other.clone(), gzip(&other), content.clone(), vec![]];
        let sha512 = Algorithm::Sha512;
        let asks = [
            Ask::DigestIfCompressed(Algorithm::Sha256),
            Ask::DigestIfCompressed(Algorithm::Sha256),
            Ask::Nothing,
            Ask::Digest(Algorithm::Sha256),
            Ask::Digest(sha512),
        ];
        let found = read(blobs, &asks, || false).unwrap();
        let expected = [
            (content.clone(), Some(Digest::of(&content))),
            (other.clone(), None),
            (other, None),
            (content.clone(), Some(Digest::of(&content))),
            (vec![], Some(Hasher::new(sha512).finish())),
        ];
        assert!(found == expected);
    }

    #[test]
    fn bytes_are_read_in_any_pieces() {
        let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let (sending, raw) = relay(2);
        let asks = vec![Ask::Nothing];
        let mut decompressed = Decompressed::start(raw, asks, || false).unwrap();
        let blob = gzip(&content);
        std::thread::spawn(move || sending.send_all(&Pool::default(), &mut &blob[..]));
        let mut found = vec![];
        decompressed.by_ref().take(content.len() as u64 + 1).read_to_end(&mut found).unwrap();
        assert!(found == content);
    }

    #[test]
    fn damage_is_told_in_its_place_and_a_stop_ends_it() {
        let whole = gzip(&vec![7; 1_000_000]);
        let half = whole[..whole.len() / 2].to_vec();
        let asks = [Ask::Nothing, Ask::Digest(Algorithm::Sha256)];
        assert!(read(vec![whole.clone(), half], &asks, || false).is_err());
        let error = read(vec![whole], &asks[..1], || true).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "it was stopped");
    }
}
