//! Syncs the file system while files are still being written, so that the sync at the end is short.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::syncfs;

/// How many bytes are written before the next sync begins.
const PIECE: u64 = 64 << 20;

/// A thread that syncs a file system again and again.
#[derive(Debug)]
pub(crate) struct Writeback {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    pending: u64,
}

impl Writeback {
    /// Starts a thread for the file system that a directory is on.
    ///
    /// # Errors
    /// The system's, if no thread can be started.
    pub(crate) fn start(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd().try_clone_to_owned()?;
        // One may be at work while another one is asked for.
        let (wake, woken) = sync_channel(0);
        let work = move || woken.iter().try_for_each(|()| Ok(syncfs(&directory)?));
        let thread = std::thread::Builder::new().spawn(work)?;
        Ok(Self { wake, thread, pending: 0 })
    }

    /// Counts bytes that were written, and starts a sync if there are enough.
    pub(crate) fn advance(&mut self, n_bytes: u64) {
        self.pending += n_bytes;
        if self.pending < PIECE {
            return;
        }
        match self.wake.try_send(()) {
            // The thread is busy, or has failed, which `finish` reports.
            Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            Ok(()) => self.pending = 0,
        }
    }

    /// Waits for the sync that is under way.
    ///
    /// # Errors
    /// Those of writing to the disk, which the kernel reports only once.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.wake);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[test]
    fn a_failure_on_the_way_is_told_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        // An O_PATH descriptor can't be synced.
        let unfit = openat(CWD, dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mut writeback = Writeback::start(&unfit).unwrap();
        writeback.advance(PIECE - 1);
        assert_eq!(writeback.pending, PIECE - 1);
        // Waits until the thread has taken the first request.
        while writeback.pending > 0 {
            writeback.advance(1);
        }
        let error = writeback.finish().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
    }

    #[test]
    fn little_waits_for_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut writeback = Writeback::start(File::open(dir.path()).unwrap()).unwrap();
        writeback.advance(1);
        assert_eq!(writeback.pending, 1);
        writeback.finish().unwrap();
    }
}
