//! Bytes kept in memory in the place of a stream of the process; [`testing`](crate::testing) says what for.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes that were written to a stream. Clones are the same bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// The streams of a run in memory.
#[derive(Debug)]
pub(crate) struct CapturedStreams {
    pub(crate) output: Captured,
    pub(crate) talk: Captured,
}

impl Captured {
    /// A copy of what was written so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// What was written so far, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
