//! Threads that work on the pieces of a stream.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// The pool of threads. It never has more threads than there are pieces. Dropping it ends and joins them.
pub(super) struct Workers<I, O> {
    work: fn(I) -> O,
    /// The most threads that the pool may have.
    limit: usize,
    jobs: Option<Sender<Job<I, O>>>,
    queue: Arc<Mutex<Receiver<Job<I, O>>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A piece that is being worked on.
pub(super) struct Pending<O>(Receiver<O>);

struct Job<I, O> {
    input: I,
    done: SyncSender<O>,
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    pub(super) fn new(work: fn(I) -> O, limit: usize) -> Self {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        Self { work, limit, jobs: Some(jobs), queue, threads: vec![] }
    }

    /// How many pieces may wait besides those that are being worked on.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Begins to work on a piece.
    ///
    /// # Errors
    /// No thread could be started, and none is running.
    pub(super) fn begin(&mut self, input: I) -> io::Result<Pending<O>> {
        if self.threads.len() < self.limit {
            let (queue, work) = (Arc::clone(&self.queue), self.work);
            match Builder::new().spawn(move || run(&queue, work)) {
                Ok(thread) => self.threads.push(thread),
                // Fewer threads make the same bytes.
                Err(_) if !self.threads.is_empty() => self.limit = self.threads.len(),
                Err(error) => return Err(error),
            }
        }
        let (done, result) = sync_channel(1);
        if let Some(jobs) = &self.jobs {
            // If all threads are gone, the receiver of the result notices.
            jobs.send(Job { input, done }).ok();
        }
        Ok(Pending(result))
    }
}

impl<O> Pending<O> {
    /// Waits for the piece.
    pub(super) fn wait(self) -> io::Result<O> {
        self.0.recv().map_err(|_| stopped())
    }

    /// The piece, if it is done; otherwise what to wait for.
    pub(super) fn poll(self) -> io::Result<Result<O, Self>> {
        match self.0.try_recv() {
            Ok(done) => Ok(Ok(done)),
            Err(TryRecvError::Empty) => Ok(Err(self)),
            Err(TryRecvError::Disconnected) => Err(stopped()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("a thread stopped")
}

impl<I, O> Drop for Workers<I, O> {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked gave no result, and `wait` has reported that.
            thread.join().ok();
        }
    }
}

fn run<I, O>(queue: &Mutex<Receiver<Job<I, O>>>, work: fn(I) -> O) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, done }) = job else { return };
        // If whoever began the work was dropped, the result has no receiver.
        done.send(work(input)).ok();
    }
}
