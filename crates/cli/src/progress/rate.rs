//! How fast a task is, as indicatif estimates it: a mean over the last seconds that follows a stall.
//!
//! indicatif keeps a bar that it doesn't draw: `frame.rs` says why.

use indicatif::ProgressBar;

/// Bytes a second, smoothed.
#[derive(Debug)]
pub(super) struct Rate {
    bar: ProgressBar,
    moved: u64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { bar: ProgressBar::hidden(), moved: 0 }
    }

    /// Bytes a second; none as long as nothing is measured, or nothing moves.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        let rate = self.bar.per_sec();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at least 1, and a cast ends at the largest number"
        )]
        (rate >= 1.0).then_some(rate as u64)
    }

    /// Takes in how many bytes were moved until now; tells whether any were since the last time.
    pub(super) fn update(&mut self, moved: u64) -> bool {
        let is_moving = moved != self.moved;
        if moved == 0 {
            // Before the first byte there is nothing to measure: the clock starts with it.
            self.bar.reset();
            return false;
        }
        self.moved = moved;
        self.bar.set_position(moved);
        self.bar.tick();
        is_moving
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_rate_follows_what_is_counted() {
        let mut rate = Rate::new();
        assert!(!rate.update(0));
        assert_eq!(rate.bytes_per_second(), None);
        // Time before the first byte doesn't count.
        thread::sleep(Duration::from_millis(20));
        assert!(!rate.update(0));
        let start = Instant::now();
        thread::sleep(Duration::from_millis(10));
        assert!(rate.update(1_000_000));
        let found = rate.bytes_per_second().unwrap();
        assert!(found <= 100_000_000, "{found}: at least 10 ms have passed");
        let least = 1_000_000 * 1000 / (start.elapsed().as_millis() + 10);
        assert!(u128::from(found) >= least / 2, "{found}, not {least}");
        assert!(!rate.update(1_000_000));
    }
}
