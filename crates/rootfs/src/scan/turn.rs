//! Lets only one plain user's scan of a tree run at a time. Such a scan gives directories permissions that they lack, which
//! another scan of the tree would take for a change.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::powers::Powers;

/// The time between two looks at whether the other scan has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The roots that this process is scanning, by device and inode. A second scan in the same process doesn't wait.
static OURS: Mutex<Vec<(u64, u64)>> = Mutex::new(vec![]);

/// A lock of a tree's root directory, which lasts as long as this value. Root doesn't need it, and a file system without locks
/// has none.
#[derive(Debug)]
pub(super) struct Turn {
    /// Closing it lets the next one in.
    _locked: Option<OwnedFd>,
    id: Option<(u64, u64)>,
}

impl Turn {
    const NONE: Self = Self { _locked: None, id: None };

    /// Waits for scans of other processes to end, or until `stop` is true, in which case the scan soon ends by itself.
    pub(super) fn take(root: impl AsFd, stop: impl Fn() -> bool) -> Self {
        if Powers::of_process().passes_modes {
            return Self::NONE;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&root, c".", flags, Mode::empty());
        let (Ok(opened), Ok(stat)) = (opened, rustix::fs::fstat(&root)) else { return Self::NONE };
        let id = (stat.st_dev, stat.st_ino);
        if ours(|ours| ours.contains(&id)) {
            return Self::NONE;
        }
        // Two programs that each hold one tree and wait for the other's would never end.
        let may_wait = ours(|ours| ours.is_empty());
        while !stop() {
            match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    ours(|ours| ours.push(id));
                    return Self { _locked: Some(opened), id: Some(id) };
                }
                Err(Errno::WOULDBLOCK) if may_wait => thread::sleep(POLL_INTERVAL),
                Err(_) => break,
            }
        }
        Self::NONE
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            ours(|ours| ours.retain(|other| *other != id));
        }
    }
}

fn ours<T>(work: impl FnOnce(&mut Vec<(u64, u64)>) -> T) -> T {
    work(&mut OURS.lock().unwrap_or_else(PoisonError::into_inner))
}
