//! What a file system makes of a time. Some have no fractions of a second, and some no years after 2038.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use layer_format::layer::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::inode::InodeHandle;

/// Asks the file system of a directory by setting times of an unnamed file.
#[derive(Debug)]
pub(super) struct Clamp<'a> {
    /// `None` if it isn't asked.
    directory: Option<BorrowedFd<'a>>,
    /// The unnamed file, once it was made; `None` in it if it can't be.
    probe: OnceLock<Option<Mutex<OwnedFd>>>,
}

impl<'a> Clamp<'a> {
    pub(super) fn new(directory: BorrowedFd<'a>) -> Self {
        Self { directory: Some(directory), probe: OnceLock::new() }
    }

    /// Doesn't ask, so that only equal times are the same.
    pub(super) fn exact() -> Self {
        Self { directory: None, probe: OnceLock::new() }
    }

    /// Whether a file that got the time `wanted` has the time `found` on this file system.
    pub(super) fn is_same(&self, wanted: Timestamp, found: Timestamp) -> bool {
        wanted == found || (may_be_clamped(wanted, found) && self.stored(wanted) == Some(found))
    }

    /// What the file system makes of a time. `None` if that can't be found out, for example on a read-only file system.
    fn stored(&self, time: Timestamp) -> Option<Timestamp> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || rustix::fs::openat(self.directory?, ".", flags, mode).ok().map(Mutex::new);
        let probe = self.probe.get_or_init(open).as_ref()?;
        let probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
        InodeHandle::Open(probe.as_fd()).set_times(time).ok()?;
        let stat = rustix::fs::fstat(&*probe).ok()?;
        let nanos = u32::try_from(stat.st_mtime_nsec).ok()?;
        Some(Timestamp { seconds: stat.st_mtime, nanos })
    }
}

/// Whether the difference may be one of range or of precision.
fn may_be_clamped(wanted: Timestamp, found: Timestamp) -> bool {
    let is_far = i32::try_from(wanted.seconds).is_err();
    // The coarsest clock in use is FAT's, which ticks every other second.
    let is_near = wanted.seconds.abs_diff(found.seconds) <= 2 && found.nanos.is_multiple_of(100);
    is_far || is_near
}
