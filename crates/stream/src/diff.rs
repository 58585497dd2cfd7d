//! Diff ids of blobs that pass by: what they decompress to is hashed beside them, in the same pass.
//!
//! ```text
//! whoever has the blob ──stored bytes──► decoder ──plain──► hasher
//! ```
//!
//! A thread a stage, as measured for unpack (docs/performance.md). Decompressed bytes are kept nowhere; who wants to know
//! what a layer holds watches its changes go by.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};

use layer_format::layer::{Change, Reader};
use layer_format::{Algorithm, Decoder, Digest, Error, Hasher};

use crate::relay::{Chunk, Chunks, Cursor, Pool, Sending, Taking, relay};

/// How many chunks wait between two stages.
const DEPTH: usize = 8;

/// Whoever watches what goes by.
pub type Watcher = Box<dyn FnMut(Seen<'_>) + Send>;

/// Asked now and then; what is hashed ends with an error once it says so. A few stored bytes can become gigabytes, and a
/// thread that hashes them is waited for.
pub type Stop = fn() -> bool;

/// What a watcher is shown.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A change of the layer.
    Change(&'a Change),
    /// All of the layer's changes were shown, and this is the digest of its bytes. It doesn't come for what is no layer.
    End(&'a Digest),
}

/// A blob whose stored bytes go through. Given up, it waits until its watcher is gone, and what that holds with it.
#[derive(Debug)]
pub struct Diffing {
    /// Goes first: the other waits for the threads, which see the end of their input then.
    feed: Sending,
    ending: Ending,
}

/// A blob whose stored bytes have all gone through, and whose diff id may still be on its way. The error is that no thread
/// could be started for it.
#[derive(Debug)]
pub struct Ending(io::Result<Joining<Result<Digest, Error>>>);

impl Diffing {
    /// Begins to hash what a blob decompresses to, and shows the layer's changes as they go by. Where no thread can be
    /// started for that, [`Ending::digest`] tells.
    pub fn begin(how: (Algorithm, Stop), watcher: Option<Watcher>) -> Self {
        let (feed, raw) = relay(DEPTH);
        let outcome = Builder::new().spawn(move || digest(raw, how, watcher));
        Self { feed, ending: Ending(outcome.map(|outcome| Joining(Some(outcome)))) }
    }

    /// The next of the stored bytes.
    pub fn feed(&self, chunk: Arc<Chunk>) {
        // A decoder that has stopped says why in the end.
        self.feed.send(chunk).ok();
    }

    /// There is no more.
    pub fn end(self) -> Ending {
        self.feed.end().ok();
        self.ending
    }
}

impl Ending {
    /// Waits for what the blob decompresses to.
    pub fn digest(self) -> Result<Digest, Error> {
        let stopped = || Error::Truncated { what: "the layer".to_owned() };
        let hashing = self.0.map_err(starting)?;
        hashing.join().ok_or_else(stopped)?
    }
}

/// A layer without compression, whose bytes go through only to be watched: whoever has them hashes them, too. Given up, it
/// waits as [`Diffing`] does.
#[derive(Debug)]
pub struct Watching {
    feed: Sending,
    watcher: Joining<Option<Watcher>>,
}

impl Watching {
    /// Begins to show the layer's changes as they go by. Where no thread can be started for that, nobody is shown anything.
    pub fn begin(watcher: Watcher) -> Self {
        let (feed, mut plain) = relay(DEPTH);
        let outcome = Builder::new().spawn(move || watch(&mut plain, watcher));
        Self { feed, watcher: Joining(outcome.ok()) }
    }

    /// The next of its bytes.
    pub fn feed(&self, chunk: Arc<Chunk>) {
        // What is no layer isn't read on.
        self.feed.send(chunk).ok();
    }

    /// There is no more, and this is the digest of them all.
    pub fn end(self, digest: &Digest) {
        self.feed.end().ok();
        if let Some(mut watcher) = self.watcher.join().flatten() {
            watcher(Seen::End(digest));
        }
    }
}

/// A thread that is waited for, also when nobody asks any more how it went.
struct Joining<T>(Option<JoinHandle<T>>);

impl<T> Joining<T> {
    fn join(mut self) -> Option<T> {
        let outcome = self.0.take().map(JoinHandle::join);
        outcome.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl<T> fmt::Debug for Joining<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joining").field(&self.0).finish()
    }
}

impl<T> Drop for Joining<T> {
    fn drop(&mut self) {
        self.0.take().map(JoinHandle::join);
    }
}

/// The digest of what a blob decompresses to.
pub fn of(
    mut content: impl Read,
    how: (Algorithm, Stop),
    watcher: Option<Watcher>,
) -> Result<Digest, Error> {
    let Diffing { feed, ending } = Diffing::begin(how, watcher);
    // Should the decoder stop early, it says why; it also tells what could not be read.
    feed.send_all(&Pool::default(), &mut content).ok();
    drop(feed);
    ending.digest()
}

fn digest(
    raw: Taking,
    (algorithm, stop): (Algorithm, Stop),
    watcher: Option<Watcher>,
) -> Result<Digest, Error> {
    let decoding = |source| Error::io("decompressing a layer", source);
    let mut decoder = Stopping { decoder: Decoder::new(raw).map_err(decoding)?, stop };
    let (sending, plain) = relay(DEPTH);
    thread::scope(|scope| {
        let hasher = Builder::new().spawn_scoped(scope, move || hash(plain, algorithm, watcher));
        let hasher = hasher.map_err(starting)?;
        sending.send_all(&Pool::default(), &mut decoder).ok();
        drop(sending);
        hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(decoding)
    })
}

/// What is decompressed, as long as nobody asks to stop.
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

fn starting(source: io::Error) -> Error {
    Error::io("starting a thread", source)
}

fn hash(plain: Taking, algorithm: Algorithm, watcher: Option<Watcher>) -> io::Result<Digest> {
    let hashed = Hashed { plain, hasher: Hasher::new(algorithm), failure: None };
    let mut reader = Cursor::new(hashed);
    let watcher = watcher.and_then(|watcher| watch(&mut reader, watcher));
    let mut hashed = reader.into_inner();
    if let Some(failure) = hashed.failure {
        return Err(failure);
    }
    while hashed.next_chunk()?.is_some() {}
    let digest = hashed.hasher.finish();
    if let Some(mut watcher) = watcher {
        watcher(Seen::End(&digest));
    }
    Ok(digest)
}

/// Shows all changes; gives the watcher back if this was a layer, to its end.
fn watch(content: &mut impl BufRead, mut watcher: Watcher) -> Option<Watcher> {
    let mut layer = Reader::new(content);
    // What is no layer is only hashed: whether it should have been one is for others to say.
    while let Some(change) = layer.read_change().ok()? {
        watcher(Seen::Change(&change));
    }
    Some(watcher)
}

/// Bytes that are hashed as they are taken.
struct Hashed {
    plain: Taking,
    hasher: Hasher,
    /// Why they ended early.
    failure: Option<io::Error>,
}

impl Chunks for Hashed {
    fn next_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>> {
        match self.plain.take_chunk() {
            Ok(Some(chunk)) => {
                self.hasher.update(&chunk);
                Ok(Some(chunk))
            }
            Err(failure) => {
                let kind = failure.kind();
                self.failure = Some(failure);
                Err(kind.into())
            }
            Ok(None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const SHA256: (Algorithm, Stop) = (Algorithm::Sha256, || false);

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn in_pieces(content: &[u8]) -> Result<Digest, Error> {
        let (pool, diffing) = (Pool::default(), Diffing::begin(SHA256, None));
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
            assert_eq!(of(&stored[..], SHA256, None).unwrap(), Digest::of(&content));
        }
    }

    #[test]
    fn what_is_given_up_leaves_no_watcher_behind() {
        let stored = gzip(&vec![7; 3_000_000]);
        for is_whole in [false, true] {
            let held = Arc::new(());
            let holding = held.clone();
            let watcher = Box::new(move |_: Seen<'_>| assert_eq!(*holding, ()));
            let diffing = Diffing::begin(SHA256, Some(watcher));
            let chunk = Chunk::read_from(&Pool::default(), &mut &stored[..]).unwrap();
            diffing.feed(chunk.unwrap());
            if is_whole {
                drop(diffing.end());
            } else {
                drop(diffing);
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
        let diffing = Diffing::begin(SHA256, Some(Box::new(watcher)));
        let pool = Pool::default();
        let mut stored = stored;
        while let Some(chunk) = Chunk::read_from(&pool, &mut stored).unwrap() {
            diffing.feed(chunk);
        }
        let found = diffing.end().digest();
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
            assert!(of(stored, SHA256, None).is_err());
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
        let error = of(Broken, SHA256, None).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "the disk is gone");
    }
}
