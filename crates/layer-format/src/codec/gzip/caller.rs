//! Compresses blocks on the caller's thread. This is used in a build without the feature `parallel`.
#![expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "whoever writes blocks must not see the difference to threads"
)]

use std::io;

use flate2::{Compression, FlushCompress};

use super::{Done, Input};

/// The caller's thread, in place of a pool of threads.
pub(super) struct Workers {
    level: Compression,
}

/// A block that is compressed already.
pub(super) struct Pending(Done);

impl Workers {
    pub(super) fn new(level: Compression, _limit: usize) -> Self {
        Self { level }
    }

    /// How many blocks may wait for compression.
    pub(super) fn limit(&self) -> usize {
        0
    }

    /// Compresses a block.
    ///
    /// # Errors
    /// It never fails; the function of the same name with threads does.
    pub(super) fn compress(&mut self, input: Input, flush: FlushCompress) -> io::Result<Pending> {
        Ok(Pending(Done::of(self.level, input, flush)))
    }
}

impl Pending {
    /// Returns the block.
    pub(super) fn wait(self) -> io::Result<Done> {
        Ok(self.0)
    }
}
