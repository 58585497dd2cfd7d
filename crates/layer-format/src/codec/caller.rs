//! Works on the pieces of a stream on the caller's thread. This is used in a build without the feature `parallel`.
#![expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "whoever has pieces to work on must not see the difference to threads"
)]

use std::io;

/// The caller's thread, in place of a pool of threads.
pub(super) struct Workers<I, O> {
    work: fn(I) -> O,
}

/// A piece that is done already.
pub(super) struct Pending<O>(O);

impl<I, O> Workers<I, O> {
    pub(super) fn new(work: fn(I) -> O, _limit: usize) -> Self {
        Self { work }
    }

    /// How many pieces may wait.
    pub(super) fn limit(&self) -> usize {
        0
    }

    /// Works on a piece.
    ///
    /// # Errors
    /// It never fails; the function of the same name with threads does.
    pub(super) fn begin(&mut self, input: I) -> io::Result<Pending<O>> {
        Ok(Pending((self.work)(input)))
    }
}

impl<O> Pending<O> {
    /// Returns the piece.
    pub(super) fn wait(self) -> io::Result<O> {
        Ok(self.0)
    }

    /// Returns the piece.
    pub(super) fn poll(self) -> io::Result<Result<O, Self>> {
        Ok(Ok(self.0))
    }
}
