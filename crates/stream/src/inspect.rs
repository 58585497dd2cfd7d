//! What is found out about a blob while its bytes pass by: the digest of what it decompresses to, and the changes of the layer.
//!
//! ```text
//! stored bytes ──► decoder ──plain──► hashed, and shown to a watcher
//! ```
//!
//! [`inspect`] does so for uncompressed bytes that the caller reads. An [`Inspection`] is fed with the stored bytes by whoever has
//! them, and works in threads of its own, one for each stage. Decompressed bytes are kept nowhere.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use layer_format::layer::{Change, Reader};
use layer_format::{Algorithm, Digest, Error, Hasher};

use crate::decompress::{Ask, DEPTH, Decompressed, Stop};
use crate::relay::{Chunk, Pool, Receiver, Sender, relay};

/// Sink for what is found in a layer.
pub type Watcher = Box<dyn FnMut(Seen<'_>) + Send>;

/// What a watcher is shown.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A change of the layer.
    Change(&'a Change),
    /// All of the layer's changes were shown, and this is the digest of its bytes. It doesn't come for what is no layer.
    End(&'a Digest),
}

/// Reads uncompressed bytes to their end, and returns a digest of them for each algorithm. The watcher is shown what they hold, if
/// they are a layer, and then the first digest.
///
/// # Errors
/// They can't be read.
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

/// The digest of what a blob decompresses to.
///
/// # Errors
/// It can't be read or decompressed, or no thread can be started.
pub fn diff_id(
    mut stored: impl Read,
    algorithm: Algorithm,
    stop: Stop,
    watcher: Option<Watcher>,
) -> Result<Digest, Error> {
    let (feed, pending) = begin(algorithm, stop, watcher);
    // If the decoder stops early, it says why; it also tells what could not be read.
    feed.send_all(&Pool::default(), &mut stored).ok();
    drop(feed);
    pending.digest()
}

/// A blob whose stored bytes pass by. When dropped before its [end](Self::end), it waits until its watcher is dropped.
#[derive(Debug)]
pub struct Inspection {
    /// Dropped first: the threads see the end of their input then, and are waited for.
    feed: Sender,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The blob is compressed.
    Hashing(PendingDigest),
    /// It isn't, so whoever has its bytes knows the digest; its changes are shown.
    Showing(JoinOnDrop<Option<Watcher>>),
}

/// The digest of what a blob decompresses to, which may still be on its way. The error is that no thread could be started for it.
#[derive(Debug)]
pub struct PendingDigest(io::Result<JoinOnDrop<Result<Digest, Error>>>);

impl Inspection {
    /// Begins with a compressed blob. If no thread can be started for it, [`PendingDigest::digest`] tells.
    pub fn of_compressed(algorithm: Algorithm, stop: Stop, watcher: Option<Watcher>) -> Self {
        let (feed, pending) = begin(algorithm, stop, watcher);
        Self { feed, work: Work::Hashing(pending) }
    }

    /// Begins with a blob that isn't compressed. If no thread can be started for it, the watcher is shown nothing.
    pub fn of_plain(watcher: Watcher) -> Self {
        let (feed, mut plain) = relay(DEPTH);
        let outcome = Builder::new().spawn(move || show(&mut plain, watcher));
        Self { feed, work: Work::Showing(JoinOnDrop(outcome.ok())) }
    }

    /// Takes the next stored bytes.
    pub fn feed(&self, chunk: Arc<Chunk>) {
        // A decoder that has stopped says why in the end, and what is no layer isn't read on.
        self.feed.send(chunk).ok();
    }

    /// Ends the blob, whose stored bytes have this digest. Returns the digest of what it decompresses to, if it is compressed.
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

/// A thread that is waited for, also when nobody asks any more how it went.
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
    // This thread hashes while it reads.
    let mut decompressed = Decompressed::start(raw, vec![Ask::Nothing], stop).map_err(starting)?;
    let digests = inspect(decompressed.plain(), &[algorithm], watcher).map_err(decoding)?;
    digests.first().copied().ok_or_else(|| Error::Truncated { what: "the layer".to_owned() })
}

fn starting(source: io::Error) -> Error {
    Error::io("starting a thread", source)
}

/// Shows all changes; gives the watcher back if this was a layer, to its end.
fn show(content: &mut impl BufRead, mut watcher: Watcher) -> Option<Watcher> {
    let mut layer = Reader::new(content);
    // Whether what is no layer should have been one is for others to say.
    while let Some(change) = layer.read_change().ok()? {
        watcher(Seen::Change(&change));
    }
    Some(watcher)
}

/// Bytes that are hashed as they are read.
struct Hashed<R> {
    plain: R,
    hashers: Vec<Hasher>,
    /// How many bytes in the buffer of `plain` have been hashed already: all of them, or none.
    n_done: usize,
    /// Why they ended early: a layer's reader reports it as its own error.
    failure: Option<io::Error>,
}

impl<R: BufRead> Hashed<R> {
    /// Reads what is left, and ends the hashing.
    fn digests(mut self) -> io::Result<Vec<Digest>> {
        loop {
            if let Some(failure) = self.failure {
                return Err(failure);
            }
            match self.fill_buf().map(<[u8]>::len) {
                Ok(0) => return Ok(self.hashers.into_iter().map(Hasher::finish).collect()),
                Ok(n) => self.consume(n),
                // It is in `failure`.
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

    /// The digest that nobody asks for of a compressed blob's stored bytes.
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
                Seen::Change(Change::Add(entry)) => seen.0.push(entry.path.to_string()),
                Seen::Change(other) => seen.0.push(format!("{other:?}")),
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
