//! How many requests are made to a host at once: as many as are wanted, until the host says that they are too many (429).
//!
//! Then half as many are made as were under way, and none before the pause is over that `Retry-After` asks for. After some
//! answers there may be one more, and so on. One refusal slows down all threads, not only the one that was refused.
//! Uploads only wait for the pause: what they send may come from the same host, whose answers must not wait for them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{POLL_INTERVAL, lock};

/// More requests than any program makes at once, so that there is no limit any more.
const NO_LIMIT: usize = 64;

/// The requests to a host.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many requests may be under way; `None` for any number.
    limit: Option<usize>,
    n_under_way: usize,
    /// How many answers have come since the limit has last changed.
    n_answers: usize,
    /// The end of the pause that the host has asked for.
    pause_end: Option<Instant>,
}

/// The right to make a request, until its answer has begun.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    is_counted: bool,
}

impl Gate {
    /// Waits until a request may be made. `is_counted` is false for one that waits for other requests. The wait ends early when
    /// the program is told to stop.
    pub(crate) fn enter(&self, is_counted: bool, cancelled: fn() -> bool) -> Pass<'_> {
        let mut state = lock(&self.state);
        while !state.is_open(is_counted) && !cancelled() {
            let waited = self.changed.wait_timeout(state, POLL_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.n_under_way += usize::from(is_counted);
        Pass { gate: self, is_counted }
    }

    /// Notes that the host has refused a request as one too many, and asked for a pause.
    pub(crate) fn slow_down(&self, pause: Duration) {
        let mut state = lock(&self.state);
        // The refusals of requests that were made together are one.
        let is_new = state.pause_end.is_none_or(|end| end <= Instant::now());
        if is_new {
            state.limit = Some((state.n_under_way / 2).max(1));
            state.n_answers = 0;
        }
        let end = Instant::now() + pause;
        state.pause_end = Some(state.pause_end.map_or(end, |known| known.max(end)));
    }

    /// Notes that the host has answered.
    pub(crate) fn speed_up(&self) {
        let mut state = lock(&self.state);
        let Some(limit) = state.limit else { return };
        state.n_answers += 1;
        if state.n_answers >= limit {
            state.n_answers = 0;
            state.limit = Some(limit + 1).filter(|limit| *limit < NO_LIMIT);
            self.changed.notify_all();
        }
    }
}

impl State {
    fn is_open(&mut self, is_counted: bool) -> bool {
        if self.pause_end.is_some_and(|end| end > Instant::now()) {
            return false;
        }
        self.pause_end = None;
        !is_counted || self.limit.is_none_or(|limit| self.n_under_way < limit)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            lock(&self.gate.state).n_under_way -= 1;
            self.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const NEVER: fn() -> bool = || false;

    #[test]
    fn a_refusal_halves_the_requests_and_answers_add_one_by_one() {
        let gate = Gate::default();
        let passes: Vec<_> = (0..8).map(|_| gate.enter(true, NEVER)).collect();
        gate.slow_down(Duration::ZERO);
        assert_eq!(lock(&gate.state).limit, Some(4));
        drop(passes);
        let limits = |n: usize| {
            (0..n).for_each(|_| gate.speed_up());
            lock(&gate.state).limit
        };
        assert_eq!((limits(3), limits(1), limits(5)), (Some(4), Some(5), Some(6)));
        assert_eq!(limits(10_000), None);
    }

    #[test]
    fn refusals_of_requests_that_were_made_together_count_once() {
        let gate = Gate::default();
        let passes: Vec<_> = (0..8).map(|_| gate.enter(true, NEVER)).collect();
        (0..8).for_each(|_| gate.slow_down(Duration::from_millis(50)));
        assert_eq!(lock(&gate.state).limit, Some(4));
        drop(passes);
        let begun = Instant::now();
        drop(gate.enter(false, NEVER));
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
    }

    #[test]
    fn no_more_threads_are_inside_than_the_limit_allows() {
        let gate = Gate::default();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        drop([
            gate.enter(true, NEVER),
            gate.enter(true, NEVER),
            gate.enter(true, NEVER),
            gate.enter(true, NEVER),
        ]);
        lock(&gate.state).limit = Some(2);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _pass = gate.enter(true, NEVER);
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn an_upload_waits_for_no_other_request_and_a_cancelled_program_for_nothing() {
        let gate = Gate::default();
        gate.slow_down(Duration::ZERO);
        let _only = gate.enter(true, NEVER);
        drop(gate.enter(false, NEVER));
        drop(gate.enter(true, || true));
    }
}
