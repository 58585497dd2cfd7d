//! Who is told how far the reading of something is, and may end it.
//!
//! A library that reads much takes a [`Watch`]; what becomes of it on a screen it doesn't know.

use std::io::{self, Read};

/// Shows how far readings are.
pub trait Watch {
    /// Begins to show one, of something that goes by this name and has so many bytes, if that is known.
    fn begin(&self, name: String, size: Option<u64>) -> Watcher;

    /// Asked for each piece of work: an error ends it.
    ///
    /// # Errors
    /// Whoever watches wants no more, for a signal has come.
    fn check(&self) -> io::Result<()>;
}

/// Told of each piece that is read: how many bytes it has; 0 at the end. An error ends the reading.
pub type Watcher = Box<dyn FnMut(usize) -> io::Result<()> + Send>;

/// For what nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: String, _: Option<u64>) -> Watcher {
        Box::new(|_| Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that are watched and counted as they are read.
pub struct Watched<R> {
    inner: R,
    watcher: Watcher,
    n_bytes: u64,
}

impl<R> Watched<R> {
    /// Watches what `inner` reads.
    pub fn new(inner: R, watcher: Watcher) -> Self {
        Self { inner, watcher, n_bytes: 0 }
    }

    /// How many bytes have come.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.n_bytes += n as u64;
        if !buffer.is_empty() {
            (self.watcher)(n)?;
        }
        Ok(n)
    }
}

impl<R: std::fmt::Debug> std::fmt::Debug for Watched<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Bytes whose reading ends when whoever watches wants no more.
pub struct Checked<'w, R> {
    inner: R,
    watch: &'w dyn Watch,
}

impl<'w, R> Checked<'w, R> {
    /// Asks `watch` before each piece that `inner` reads.
    pub fn new(inner: R, watch: &'w dyn Watch) -> Self {
        Self { inner, watch }
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.check()?;
        self.inner.read(buffer)
    }
}

impl<R: std::fmt::Debug> std::fmt::Debug for Checked<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn each_piece_is_told_and_the_end() {
        let told = Arc::new(Mutex::new(vec![]));
        let watcher = {
            let told = Arc::clone(&told);
            Box::new(move |n| {
                told.lock().unwrap().push(n);
                Ok(())
            })
        };
        let mut watched = Watched::new(&b"abc"[..], watcher);
        assert_eq!(watched.read(&mut [0; 2]).unwrap(), 2);
        assert_eq!(watched.read(&mut []).unwrap(), 0);
        io::copy(&mut watched, &mut io::sink()).unwrap();
        assert_eq!(*told.lock().unwrap(), [2, 1, 0]);
        assert_eq!(watched.n_bytes(), 3);
    }

    #[test]
    fn whoever_watches_can_end_it() {
        struct Over;
        impl Watch for Over {
            fn begin(&self, _: String, _: Option<u64>) -> Watcher {
                Box::new(|_| Err(io::ErrorKind::Interrupted.into()))
            }
            fn check(&self) -> io::Result<()> {
                Err(io::Error::other("over"))
            }
        }
        let error = Checked::new(&b"a"[..], &Over).read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.to_string(), "over");
        let watcher = Over.begin(String::new(), None);
        assert!(Watched::new(&b"a"[..], watcher).read(&mut [0; 1]).is_err());
    }
}
