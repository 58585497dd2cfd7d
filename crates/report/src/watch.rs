//! Progress of readings: a sink that is told about it, and that can end them.
//!
//! A library that reads much data takes a [`Watch`]. It doesn't know how the progress is shown.

use std::io::{self, Read};

/// Sink for the progress of readings.
pub trait Watch {
    /// Begins to show one reading. `name` is what the user calls it; `size` is its length in bytes, if that is known.
    fn begin(&self, name: String, size: Option<u64>) -> Watcher;

    /// Checks whether the work should go on. Libraries call it before each piece of work.
    ///
    /// # Errors
    /// The work should end, for example because a signal has come.
    fn check(&self) -> io::Result<()>;
}

/// Sink for the progress of one reading. It takes the size in bytes of each piece that was read, and 0 at the end. An
/// error from it ends the reading.
pub type Watcher = Box<dyn FnMut(usize) -> io::Result<()> + Send>;

/// A sink that shows nothing and never ends a reading.
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

/// A reader that counts bytes and reports them to a [`Watcher`] while they are read.
pub struct Watched<R> {
    inner: R,
    watcher: Watcher,
    n_bytes: u64,
}

impl<R> Watched<R> {
    /// Wraps `inner`, and reports its bytes to `watcher`.
    pub fn new(inner: R, watcher: Watcher) -> Self {
        Self { inner, watcher, n_bytes: 0 }
    }

    /// The number of bytes that were read so far.
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

/// A reader that fails once its [`Watch`] wants the work to end.
pub struct Checked<'w, R> {
    inner: R,
    watch: &'w dyn Watch,
}

impl<'w, R> Checked<'w, R> {
    /// Wraps `inner`, and checks `watch` before each piece that it reads.
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
