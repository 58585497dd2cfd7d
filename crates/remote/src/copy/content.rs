//! A blob of one registry as what is uploaded to another: read when it is wanted, hashed as it passes, never kept.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cli::Meter;
use layer_format::{Descriptor, Digest, Hasher};
use registry::{Blob, Content, Error, Repository};

/// A blob at its source. Clones are the same reading.
#[derive(Clone)]
pub(super) struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    repository: Repository,
    blob: Descriptor,
    /// The blob in errors.
    what: String,
    meter: Meter,
    state: Mutex<State>,
}

struct State {
    hasher: Hasher,
    /// How many bytes were hashed.
    hashed: u64,
    /// A reader that one request has left for the next, and where it stands.
    parked: Option<Parked>,
    failure: Option<Error>,
    /// The digest of the bytes that came, if it is a wrong one.
    wrong: Option<Digest>,
}

struct Parked {
    blob: Blob,
    position: u64,
}

impl Source {
    pub(super) fn new(
        repository: &Repository,
        blob: &Descriptor,
        name: &str,
        meter: Meter,
    ) -> Self {
        let digest = &blob.digest;
        let state = State {
            hasher: Hasher::new(digest.algorithm()),
            hashed: 0,
            parked: None,
            failure: None,
            wrong: None,
        };
        let shared = Shared {
            repository: repository.clone(),
            blob: blob.clone(),
            what: format!("{name}@{}:{}", digest.algorithm().name(), digest.short()),
            meter,
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes out why the blob could not be read, if it couldn't.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.shared.lock().failure.take()
    }
}

impl Content for Source {
    fn range(&self) -> Range<u64> {
        0..self.shared.blob.size
    }

    /// Nothing is asked for before the first read, which is made in a thread of its own.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let reader = Reader { shared: Arc::clone(&self.shared), position: offset, blob: None };
        Ok(Box::new(self.shared.meter.read_from(offset, reader)))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.shared.what).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes what was not hashed yet of bytes that begin at `start`, and compares the digest at the end, before the last
    /// of them are given out.
    fn check(&self, start: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.lock();
        let end = start + bytes.len() as u64;
        if start > state.hashed {
            let reason = "the upload left out a part of the blob";
            return Err(Error::Protocol { what: self.what.clone(), reason });
        }
        if end > state.hashed {
            let known = usize::try_from(state.hashed - start).unwrap_or(bytes.len());
            state.hasher.update(&bytes[known..]);
            state.hashed = end;
            if end == self.blob.size {
                let fresh = Hasher::new(self.blob.digest.algorithm());
                let found = std::mem::replace(&mut state.hasher, fresh).finish();
                state.wrong = Some(found).filter(|found| *found != self.blob.digest);
            }
        }
        match state.wrong {
            None => Ok(()),
            Some(found) => Err(Error::DigestMismatch {
                what: self.what.clone(),
                expected: Box::new(self.blob.digest),
                found: Box::new(found),
            }),
        }
    }
}

/// A reader from an offset on.
struct Reader {
    shared: Arc<Shared>,
    position: u64,
    /// The blob, once something was read.
    blob: Option<Blob>,
}

impl Reader {
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut blob = match self.blob.take() {
            Some(blob) => blob,
            None => self.open()?,
        };
        let n = blob.read(buffer)?;
        self.blob = Some(blob);
        self.shared.check(self.position, &buffer[..n])?;
        self.position += n as u64;
        Ok(n)
    }

    /// The reader that stands here already, or a new one.
    fn open(&self) -> io::Result<Blob> {
        let parked = self.shared.lock().parked.take();
        match parked.filter(|parked| parked.position == self.position) {
            Some(parked) => Ok(parked.blob),
            None => Ok(self.shared.repository.blob(&self.shared.blob, self.position)?),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|error| match Error::inside(error) {
            Ok(error) => {
                let told = io::Error::other(error.to_string());
                self.shared.lock().failure = Some(error);
                told
            }
            Err(error) => error,
        })
    }
}

impl Drop for Reader {
    /// Leaves the connection to the next request, which goes on where this one ended.
    fn drop(&mut self) {
        if let Some(blob) = self.blob.take() {
            self.shared.lock().parked = Some(Parked { blob, position: self.position });
        }
    }
}
