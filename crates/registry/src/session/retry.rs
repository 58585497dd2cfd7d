//! When to try again: pauses that grow, `Retry-After`, and an end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::options::{Listener, Options, Retries};
use crate::base::{Error, Failure, POLL_INTERVAL, RetryPolicy};

/// Who waits longer than this is told why.
const LONG: Duration = Duration::from_secs(10);

/// The attempts at one document or blob.
#[derive(Debug)]
pub(crate) struct Attempts {
    retries: Retries,
    cancelled: fn() -> bool,
    /// What gives up these attempts alone.
    given_up: Option<Arc<AtomicBool>>,
    listener: Listener,
    /// When the present attempt began, or last brought something.
    begun: Instant,
    in_a_row: u32,
    in_all: u32,
}

impl Attempts {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            retries: options.retries.clone(),
            cancelled: options.cancelled,
            given_up: None,
            listener: options.listener.clone(),
            begun: Instant::now(),
            in_a_row: 0,
            in_all: 0,
        }
    }

    /// Has pauses end when this is set.
    pub(crate) fn give_up_when(&mut self, given_up: &Arc<AtomicBool>) {
        self.given_up = Some(Arc::clone(given_up));
    }

    /// Notes that bytes have come: pauses start anew.
    pub(crate) fn progress(&mut self) {
        self.in_a_row = 0;
        self.begun = Instant::now();
    }

    /// Waits until it is time for the next attempt.
    ///
    /// # Errors
    ///
    /// The failure's own error if there is to be no other attempt, [`Error::Interrupted`] if the program was told to
    /// stop.
    pub(crate) fn after(&mut self, failure: Failure, what: &str) -> Result<(), Error> {
        self.in_a_row += 1;
        self.in_all += 1;
        if self.in_a_row >= self.retries.consecutive || self.in_all >= self.retries.total {
            return Err(*failure.error);
        }
        let pause = match failure.retry {
            RetryPolicy::Never => return Err(*failure.error),
            RetryPolicy::After(asked) if asked > self.retries.longest_asked => {
                return Err(*failure.error);
            }
            RetryPolicy::After(asked) => asked,
            RetryPolicy::Later => shortened(self.pause()),
        };
        if let Some(text) = self.told(&failure.error, pause) {
            self.listener.tell(&text);
        }
        self.sleep(pause, what)?;
        self.begun = Instant::now();
        Ok(())
    }

    /// What a user is told before the next attempt, who would wonder otherwise what is waited for.
    fn told(&self, error: &Error, pause: Duration) -> Option<String> {
        let (next, last) = (self.in_a_row + 1, self.retries.consecutive);
        let told = |when: &str| Some(format!("{error}; trying again{when} ({next} of {last})"));
        if pause >= LONG {
            told(&format!(" in {} s", pause.as_secs()))
        } else if self.begun.elapsed() >= LONG {
            told("")
        } else {
            None
        }
    }

    /// Tries until an attempt succeeds or none makes sense any more.
    ///
    /// # Errors
    ///
    /// The error of the last attempt.
    pub(crate) fn run<T>(
        mut self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        loop {
            match attempt() {
                Ok(result) => return Ok(result),
                Err(failure) => self.after(failure, what)?,
            }
        }
    }

    fn pause(&self) -> Duration {
        let doublings = self.in_a_row.saturating_sub(1).min(16);
        self.retries.first.saturating_mul(1 << doublings).min(self.retries.longest)
    }

    fn sleep(&self, pause: Duration, what: &str) -> Result<(), Error> {
        let end = Instant::now() + pause;
        loop {
            let given_up = self.given_up.as_ref().is_some_and(|it| it.load(Ordering::Relaxed));
            if given_up || (self.cancelled)() {
                return Err(Error::Interrupted { what: what.to_owned() });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL_INTERVAL));
        }
    }
}

/// Leaves off up to a half, so that clients that failed together don't come back together.
fn shortened(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let share = u32::try_from(random % 1024).unwrap_or_default();
    pause.saturating_sub(pause / 2 * share / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_progress() {
        let mut attempts = Attempts::new(&Options::default());
        let mut pause_of = |n| {
            attempts.in_a_row = n;
            attempts.pause().as_millis()
        };
        assert_eq!(
            [1, 2, 3, 4, 20, 4_000_000].map(&mut pause_of),
            [200, 400, 800, 1600, 20_000, 20_000]
        );
        attempts.progress();
        assert_eq!(attempts.pause().as_millis(), 200);
    }

    #[test]
    fn jitter_leaves_off_at_most_a_half() {
        for _ in 0..100 {
            let pause = shortened(Duration::from_millis(200)).as_millis();
            assert!((100..=200).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_registry_that_asks_for_an_hour_gets_none() {
        let error = Error::Redirect { what: String::new(), reason: "" };
        let failure = Failure {
            error: Box::new(error),
            retry: RetryPolicy::After(Duration::from_secs(3600)),
        };
        assert!(Attempts::new(&Options::default()).after(failure, "").is_err());
    }

    #[test]
    fn who_waits_for_long_is_told_why() {
        let error = Error::Redirect { what: "app:1".to_owned(), reason: "loop" };
        let mut attempts = Attempts::new(&Options::default());
        attempts.in_a_row = 1;
        let told = |attempts: &Attempts, seconds| {
            let text = attempts.told(&error, Duration::from_secs(seconds))?;
            text.strip_prefix(&error.to_string()).map(str::to_owned)
        };
        assert_eq!(told(&attempts, 9), None);
        assert_eq!(told(&attempts, 10).unwrap(), "; trying again in 10 s (2 of 5)");
        attempts.begun = attempts.begun.checked_sub(LONG).unwrap();
        assert_eq!(told(&attempts, 0).unwrap(), "; trying again (2 of 5)");
        attempts.progress();
        assert_eq!(told(&attempts, 0), None);
    }

    #[test]
    fn a_cancelled_wait_ends_at_once() {
        let options = Options { cancelled: || true, ..Options::default() };
        let started = Instant::now();
        let attempts = Attempts::new(&options);
        assert!(attempts.sleep(Duration::from_secs(60), "x").is_err());
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
