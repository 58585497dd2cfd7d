//! Threads that compress blocks.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use flate2::{Compression, FlushCompress};

use super::{Done, Input};

/// The pool of threads. It never has more threads than there are blocks. Dropping it ends and joins them.
pub(super) struct Workers {
    level: Compression,
    /// The most threads that the pool may have.
    limit: usize,
    jobs: Option<Sender<Job>>,
    queue: Arc<Mutex<Receiver<Job>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A block that is being compressed.
pub(super) struct Pending(Receiver<Done>);

struct Job {
    input: Input,
    flush: FlushCompress,
    done: SyncSender<Done>,
}

impl Workers {
    pub(super) fn new(level: Compression, limit: usize) -> Self {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        Self { level, limit, jobs: Some(jobs), queue, threads: vec![] }
    }

    /// How many blocks may wait besides those that are being compressed.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Begins to compress a block.
    ///
    /// # Errors
    /// No thread could be started, and none is running.
    pub(super) fn compress(&mut self, input: Input, flush: FlushCompress) -> io::Result<Pending> {
        if self.threads.len() < self.limit {
            let (queue, level) = (Arc::clone(&self.queue), self.level);
            match Builder::new().spawn(move || work(&queue, level)) {
                Ok(thread) => self.threads.push(thread),
                // Fewer threads make the same bytes.
                Err(_) if !self.threads.is_empty() => self.limit = self.threads.len(),
                Err(error) => return Err(error),
            }
        }
        let (done, result) = sync_channel(1);
        if let Some(jobs) = &self.jobs {
            // If all threads are gone, the receiver of the result notices.
            jobs.send(Job { input, flush, done }).ok();
        }
        Ok(Pending(result))
    }
}

impl Pending {
    /// Waits for the block.
    pub(super) fn wait(self) -> io::Result<Done> {
        self.0.recv().map_err(|_| io::Error::other("a compressing thread stopped"))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked gave no result, and `wait` has reported that.
            thread.join().ok();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, level: Compression) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, flush, done }) = job else { return };
        // If the encoder was dropped, the result has no receiver.
        done.send(Done::of(level, input, flush)).ok();
    }
}
