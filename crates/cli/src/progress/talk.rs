//! Where talk goes: standard error, or memory.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::report::StandardError;

/// A place for talk. Nothing is done about failures: there is no other place to tell of them.
pub(crate) struct Talk {
    sink: Box<dyn Write + Send>,
}

impl Talk {
    pub(crate) fn new(sink: impl Write + Send + 'static) -> Self {
        Self { sink: Box::new(sink) }
    }

    pub(crate) fn standard_error() -> Self {
        Self::new(StandardError)
    }

    /// Writes whole lines in one piece, so that those of other programs don't come between.
    pub(crate) fn write(&mut self, lines: &str) {
        if !lines.is_empty() {
            drop(self.sink.write_all(lines.as_bytes()));
        }
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Talk")
    }
}

/// Talk that is kept, for tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    pub(crate) fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
