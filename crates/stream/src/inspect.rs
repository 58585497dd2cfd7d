//! Finds out two things about a blob while its bytes pass by: the digest of its uncompressed bytes, and the changes of
//! the layer.
//!
//! ```text
//! stored bytes ──► decoder ──plain──► hashed, and shown to a watcher
//! ```
//!
//! [`inspect`] does this for uncompressed bytes, which it reads itself. An [`Inspection`] is fed with the stored bytes
//! by their owner, and works in threads of its own, one for each stage. The decompressed bytes aren't kept.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use layer_format::layer::{Change, Reader};
use layer_format::{Algorithm, Digest, Error, Hasher};

use crate::decompress::{Ask, DEPTH, Decompressed, Stop};
use crate::relay::{Chunk, Pool, Receiver, Sender, relay};

/// Sink for the changes in a layer.
pub type Watcher = Box<dyn FnMut(Seen<'_>) + Send>;

/// A piece of information for a watcher.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A change of the layer, and the offset in the layer at which a file's content begins.
    Change(&'a Change, u64),
    /// All of the layer's changes were shown, and this is the digest of its uncompressed bytes. It doesn't come for a
    /// blob that is no layer.
    End(&'a Digest),
}

/// Reads uncompressed bytes to their end, and returns their digest for each algorithm. If they are a layer, the watcher
/// gets its changes and then the first digest.
///
/// # Errors
/// The bytes can't be read.
pub fn inspect(
    plain: impl BufRead,
    algorithms: &[Algorithm],
    watcher: Option<Watcher>,
) -> io::Result<Vec<Digest>> {
    let hashers = algorithms.iter().copied().map(Hasher::new).collect();
    let mut hashed = Hashed { plain, hashers, n_done: 0, failure: None };
    let watcher = watcher.and_then(|watcher| show(&mut hashed, watcher));
    let digests = hashed.digests()?;
    if let (Some(mut watcher), Some(digest)) = (watcher, digests.first()) {
        watcher(Seen::End(digest));
    }
    Ok(digests)
}

/// The digest of a blob's uncompressed bytes.
///
/// # Errors
/// The blob can't be read or decompressed, or a thread can't be started.
pub fn diff_id(
    mut stored: impl Read,
    algorithm: Algorithm,
    stop: Stop,
    watcher: Option<Watcher>,
) -> Result<Digest, Error> {
    let (feed, pending) = begin(algorithm, stop, watcher);
    // A decoder that stops early reports the reason. It also reports an error of reading `stored`.
    feed.send_all(&Pool::default(), &mut stored).ok();
    drop(feed);
    pending.digest()
}

/// The inspection of a blob whose stored bytes pass by. If it is dropped before its [end](Self::end), the drop waits
/// until the watcher is dropped.
#[derive(Debug)]
pub struct Inspection {
    /// The sender is dropped first. The threads then see the end of their input and can be joined.
    feed: Sender,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The blob is compressed, and is being hashed.
    Hashing(PendingDigest),
    /// The blob isn't compressed, so the owner of its bytes knows the digest. Only its changes are shown.
    Showing(JoinOnDrop<Option<Watcher>>),
}

/// The digest of a blob's uncompressed bytes, which may still be in the making. It is an error if no thread could be
/// started.
#[derive(Debug)]
pub struct PendingDigest(io::Result<JoinOnDrop<Result<Digest, Error>>>);

impl Inspection {
    /// Begins the inspection of a compressed blob. If no thread can be started, [`PendingDigest::digest`] returns the
    /// error.
    pub fn of_compressed(algorithm: Algorithm, stop: Stop, watcher: Option<Watcher>) -> Self {
        let (feed, pending) = begin(algorithm, stop, watcher);
        Self { feed, work: Work::Hashing(pending) }
    }

    /// Begins the inspection of a blob that isn't compressed. If no thread can be started, the watcher gets nothing.
    pub fn of_plain(watcher: Watcher) -> Self {
        let (feed, mut plain) = relay(DEPTH);
        let outcome = Builder::new().spawn(move || show(&mut plain, watcher));
        Self { feed, work: Work::Showing(JoinOnDrop(outcome.ok())) }
    }

    /// Takes the next stored bytes.
    pub fn feed(&self, chunk: Arc<Chunk>) {
        // A decoder that has stopped reports the reason at the end. A blob that is no layer isn't read further.
        self.feed.send(chunk).ok();
    }

    /// Ends the blob, whose stored bytes have the digest `stored`. Returns the digest of its uncompressed bytes if the
    /// blob is compressed.
    pub fn end(self, stored: &Digest) -> Option<PendingDigest> {
        self.feed.end().ok();
        match self.work {
            Work::Hashing(pending) => Some(pending),
            Work::Showing(showing) => {
                if let Some(mut watcher) = showing.join().flatten() {
                    watcher(Seen::End(stored));
                }
                None
            }
        }
    }
}

impl PendingDigest {
    /// Waits for the digest.
    ///
    /// # Errors
    /// The blob can't be decompressed, or no thread could be started.
    pub fn digest(self) -> Result<Digest, Error> {
        let stopped = || Error::Truncated { what: "the layer".to_owned() };
        let hashing = self.0.map_err(starting)?;
        hashing.join().ok_or_else(stopped)?
    }
}

/// A thread that is joined on drop if its result wasn't asked for.
struct JoinOnDrop<T>(Option<JoinHandle<T>>);

impl<T> JoinOnDrop<T> {
    fn join(mut self) -> Option<T> {
        let outcome = self.0.take().map(JoinHandle::join);
        outcome.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl<T> fmt::Debug for JoinOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinOnDrop").field(&self.0).finish()
    }
}

impl<T> Drop for JoinOnDrop<T> {
    fn drop(&mut self) {
        self.0.take().map(JoinHandle::join);
    }
}

fn begin(algorithm: Algorithm, stop: Stop, watcher: Option<Watcher>) -> (Sender, PendingDigest) {
    let (feed, raw) = relay(DEPTH);
    let outcome = Builder::new().spawn(move || digest(raw, algorithm, stop, watcher));
    (feed, PendingDigest(outcome.map(|outcome| JoinOnDrop(Some(outcome)))))
}

fn digest(
    raw: Receiver,
    algorithm: Algorithm,
    stop: Stop,
    watcher: Option<Watcher>,
) -> Result<Digest, Error> {
    let decoding = |source| Error::io("decompressing a layer", source);
    // No digest is asked for, because this thread hashes while it reads.
    let mut decompressed = Decompressed::start(raw, vec![Ask::Nothing], stop).map_err(starting)?;
    let digests = inspect(decompressed.plain(), &[algorithm], watcher).map_err(decoding)?;
    digests.first().copied().ok_or_else(|| Error::Truncated { what: "the layer".to_owned() })
}

fn starting(source: io::Error) -> Error {
    Error::io("starting a thread", source)
}

/// Shows all changes. Returns the watcher if the content was a whole layer.
fn show(content: &mut impl BufRead, mut watcher: Watcher) -> Option<Watcher> {
    let mut layer = Reader::new(content);
    // The caller decides whether a blob that is no layer should have been one.
    while let Some(change) = layer.read_change().ok()? {
        watcher(Seen::Change(&change, layer.position()));
    }
    Some(watcher)
}

/// A reader that hashes its bytes.
struct Hashed<R> {
    plain: R,
    hashers: Vec<Hasher>,
    /// The number of bytes in the buffer of `plain` that were hashed already: all of them, or none.
    n_done: usize,
    /// The reason why the bytes ended early. It is kept here because a layer's reader wraps it in its own error.
    failure: Option<io::Error>,
}

impl<R: BufRead> Hashed<R> {
    /// Reads the rest and returns the digests.
    fn digests(mut self) -> io::Result<Vec<Digest>> {
        loop {
            if let Some(failure) = self.failure {
                return Err(failure);
            }
            match self.fill_buf().map(<[u8]>::len) {
                Ok(0) => return Ok(self.hashers.into_iter().map(Hasher::finish).collect()),
                Ok(n) => self.consume(n),
                // The error is in `failure`.
                Err(_) => {}
            }
        }
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.n_done == 0 {
            match self.plain.fill_buf() {
                Ok(bytes) => {
                    self.hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
                    self.n_done = bytes.len();
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(failure) => {
                    let kind = failure.kind();
                    self.failure = Some(failure);
                    return Err(kind.into());
                }
            }
        }
        if self.n_done == 0 { Ok(&[]) } else { self.plain.fill_buf() }
    }

    fn consume(&mut self, n: usize) {
        self.n_done -= n;
        self.plain.consume(n);
    }
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What is never stopped.
    fn compressed(watcher: Option<Watcher>) -> Inspection {
        Inspection::of_compressed(Algorithm::Sha256, || false, watcher)
    }

    fn of(stored: impl Read) -> Result<Digest, Error> {
        diff_id(stored, Algorithm::Sha256, || false, None)
    }

    /// The digest of a compressed blob's stored bytes. It isn't used.
    fn unused() -> Digest {
        Digest::of(b"stored")
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn in_pieces(content: &[u8]) -> Result<Digest, Error> {
        let (pool, inspection) = (Pool::default(), compressed(None));
        let mut content = content;
        while let Some(chunk) = Chunk::read_from(&pool, &mut content).unwrap() {
            inspection.feed(chunk);
        }
        inspection.end(&unused()).unwrap().digest()
    }

    #[test]
    fn what_comes_out_is_hashed_whatever_the_codec() {
        let content = vec![7; 3_000_000];
        for stored in [content.clone(), gzip(&content)] {
            assert_eq!(in_pieces(&stored).unwrap(), Digest::of(&content));
            assert_eq!(of(&stored[..]).unwrap(), Digest::of(&content));
        }
    }

    #[test]
    fn what_is_given_up_leaves_no_watcher_behind() {
        let stored = gzip(&vec![7; 3_000_000]);
        for is_whole in [false, true] {
            let held = Arc::new(());
            let holding = held.clone();
            let watcher = Box::new(move |_: Seen<'_>| assert_eq!(*holding, ()));
            let inspection = compressed(Some(watcher));
            let chunk = Chunk::read_from(&Pool::default(), &mut &stored[..]).unwrap();
            inspection.feed(chunk.unwrap());
            if is_whole {
                drop(inspection.end(&unused()));
            } else {
                drop(inspection);
            }
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }

    /// The paths that are shown of a blob, and the digest at their end.
    fn watched(stored: &[u8]) -> (Vec<String>, Option<Digest>, Result<Digest, Error>) {
        let seen = Arc::new(std::sync::Mutex::new((vec![], None)));
        let noting = seen.clone();
        let watcher = move |it: Seen<'_>| {
            let mut seen = noting.lock().unwrap();
            match it {
                Seen::Change(Change::Add(entry), _) => seen.0.push(entry.path.to_string()),
                Seen::Change(other, _) => seen.0.push(format!("{other:?}")),
                Seen::End(digest) => seen.1 = Some(*digest),
            }
        };
        let inspection = compressed(Some(Box::new(watcher)));
        let pool = Pool::default();
        let mut stored = stored;
        while let Some(chunk) = Chunk::read_from(&pool, &mut stored).unwrap() {
            inspection.feed(chunk);
        }
        let found = inspection.end(&unused()).unwrap().digest();
        let seen = seen.lock().unwrap().clone();
        (seen.0, seen.1, found)
    }

    #[test]
    fn a_layers_changes_are_shown_and_its_digest_is_that_of_all_bytes() {
        let mut header = tar::Header::new_ustar();
        header.set_size(1_000_000);
        let mut tar = tar::Builder::new(vec![]);
        tar.append_data(&mut header, "big", &vec![5; 1_000_000][..]).unwrap();
        header.set_size(0);
        tar.append_data(&mut header, "empty", &[][..]).unwrap();
        let layer = [tar.into_inner().unwrap(), b"what follows".to_vec()].concat();
        let digest = Digest::of(&layer);
        let (paths, end, found) = watched(&gzip(&layer));
        assert_eq!((paths, end), (vec!["big".to_owned(), "empty".to_owned()], Some(digest)));
        assert_eq!(found.unwrap(), digest);

        let no_layer = [&layer[..512], &vec![1; 2_000_000]].concat();
        let (_, end, found) = watched(&gzip(&no_layer));
        assert_eq!((end, found.unwrap()), (None, Digest::of(&no_layer)));
        let stored = gzip(&layer);
        let (_, end, found) = watched(&stored[..stored.len() / 2]);
        assert!(end.is_none() && found.is_err());
    }

    #[test]
    fn damage_is_told_and_nobody_waits() {
        let mut stored = gzip(&vec![7; 9_000_000]);
        let middle = stored.len() / 2;
        stored[middle..].fill(0xff);
        for stored in [&stored[..], &stored[..middle], b"\x1f\x8bno"] {
            assert!(in_pieces(stored).is_err());
            assert!(of(stored).is_err());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let error = of(Broken).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "the disk is gone");
    }

    #[test]
    fn every_algorithm_gets_its_digest_and_what_fails_in_the_middle_is_told_as_it_was() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }

        let content = vec![5; 700_000];
        let plain = io::BufReader::with_capacity(1000, &content[..]);
        let found = inspect(plain, &[Algorithm::Sha512, Algorithm::Sha256], None).unwrap();
        let mut sha512 = Hasher::new(Algorithm::Sha512);
        sha512.update(&content);
        assert_eq!(found, [sha512.finish(), Digest::of(&content)]);

        let plain = io::BufReader::new((&content[..]).chain(Broken));
        let watcher: Watcher = Box::new(|_| ());
        let error = inspect(plain, &[Algorithm::Sha256], Some(watcher)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
    }
}
