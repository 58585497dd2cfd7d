//! How fast a task is.

use std::time::Instant;

/// The time constant of the smoothing, in milliseconds.
const INERTIA: u128 = 2000;

/// Bytes a second, smoothed.
#[derive(Debug)]
pub(super) struct Rate {
    at: Instant,
    moved: u64,
    bytes_per_second: Option<u64>,
}

impl Rate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: now, moved: 0, bytes_per_second: None }
    }

    /// Bytes a second; none as long as nothing is measured, or nothing moves.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second.filter(|&rate| rate > 0)
    }

    /// Takes in how many bytes were moved until now; tells whether any were since the last time.
    pub(super) fn update(&mut self, now: Instant, moved: u64) -> bool {
        let is_moving = moved != self.moved;
        if self.bytes_per_second.is_none() && !is_moving {
            // Before the first byte there is nothing to measure: the clock starts with it.
            self.at = now;
            return false;
        }
        let millis = now.saturating_duration_since(self.at).as_millis();
        let bytes = u128::from(moved.saturating_sub(self.moved)) * 1000;
        let rate = match self.bytes_per_second {
            None => bytes.checked_div(millis),
            // The mean of the old rate and the new one, weighted by time.
            Some(rate) => {
                (millis > 0).then_some((u128::from(rate) * INERTIA + bytes) / (INERTIA + millis))
            }
        };
        if let Some(rate) = rate {
            self.at = now;
            self.moved = moved;
            self.bytes_per_second = Some(u64::try_from(rate).unwrap_or(u64::MAX));
        }
        is_moving
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_follows_what_is_counted() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut rate = Rate::new(begun);
        assert!(!rate.update(at(5), 0));
        assert_eq!(rate.bytes_per_second(), None);
        assert!(rate.update(at(6), 1000));
        assert_eq!(rate.bytes_per_second(), Some(1000), "time before the first byte doesn't count");
        rate.update(at(7), 2000);
        assert_eq!(rate.bytes_per_second(), Some(1000));
        rate.update(at(60), 2000);
        assert!(rate.bytes_per_second() < Some(100), "{rate:?}");
    }
}
