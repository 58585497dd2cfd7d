//! Several pieces of work at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Builder};

use anyhow::Context as _;

/// Calls `work` with each of `items`, on at most `jobs` threads, until all are done or one fails.
///
/// # Errors
/// The first of `work`, and the system's if no thread can be started.
pub(crate) fn for_each<T: Sync>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let stop = Stop::default();
    let run = || {
        while !stop.is_set() {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            stop.unless_done(work(item))?;
        }
        Ok(())
    };
    beside(jobs.min(items.len()), run, || Ok(()))
}

/// A flag that threads share, set once one of them has failed: the others' work is of no more use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag if `result` is an error.
    pub(crate) fn unless_done(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        self.0.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

/// Runs `work` on `jobs` threads, or fewer if the system allows no more, and `here` on this one; waits for all.
///
/// # Errors
/// The first of the threads', else that of `here`.
pub(crate) fn beside(
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
