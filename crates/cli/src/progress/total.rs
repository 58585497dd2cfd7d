//! All tasks together: how many bytes of how many, how fast, and how long it still takes.

use super::counter::Counter;
use super::rate::Rate;

/// The sum of all tasks as it changes.
#[derive(Debug)]
pub(super) struct Total {
    /// How many bytes all tasks will have, those included that turn out not to be needed; `None` if nobody knows. Then there
    /// is no total.
    expected: Option<u64>,
    /// What the tasks had that are gone.
    gone: Amount,
    n_begun: u64,
    rate: Rate,
    is_moving: bool,
}

/// The sum of all tasks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) position: u64,
    pub(super) total: u64,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
}

/// What tasks have had of their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    /// The bytes that were counted.
    moved: u64,
    position: u64,
    total: u64,
    /// The bytes that needn't be moved.
    skipped: u64,
}

impl Amount {
    /// A task under way.
    fn running(counter: &Counter) -> Self {
        let position = counter.position();
        let total = counter.total().unwrap_or(position).max(position);
        Self { moved: counter.moved(), position, total, skipped: 0 }
    }

    /// A task that has ended: what it hasn't moved was not needed.
    fn ended(counter: &Counter) -> Self {
        let running = Self::running(counter);
        let skipped = running.total - running.position;
        Self { total: running.position, skipped, ..running }
    }

    fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.moved, other.moved),
            (&mut self.position, other.position),
            (&mut self.total, other.total),
            (&mut self.skipped, other.skipped),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Total {
    pub(super) fn new() -> Self {
        let gone = Amount::default();
        Self { expected: None, gone, n_begun: 0, rate: Rate::new(), is_moving: false }
    }

    /// Adds bytes that tasks will have.
    pub(super) fn expect(&mut self, n_bytes: u64) {
        let expected = self.expected.get_or_insert(0);
        *expected = expected.saturating_add(n_bytes);
    }

    /// Notes that a task has begun.
    pub(super) fn begin(&mut self) {
        self.n_begun += 1;
    }

    /// Takes in the bytes of a task whose row goes away.
    pub(super) fn leave(&mut self, counter: &Counter) {
        self.gone.add(Amount::ended(counter));
    }

    /// Takes in how far all tasks are: those that there are, each with whether it has ended. Returns their sum if there is more
    /// than one, and it is known what is still to come.
    pub(super) fn update<'a>(
        &mut self,
        tasks: impl Iterator<Item = (&'a Counter, bool)>,
    ) -> Option<Sum> {
        let mut all = self.gone;
        for (counter, has_ended) in tasks {
            all.add(if has_ended { Amount::ended(counter) } else { Amount::running(counter) });
        }
        self.is_moving = self.rate.update(all.moved);
        let expected = self.expected?.saturating_sub(all.skipped);
        let sum = Sum {
            position: all.position,
            total: expected.max(all.total),
            rate: self.rate.bytes_per_second(),
        };
        (self.n_begun > 1 && sum.position > 0).then_some(sum)
    }

    /// Whether anything was counted between the last two updates.
    pub(super) const fn is_moving(&self) -> bool {
        self.is_moving
    }
}

impl Sum {
    /// How many seconds it still takes if it goes on as fast as now; `None` if it stands still or all is done.
    pub(super) fn seconds_left(&self) -> Option<u64> {
        let left = self.total.checked_sub(self.position).filter(|&left| left > 0)?;
        Some(left.div_ceil(self.rate.filter(|&rate| rate > 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(total: Option<u64>, moved: u64) -> Counter {
        let counter = Counter::new(total);
        counter.advance(moved);
        counter
    }

    fn sum(total: &mut Total, tasks: &[(&Counter, bool)]) -> Option<(u64, u64)> {
        total.update(tasks.iter().copied()).map(|sum| (sum.position, sum.total))
    }

    #[test]
    fn what_needs_not_be_moved_is_no_part_of_the_whole() {
        let mut total = Total::new();
        let (large, small, known) = (task(Some(1000), 10), task(Some(50), 0), task(Some(300), 0));
        let tasks = [(&large, false), (&small, false), (&known, false)];
        (0..3).for_each(|_| total.begin());
        assert_eq!(sum(&mut total, &tasks), None, "nobody knows what is to come");
        total.expect(1350);
        assert_eq!(sum(&mut total, &tasks), Some((10, 1350)));
        let tasks = [(&large, false), (&small, false), (&known, true)];
        assert_eq!(sum(&mut total, &tasks), Some((10, 1050)));
        // The same when its row is gone, and when a task is given up in the middle.
        total.leave(&known);
        assert_eq!(sum(&mut total, &tasks[..2]), Some((10, 1050)));
        total.leave(&large);
        assert_eq!(sum(&mut total, &tasks[1..2]), Some((10, 60)));
        total.expect(40);
        assert_eq!(sum(&mut total, &tasks[1..2]), Some((10, 100)));
    }

    #[test]
    fn a_resumed_task_begins_in_the_middle() {
        let mut total = Total::new();
        let resumed = task(Some(1000), 0);
        resumed.jump(600);
        resumed.advance(100);
        (0..2).for_each(|_| total.begin());
        total.expect(1000);
        assert_eq!(sum(&mut total, &[(&resumed, false)]), Some((700, 1000)));
    }

    #[test]
    fn one_task_is_its_own_total() {
        let mut total = Total::new();
        total.begin();
        total.expect(10);
        assert_eq!(sum(&mut total, &[(&task(Some(10), 5), false)]), None);
    }

    #[test]
    fn the_time_left_is_what_the_rate_makes_of_the_rest() {
        let left = |position, rate| Sum { position, total: 1000, rate }.seconds_left();
        assert_eq!(left(0, Some(100)), Some(10));
        assert_eq!(left(1, Some(100)), Some(10));
        assert_eq!(left(999, Some(100)), Some(1));
        assert_eq!(left(1000, Some(100)), None);
        assert_eq!(left(1, None), None);
    }
}
