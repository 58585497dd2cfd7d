//! What a file system makes of a time: some know no fractions of a second, some no years after 2038.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use layer_format::layer::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::metadata::{self, Inode};

/// Asks the file system of a directory, with an unnamed file.
#[derive(Debug)]
pub(super) struct Clamp<'a> {
    directory: Option<BorrowedFd<'a>>,
    probe: OnceLock<Option<Mutex<OwnedFd>>>,
}

impl<'a> Clamp<'a> {
    pub(super) fn new(directory: BorrowedFd<'a>) -> Self {
        Self { directory: Some(directory), probe: OnceLock::new() }
    }

    /// Asks nobody, so that only the same time is the same.
    pub(super) fn exact() -> Self {
        Self { directory: None, probe: OnceLock::new() }
    }

    /// Whether a file that was given the time `wanted` has the time `found` for that.
    pub(super) fn is_same(&self, wanted: Timestamp, found: Timestamp) -> bool {
        wanted == found || (may_be_clamped(wanted, found) && self.stored(wanted) == Some(found))
    }

    /// What becomes of a time; none if that can't be found out here, on a read-only file system for instance.
    fn stored(&self, time: Timestamp) -> Option<Timestamp> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || rustix::fs::openat(self.directory?, ".", flags, mode).ok().map(Mutex::new);
        let probe = self.probe.get_or_init(open).as_ref()?;
        let probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
        metadata::set_times(Inode::Open(probe.as_fd()), time).ok()?;
        let stat = rustix::fs::fstat(&*probe).ok()?;
        let nanos = u32::try_from(stat.st_mtime_nsec).ok()?;
        Some(Timestamp { seconds: stat.st_mtime, nanos })
    }
}

/// Whether the difference could be one of range or of precision, so that it is worth asking.
fn may_be_clamped(wanted: Timestamp, found: Timestamp) -> bool {
    let is_far = i32::try_from(wanted.seconds).is_err();
    // The coarsest clock in use is FAT's, which ticks every other second.
    let is_near = wanted.seconds.abs_diff(found.seconds) <= 2 && found.nanos.is_multiple_of(100);
    is_far || is_near
}
