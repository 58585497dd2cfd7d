//! A blob between the worker that downloads it and the follower that sends it, or checks its diff id.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The state of one blob's download, shared by its worker and its follower.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The file that grows while the blob downloads, once there is one.
    pub(crate) file: Option<Arc<File>>,
    /// How many of its bytes may be wrong now and right in a second try: those that an earlier program left, or that came from
    /// a mirror which isn't asked any more.
    pub(crate) n_doubtful: u64,
    /// How many of its bytes are in the file.
    pub(crate) available: u64,
    /// Whether the follower has read any of them.
    is_sent: bool,
    /// Whether the blob is whole and its digest verified.
    pub(crate) is_whole: bool,
    /// Whether nothing more will come.
    pub(crate) is_stopped: bool,
    /// How many attempts to download it have failed.
    n_failed: u32,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, SlotState> {
        lock(&self.state)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut SlotState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Resets the slot for a second try, and returns whether there may be one: only if some bytes were doubtful, and none have
    /// been sent.
    pub(crate) fn take_back(&self) -> bool {
        let mut state = self.lock();
        let may_go = state.n_doubtful > 0 && !state.is_sent;
        if may_go {
            let SlotState { is_stopped, n_failed, .. } = *state;
            *state = SlotState { is_stopped, n_failed, ..SlotState::default() };
        }
        may_go
    }

    /// Ends the followers that check this attempt: the blob doesn't become whole in it.
    pub(crate) fn fail(&self) {
        self.update(|state| state.n_failed += 1);
    }
}

/// What a follower reads the blob for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// To be sent on.
    Stream,
    /// To be checked, in the attempt before which this many have failed.
    Check(u32),
}

/// Reads a blob while it grows. Its end comes only when the blob is whole and verified.
#[derive(Clone, Debug)]
pub(crate) struct Follower<'a> {
    slot: &'a Slot,
    position: u64,
    purpose: Purpose,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(slot: &'a Slot) -> Self {
        Self { slot, position: 0, purpose: Purpose::Stream }
    }

    /// A follower whose bytes are checked and not sent; it ends with this attempt.
    pub(crate) fn checking(slot: &'a Slot) -> Self {
        let purpose = Purpose::Check(slot.lock().n_failed);
        Self { slot, position: 0, purpose }
    }

    /// Whether no more bytes will come.
    fn is_over(&self, state: &SlotState) -> bool {
        let has_failed = matches!(self.purpose, Purpose::Check(n) if n != state.n_failed);
        state.is_whole || state.is_stopped || has_failed
    }
}

impl Follower<'_> {
    /// Sends the whole blob while it grows.
    pub(crate) fn send(mut self, output: &mut cli::Output) -> io::Result<()> {
        while let Some((file, part)) = self.wait()? {
            self.position = part.end;
            output.send(&file, part, &mut |_| ())?;
        }
        Ok(())
    }

    /// Waits for the next part of the file; `None` at the end of the blob.
    ///
    /// # Errors
    /// If the download stopped before the end.
    fn wait(&self) -> io::Result<Option<(Arc<File>, Range<u64>)>> {
        let mut state = self.slot.lock();
        while state.available <= self.position && !self.is_over(&state) {
            state = self.slot.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let part = self.position..state.available;
        if part.is_empty() && !state.is_whole {
            return Err(io::Error::other("the download stopped"));
        }
        let Some(file) = state.file.clone().filter(|_| !part.is_empty()) else { return Ok(None) };
        state.is_sent |= matches!(self.purpose, Purpose::Stream);
        Ok(Some((file, part)))
    }
}

impl Read for Follower<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((file, part)) = self.wait()? else { return Ok(0) };
        let left = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let n = file.read_at(&mut buffer[..most], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

/// Locks a mutex, also one that a thread held while it panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What is read of `abc`, or the error.
    fn read(mut follower: Follower<'_>) -> Result<String, String> {
        let mut text = String::new();
        follower.read_to_string(&mut text).map(|_| text).map_err(|error| error.to_string())
    }

    fn fill(slot: &Slot, is_whole: bool) {
        let sandbox = kit::Sandbox::new();
        let path = sandbox.path("blob");
        std::fs::write(&path, "abc").unwrap();
        let file = File::open(&path).unwrap();
        slot.update(|state| {
            state.file = Some(Arc::new(file));
            state.available = 3;
            state.n_doubtful = 3;
            state.is_whole = is_whole;
        });
    }

    #[test]
    fn who_checks_an_attempt_ends_with_it_and_who_sends_waits_for_the_next() {
        let stopped = || Err("the download stopped".to_owned());
        let slot = Slot::default();
        let (checking, sending) = (Follower::checking(&slot), Follower::new(&slot));
        thread::scope(|scope| {
            let checked = scope.spawn(|| read(checking));
            slot.fail();
            assert_eq!(checked.join().unwrap(), stopped());
            let again = Follower::checking(&slot);
            let checked = scope.spawn(|| read(again));
            let sent = scope.spawn(|| read(sending));
            fill(&slot, true);
            assert_eq!(checked.join().unwrap(), Ok("abc".to_owned()));
            assert_eq!(sent.join().unwrap(), Ok("abc".to_owned()));
        });
        let slot = Slot::default();
        slot.update(|state| state.is_stopped = true);
        assert_eq!(read(Follower::new(&slot)), stopped());
    }

    #[test]
    fn only_doubtful_bytes_that_nobody_was_sent_are_taken_back() {
        let slot = Slot::default();
        assert!(!slot.take_back(), "nothing is doubtful");
        fill(&slot, false);
        Follower::checking(&slot).read_exact(&mut [0; 3]).unwrap();
        slot.fail();
        assert!(slot.take_back());
        let state = slot.lock();
        assert_eq!((state.available, state.n_doubtful, state.n_failed), (0, 0, 1));
        drop(state);
        fill(&slot, false);
        Follower::new(&slot).read_exact(&mut [0; 1]).unwrap();
        assert!(!slot.take_back(), "one was sent");
    }
}
