//! Several blobs at once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};

use anyhow::Context as _;
use layer_format::Descriptor;
use registry::{Content, Window};

use crate::courier::Courier;
use crate::later::Later;
use crate::spool::Spool;
use crate::target::Target;

/// Does something for each of `items`, several at a time, until all are done or one fails.
pub(crate) fn for_each<T: Sync>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let (next, stop) = (AtomicUsize::new(0), Stop::default());
    let run = || {
        while !stop.is_set() {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            stop.unless_done(work(item))?;
        }
        Ok(())
    };
    beside(jobs.min(items.len()), run, || Ok(()))
}

/// Set when something has failed, so that nothing more is of use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn unless_done(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        self.0.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

/// A blob that is small enough to be held in memory.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) blob: Descriptor,
    pub(crate) bytes: Arc<[u8]>,
    /// Where it goes.
    pub(crate) targets: Vec<usize>,
}

/// Threads that send what is handed to them.
#[derive(Debug)]
pub(crate) struct Workers<'a> {
    pub(crate) courier: &'a Courier<'a>,
    pub(crate) later: &'a Later<'a>,
    pub(crate) targets: &'a [Target],
    pub(crate) receiver: Mutex<Receiver<Small>>,
    pub(crate) stop: &'a Stop,
}

impl Workers<'_> {
    /// Does `reading`, which hands small blobs to the workers and lets go of them at its end. A worker's error is told before
    /// that of the reader, who only knows that it was stopped.
    pub(crate) fn beside(
        &self,
        jobs: usize,
        reading: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        beside(jobs, || self.work(), reading)
    }

    /// After a failure nothing is sent any more, but what comes is still taken: somebody may be waiting.
    fn work(&self) -> anyhow::Result<()> {
        let mut result = Ok(());
        loop {
            let next = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(small) = next else { return result };
            if !self.stop.is_set() {
                result = self.stop.unless_done(self.bring(&small));
            }
        }
    }

    fn bring(&self, small: &Small) -> anyhow::Result<()> {
        for &at in &small.targets {
            let begun = self.courier.begin(&self.targets[at], &small.blob)?;
            let Some(parcel) = begun else { continue };
            if self.later.wants(&parcel)
                && let Ok(spool) = self.keep(&small.bytes)
            {
                self.later.put(parcel, spool, 0);
                continue;
            }
            let content: Arc<dyn Content> = Arc::new(Window::new(0, Arc::clone(&small.bytes)));
            self.courier.carry(parcel, &content)?;
        }
        Ok(())
    }

    /// Keeps a blob for later, where there is room.
    fn keep(&self, bytes: &[u8]) -> io::Result<Arc<Spool>> {
        Spool::whole(image::spool(self.courier.store)()?, bytes)
    }
}

/// Runs `work` on several threads, and `here` on this one. All are waited for; the first error is the one to tell.
fn beside(
    jobs: usize,
    work: impl Fn() -> anyhow::Result<()> + Sync,
    here: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let mut workers = vec![];
        for _ in 0..jobs {
            match Builder::new().spawn_scoped(scope, &work) {
                Ok(worker) => workers.push(worker),
                // Fewer do the same work, one after the other.
                Err(_) if !workers.is_empty() => break,
                Err(error) => return Err(error).context("starting a thread"),
            }
        }
        let done = here();
        let mut result = Ok(());
        for worker in workers {
            let worked = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(worked);
        }
        result.and(done)
    })
}
