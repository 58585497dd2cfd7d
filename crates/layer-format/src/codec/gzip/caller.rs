//! Blocks that are compressed by whoever writes them, in a build without the feature `parallel`.
#![expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "whoever writes blocks must not see the difference to threads"
)]

use std::io;

use flate2::{Compression, FlushCompress};

use super::{Done, Input};

/// The thread that writes.
pub(super) struct Workers {
    level: Compression,
}

/// A block that was compressed.
pub(super) struct Pending(Done);

impl Workers {
    pub(super) fn new(level: Compression, _limit: usize) -> Self {
        Self { level }
    }

    /// How many blocks may wait.
    pub(super) fn limit(&self) -> usize {
        0
    }

    /// Compresses a block.
    ///
    /// # Errors
    /// None; threads have some.
    pub(super) fn compress(&mut self, input: Input, flush: FlushCompress) -> io::Result<Pending> {
        Ok(Pending(Done::of(self.level, input, flush)))
    }
}

impl Pending {
    /// The block.
    pub(super) fn wait(self) -> io::Result<Done> {
        Ok(self.0)
    }
}
