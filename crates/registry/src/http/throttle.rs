//! A limit for the bytes of all connections together.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::{POLL_INTERVAL, lock};

/// A limit of bytes a second. Bytes pass in the order in which they come.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes a second.
    rate: NonZeroU64,
    /// When the next byte may pass.
    next: Mutex<Instant>,
    cancelled: fn() -> bool,
}

impl Throttle {
    pub(crate) fn new(rate: NonZeroU64, cancelled: fn() -> bool) -> Self {
        Self { rate, next: Mutex::new(Instant::now()), cancelled }
    }

    /// Waits until `n_bytes` may pass. The wait ends early when the program is told to stop.
    pub(crate) fn pass(&self, n_bytes: u64) {
        let start = self.reserve(n_bytes, Instant::now());
        while !(self.cancelled)() {
            let left = start.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(POLL_INTERVAL));
        }
    }

    /// How many bytes pass in a quarter of a second. A sender that hands on no more at a time never seems to have
    /// stalled.
    pub(crate) fn piece(&self) -> u64 {
        (self.rate.get() / 4).max(1)
    }

    /// When `n_bytes` may pass that come at `now`.
    fn reserve(&self, n_bytes: u64, now: Instant) -> Instant {
        let mut next = lock(&self.next);
        let start = (*next).max(now);
        let nanoseconds = u128::from(n_bytes) * 1_000_000_000 / u128::from(self.rate.get());
        *next = start + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them_and_idle_time_is_not_saved_up() {
        let throttle = Throttle::new(NonZeroU64::new(1000).unwrap(), || false);
        let start = Instant::now() + Duration::from_secs(1);
        let after = |n_bytes, seconds| {
            let now = start + Duration::from_secs(seconds);
            throttle.reserve(n_bytes, now).duration_since(start).as_millis()
        };
        assert_eq!([after(500, 0), after(2000, 0), after(1, 0)], [0, 500, 2500]);
        assert_eq!([after(1000, 60), after(1, 60)], [60_000, 61_000]);
        assert_eq!(throttle.piece(), 250);
    }

    #[test]
    fn nobody_waits_when_all_is_to_end() {
        let throttle = Throttle::new(NonZeroU64::MIN, || true);
        let started = Instant::now();
        throttle.pass(1 << 40);
        throttle.pass(1 << 40);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
