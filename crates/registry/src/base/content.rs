//! Content to be uploaded: bytes that can be read again from where an upload broke off.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

/// A blob's bytes, to be opened anew as often as an upload breaks.
pub trait Content: fmt::Debug + Send + Sync {
    /// The offsets that can be read: all, or those of a stream that have come and are not yet dropped.
    fn range(&self) -> Range<u64>;

    /// The bytes from `offset` on, which is in the range.
    ///
    /// # Errors
    ///
    /// If the content can't be opened, or has dropped these bytes.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// A part of a blob that comes through a pipe. It is held in memory until the registry has it.
#[derive(Clone)]
pub struct Window {
    start: u64,
    bytes: Arc<[u8]>,
}

impl Window {
    /// The bytes from `start` on.
    pub fn new(start: u64, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { start, bytes: bytes.into() }
    }
}

impl Content for Window {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let gone = || io::Error::from(io::ErrorKind::NotSeekable);
        let mut bytes = Cursor::new(Arc::clone(&self.bytes));
        bytes.set_position(offset.checked_sub(self.start).ok_or_else(gone)?);
        Ok(Box::new(bytes))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({:?})", self.range())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_knows_nothing_of_what_was_before() {
        let window = Window::new(10, *b"abc");
        assert_eq!(window.range(), 10..13);
        let mut text = String::new();
        window.open(11).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bc");
        assert_eq!(window.open(13).unwrap().read(&mut [0; 4]).unwrap(), 0);
        assert!(window.open(9).is_err_and(|error| error.kind() == io::ErrorKind::NotSeekable));
    }
}
