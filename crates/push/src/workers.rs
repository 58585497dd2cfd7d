//! Threads that push the small blobs of a stream while it is read.

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use layer_format::Descriptor;
use network::threads::{Stop, beside};
use registry::{Content, Window};

use crate::blob_pusher::BlobPusher;
use crate::later::Later;
use crate::spool::Spool;
use crate::target::Target;

/// A blob that is held in memory.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) blob: Descriptor,
    pub(crate) bytes: Arc<[u8]>,
    /// The targets that it goes to, by their positions in [`Workers::targets`].
    pub(crate) targets: Vec<usize>,
}

/// Threads that push the blobs they receive.
#[derive(Debug)]
pub(crate) struct Workers<'a> {
    pub(crate) pusher: &'a BlobPusher<'a>,
    pub(crate) later: &'a Later<'a>,
    pub(crate) targets: &'a [Target],
    pub(crate) receiver: Mutex<Receiver<Small>>,
    pub(crate) stop: &'a Stop,
}

impl Workers<'_> {
    /// Runs `reading`, which sends small blobs to the workers and drops the sender at its end, beside `jobs` workers.
    ///
    /// # Errors
    /// A worker's, else that of `reading`, which after a worker's failure only says that it was stopped.
    pub(crate) fn beside(
        &self,
        jobs: usize,
        reading: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        beside(jobs, || self.work(), reading)
    }

    /// Pushes what comes until the sender is dropped. After a failure nothing is pushed any more, but blobs are still received,
    /// so that the reader isn't left waiting.
    fn work(&self) -> anyhow::Result<()> {
        let mut result = Ok(());
        loop {
            let next = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(small) = next else { return result };
            if !self.stop.is_set() {
                result = self.stop.unless_done(self.push(&small));
            }
        }
    }

    /// Pushes a blob to each of its targets that lacks it.
    fn push(&self, small: &Small) -> anyhow::Result<()> {
        for &at in &small.targets {
            let begun = self.pusher.begin(&self.targets[at], &small.blob)?;
            let Some(pending) = begun else { continue };
            if self.later.wants(&pending)
                && let Ok(spool) = self.keep(&small.bytes)
            {
                self.later.put(pending, spool, 0);
                continue;
            }
            let content: Arc<dyn Content> = Arc::new(Window::new(0, Arc::clone(&small.bytes)));
            self.pusher.send(pending, &content)?;
        }
        Ok(())
    }

    /// Copies a blob into a temporary file, where it can wait.
    ///
    /// # Errors
    /// The disk's; the blob can be pushed out of memory then.
    fn keep(&self, bytes: &[u8]) -> io::Result<Arc<Spool>> {
        Spool::whole(image::spool(self.pusher.store)()?, bytes)
    }
}
