//! How much disk is used for a while only: what a tool has written and removed again before it ends.
//!
//! Everything a run writes is on tmpfs, whichever program writes it and whatever its name is, and the kernel adds all of tmpfs up;
//! so does it what other programs keep there in the meantime, which should be nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// An eye on the disk.
#[derive(Debug)]
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<Option<u64>>,
}

impl Watch {
    /// Looks from now on.
    pub(super) fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&is_over);
        let watcher = std::thread::spawn(move || most(&for_thread));
        Self { is_over, watcher }
    }

    /// By how many kB the most was above what is there now; unknown where the kernel doesn't say.
    pub(super) fn stop(self) -> Option<u64> {
        let now = used()?;
        self.is_over.store(true, Ordering::Relaxed);
        Some(self.watcher.join().ok()??.saturating_sub(now))
    }
}

fn most(is_over: &AtomicBool) -> Option<u64> {
    let mut most = used()?;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(INTERVAL);
        most = most.max(used()?);
    }
    Some(most)
}

/// kB on all file systems in memory.
fn used() -> Option<u64> {
    parse(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(memory: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix("Shmem:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_is_on_file_systems_in_memory() {
        let text = "Cached:  100 kB\nShmem:             82788 kB\nShmemHugePages:        0 kB\n";
        assert_eq!(parse(text), Some(82788));
        assert_eq!(parse("MemTotal: 1 kB\n"), None);
    }
}
