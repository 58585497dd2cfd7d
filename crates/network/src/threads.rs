//! Several pieces of work with a registry at once: most of the time each waits for an answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};

use anyhow::Context as _;

/// Calls `work` with each of `items`, on at most `jobs` threads, until all are done or one fails.
///
/// # Errors
/// The first of `work`, and the system's if no thread can be started.
pub fn for_each<T: Sync>(
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

/// The answers of `ask` about each of `items`, in their order. At most `jobs` questions are under way at once.
///
/// # Errors
/// As [`for_each`].
pub fn map<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    ask: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    struct Question<'a, T, R> {
        item: &'a T,
        answer: Mutex<Option<R>>,
    }
    let questions: Vec<_> =
        items.iter().map(|item| Question { item, answer: Mutex::new(None) }).collect();
    for_each(jobs, &questions, |question| {
        let answer = ask(question.item)?;
        *question.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(())
    })?;
    let answer = |question: Question<'_, T, R>| {
        question.answer.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    Ok(questions.into_iter().filter_map(answer).collect())
}

/// A flag that threads share, set once one of them has failed: the others' work is of no more use.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether one of the threads has failed.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag if `result` is an error.
    ///
    /// # Errors
    /// That one.
    pub fn unless_done(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        self.0.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

/// Runs `work` on `jobs` threads, or fewer if the system allows no more, and `here` on this one; waits for all.
///
/// # Errors
/// The first of the threads', else that of `here`.
pub fn beside(
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

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: usize = 8;

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(
            map(JOBS, &items, |item| Ok(item * 2)).unwrap(),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
        assert!(map(JOBS, &[0_u8; 0], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn a_failure_is_the_end() {
        let n_asked = AtomicUsize::new(0);
        let items = vec![0; 10_000];
        let asked = map(JOBS, &items, |_| -> anyhow::Result<()> {
            n_asked.fetch_add(1, Ordering::Relaxed);
            anyhow::bail!("no")
        });
        assert!(asked.is_err() && n_asked.into_inner() <= JOBS);
    }
}
