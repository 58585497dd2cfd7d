//! The body of a request: a part of some content, watched while the network takes it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Cause;
use crate::upload::Content;

/// What a request carries. Clones are the same bytes, to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) content: Arc<dyn Content>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What is known of a body on its way out.
#[derive(Debug, Default)]
pub(super) struct Departure {
    taken: AtomicU64,
    is_abandoned: AtomicBool,
    failed: Mutex<Option<Cause>>,
}

/// A body as the HTTP client reads it.
pub(super) struct Watched {
    content: io::Take<Box<dyn Read + Send>>,
    departure: Arc<Departure>,
}

impl Payload {
    pub(super) fn open(&self, departure: &Arc<Departure>) -> Result<Watched, Cause> {
        let content = self.content.open(self.offset).map_err(|error| Cause::of(&error))?;
        Ok(Watched { content: content.take(self.length), departure: Arc::clone(departure) })
    }
}

impl Departure {
    /// How many bytes the network has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Nobody waits any more: whoever sends shall stop.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// Why the content itself could not be read.
    pub(super) fn failure(&self) -> Option<Cause> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.departure.is_abandoned.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let read = match self.content.read(buffer) {
            Ok(0) if !buffer.is_empty() && self.content.limit() > 0 => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            read => read,
        };
        match &read {
            Ok(n) => drop(self.departure.taken.fetch_add(*n as u64, Ordering::Relaxed)),
            Err(error) => {
                let mut failed =
                    self.departure.failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(Cause::of(error));
            }
        }
        read
    }
}
