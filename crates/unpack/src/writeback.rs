//! Writing to the disk that begins while files are still made, so that the end is short.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::syncfs;

/// How many bytes come together before the disk gets them.
const PIECE: u64 = 64 << 20;

/// A thread that brings a file system to the disk again and again.
#[derive(Debug)]
pub(crate) struct Writeback {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    pending: u64,
}

impl Writeback {
    /// Begins for the file system that a directory is on.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd().try_clone_to_owned()?;
        // One may be at work while another one is asked for.
        let (wake, woken) = sync_channel(0);
        let work = move || woken.iter().try_for_each(|()| Ok(syncfs(&directory)?));
        let thread = std::thread::Builder::new().spawn(work)?;
        Ok(Self { wake, thread, pending: 0 })
    }

    /// Takes note of bytes that were written.
    pub(crate) fn advance(&mut self, n_bytes: u64) {
        self.pending += n_bytes;
        if self.pending < PIECE {
            return;
        }
        match self.wake.try_send(()) {
            // It is at work, or has failed, which `finish` tells.
            Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            Ok(()) => self.pending = 0,
        }
    }

    /// Waits for what is under way.
    ///
    /// # Errors
    /// What couldn't be written; nobody else is told of that.
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
        // Nothing can be synced by such a descriptor.
        let unfit = openat(CWD, dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mut writeback = Writeback::start(&unfit).unwrap();
        writeback.advance(PIECE - 1);
        assert_eq!(writeback.pending, PIECE - 1);
        // Until the thread is there to be woken.
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
