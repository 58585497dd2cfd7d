//! How quick connections are, and which of them starves what it is to bring.
//!
//! Storage answers from many machines, some of which are in trouble: one connection then brings kilobytes a second where others
//! bring megabytes. It never breaks, and whoever waits for it waits for minutes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many times slower than others a connection is that starves what it brings.
const STARVED: u64 = 10;
/// After what time that is told.
pub(super) const STARVING: Duration = Duration::from_secs(1);
/// After what time it is told of one that brings nothing at all: an answer may be waited for, or a packet be lost.
pub(super) const SILENT: Duration = Duration::from_secs(3);
/// How many connections that have brought something tell how quick others are.
const RECENT: usize = 8;

/// What a connection brings in a second that has brought so many bytes in this time.
pub(super) fn per_second(n_bytes: u64, time: Duration) -> u64 {
    let per_second = u128::from(n_bytes) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// When connections last had brought what they were asked for, and how many bytes a second.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, u64)>);

impl Recent {
    /// Notes that a connection has brought what it was asked for.
    pub(super) fn note(&mut self, rate: u64) {
        self.0.push_back((Instant::now(), rate));
        if self.0.len() > RECENT {
            self.0.pop_front();
        }
    }

    /// Whether a connection that began then has brought so little in the time that it was waited for that another one is to be
    /// asked: far less than most others that have ended meanwhile. What others brought before tells nothing, for the whole line
    /// may have slowed down.
    pub(super) fn tell_starved(&self, begun: Instant, n_bytes: u64, waited: Duration) -> bool {
        waited >= STARVING
            && self.usual(begun).is_some_and(|usual| per_second(n_bytes, waited) < usual / STARVED)
    }

    /// What those brought in a second that ended after this time: the median, and the lower one of two.
    fn usual(&self, since: Instant) -> Option<u64> {
        let ended = self.0.iter().filter(|(at, _)| *at > since);
        let mut rates: Vec<_> = ended.map(|(_, rate)| *rate).collect();
        rates.sort_unstable();
        rates.get(rates.len().saturating_sub(1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_rate_is_what_comes_in_a_second() {
        assert_eq!(per_second(1 << 20, Duration::from_millis(500)), 2 << 20);
        assert_eq!(per_second(1 << 20, Duration::from_secs(8)), 128 << 10);
        assert_eq!(per_second(1 << 20, Duration::ZERO), 1_000_000 << 20);
    }

    #[test]
    fn what_starves_is_told_by_what_others_bring_at_the_same_time() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        // Half a MiB a second for eight seconds. Others ended so many seconds ago, and brought so many MiB a second.
        let is_starved = |others: &[(u64, u64)]| {
            let recent = others.iter().map(|&(seconds, rate)| (ago(seconds), rate * MIB));
            Recent(recent.collect()).tell_starved(ago(8), 4 * MIB, Duration::from_secs(8))
        };
        assert!(!is_starved(&[]), "nothing is known");
        assert!(!is_starved(&[(9, 100), (10, 100)]), "the line may have slowed down");
        assert!(is_starved(&[(9, 1), (7, 100)]));
        assert!(!is_starved(&[(1, 1), (2, 1), (3, 100)]), "most are slow");
        assert!(is_starved(&[(1, 1), (2, 100), (3, 100)]), "another one starves as well");
        assert!(!is_starved(&[(1, 1), (2, 100)]), "it may be either");
        assert!(!is_starved(&[(1, 5)]));
        assert!(is_starved(&[(1, 6)]));
        let mut recent = Recent::default();
        recent.note(100 * MIB);
        let after = |waited| recent.tell_starved(ago(8), 0, Duration::from_millis(waited));
        assert_eq!([999, 1000].map(after), [false, true], "what is waited for counts");
    }

    #[test]
    fn the_last_ones_are_remembered() {
        let mut recent = Recent::default();
        (1..=20).for_each(|rate| recent.note(rate));
        let rates: Vec<_> = recent.0.iter().map(|(_, rate)| *rate).collect();
        assert_eq!(rates, [13, 14, 15, 16, 17, 18, 19, 20]);
    }
}
