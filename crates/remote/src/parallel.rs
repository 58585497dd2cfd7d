//! The same question about many things, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// How many questions are under way at once.
const JOBS: usize = 8;

/// The answers of `ask` about each of `items`, in their order.
///
/// # Errors
/// The first of `ask`; then nothing more is asked.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    ask: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let failure = Mutex::new(None);
    let ask_one = |at: usize| match ask(&items[at]) {
        Ok(answer) => lock(&answers)[at] = Some(answer),
        Err(error) => {
            next.store(items.len(), Ordering::Relaxed);
            lock(&failure).get_or_insert(error);
        }
    };
    let work = || {
        while let Some(at) = take(&next, items.len()) {
            ask_one(at);
        }
    };
    thread::scope(|scope| {
        for _ in 1..JOBS.min(items.len()) {
            // Fewer threads do the same work.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(answers.into_iter().flatten().collect())
}

/// The position of the next thing to be asked about, if there is one.
fn take(next: &AtomicUsize, n_items: usize) -> Option<usize> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    (at < n_items).then_some(at)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(
            map(&items, |item| Ok(item * 2)).unwrap(),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
        assert!(map(&[0_u8; 0], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn a_failure_is_the_end() {
        let n_asked = AtomicUsize::new(0);
        let items = vec![0; 10_000];
        let asked = map(&items, |_| -> anyhow::Result<()> {
            n_asked.fetch_add(1, Ordering::Relaxed);
            anyhow::bail!("no")
        });
        assert!(asked.is_err() && n_asked.into_inner() <= JOBS);
    }
}
