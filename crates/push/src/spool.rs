//! A large blob of a stream, on its way through an unlinked file, so that a part which a registry loses or refuses can be sent
//! again.
//!
//! ```text
//! pipe ──► fill ──► file ──► Share (one for each registry) ──► upload, from any offset, as often as necessary
//! ```
//!
//! Readers wait for bytes that have not come yet. If the disk is full, the file begins anew as soon as all readers have read
//! what it holds; from then on an upload that has to go back fails.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cli::Meter;
use registry::Content;

/// How many bytes are read from the pipe at a time.
const PIECE: u64 = 1 << 20;
/// How often a waiting thread looks whether the user has interrupted the program.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A blob that is written to a file and read from it at the same time; threads share it.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The part of the blob, in bytes, that the file holds and that may be read.
    range: Range<u64>,
    /// The position of each reader in the blob; `u64::MAX` once it needs no more.
    positions: Vec<u64>,
    /// The readers that begin only when another one is done: nothing waits for them.
    queued: BTreeSet<usize>,
    /// Whether the pipe failed, so that no more bytes will come.
    is_broken: bool,
    /// Whether an upload of it has failed.
    has_failed: bool,
}

impl State {
    /// Whether a reader that has begun is before this position.
    fn is_behind(&self, end: u64) -> bool {
        let mut begun =
            self.positions.iter().enumerate().filter(|(number, _)| !self.queued.contains(number));
        begun.any(|(_, &position)| position < end)
    }
}

/// One registry's share in a blob.
#[derive(Debug)]
pub(crate) struct Share {
    spool: Arc<Spool>,
    number: usize,
    meter: Meter,
}

impl Spool {
    /// A blob of `size` bytes, for `n_readers` readers.
    pub(crate) fn new(file: File, size: u64, n_readers: usize) -> Arc<Self> {
        let positions = vec![0; n_readers];
        let queued = BTreeSet::new();
        let state = State { range: 0..0, positions, queued, is_broken: false, has_failed: false };
        Arc::new(Self { file, size, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// A blob that is in memory, written to a file, for one reader.
    pub(crate) fn whole(file: File, bytes: &[u8]) -> io::Result<Arc<Self>> {
        file.write_all_at(bytes, 0)?;
        let spool = Self::new(file, bytes.len() as u64, 1);
        spool.publish(spool.size);
        Ok(spool)
    }

    /// Marks a reader as one that begins after another one, if at all.
    pub(crate) fn queue(&self, number: usize) {
        self.lock().queued.insert(number);
    }

    /// Whether all of the blob has come.
    pub(crate) fn has_come(&self) -> bool {
        self.lock().range.end == self.size
    }

    /// The content of an upload by reader `number`, whose bytes `meter` counts.
    pub(crate) fn share(self: &Arc<Self>, number: usize, meter: Meter) -> Arc<dyn Content> {
        self.lock().queued.remove(&number);
        Arc::new(Share { spool: Arc::clone(self), number, meter })
    }

    /// Reads the blob from `content` to its end, or until an upload has failed and no reader needs more. Its last bytes can be
    /// read only when `content` has ended without an error, which is where its digest is verified. If the disk is full,
    /// `make_room` is called, and returns whether there may be room now.
    ///
    /// # Errors
    /// Those of `content`, of the disk and of `make_room`; the readers' reads fail from then on.
    pub(crate) fn fill(
        &self,
        content: &mut impl Read,
        make_room: &impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        let filled = self.take(content, make_room);
        if filled.is_err() {
            self.lock().is_broken = true;
            self.changed.notify_all();
        }
        filled
    }

    fn take(
        &self,
        content: &mut impl Read,
        make_room: &impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut written = 0;
        let mut piece = Vec::new();
        loop {
            cli::interrupt::check()?;
            if self.is_of_no_use() {
                return Ok(());
            }
            piece.clear();
            content.by_ref().take(PIECE).read_to_end(&mut piece)?;
            self.publish(written);
            if piece.is_empty() {
                return Ok(());
            }
            if self.is_wanted() {
                self.write(&piece, written, make_room)?;
            }
            written += piece.len() as u64;
        }
    }

    fn write(
        &self,
        piece: &[u8],
        at: u64,
        make_room: &impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        let start = self.lock().range.start;
        let Err(error) = self.file.write_all_at(piece, at - start) else { return Ok(()) };
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Err(error);
        }
        if make_room()? {
            return self.write(piece, at, make_room);
        }
        if at == start {
            return Err(error);
        }
        self.wait_until_read(at)?;
        self.file.set_len(0)?;
        self.lock().range.start = at;
        self.file.write_all_at(piece, 0)
    }

    /// Lets readers read up to this position.
    fn publish(&self, end: u64) {
        self.lock().range.end = end;
        self.changed.notify_all();
    }

    /// Whether a reader needs more.
    fn is_wanted(&self) -> bool {
        self.lock().positions.iter().any(|&position| position < u64::MAX)
    }

    /// Whether no reader needs the rest, and it needn't be verified either.
    fn is_of_no_use(&self) -> bool {
        let state = self.lock();
        state.has_failed && state.positions.iter().all(|&position| position == u64::MAX)
    }

    fn wait_until_read(&self, end: u64) -> io::Result<()> {
        let mut state = self.lock();
        while state.is_behind(end) {
            cli::interrupt::check()?;
            state = self.wait(state);
        }
        Ok(())
    }

    /// Marks a reader as one that needs no more.
    pub(crate) fn leave(&self, number: usize) {
        self.lock().positions[number] = u64::MAX;
        self.changed.notify_all();
    }

    /// Notes that an upload has failed.
    pub(crate) fn fail(&self) {
        self.lock().has_failed = true;
    }

    /// Reads at a position, waiting until it has come.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`], if it will never come; [`io::ErrorKind::NotSeekable`], if it is gone from the file.
    fn read_at(&self, number: usize, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.lock();
        while position >= state.range.end {
            if state.is_broken || state.positions[number] == u64::MAX {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            cli::interrupt::check()?;
            state = self.wait(state);
        }
        let at = position.checked_sub(state.range.start);
        let at = at.ok_or_else(|| io::Error::from(io::ErrorKind::NotSeekable))?;
        let n = usize::try_from(state.range.end - position).unwrap_or(usize::MAX).min(buffer.len());
        drop(state);
        let n = self.file.read_at(&mut buffer[..n], at)?;
        let mut state = self.lock();
        let reached = position + n as u64;
        state.positions[number] = state.positions[number].max(reached);
        self.changed.notify_all();
        Ok(n)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, POLL_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Content for Share {
    fn range(&self) -> Range<u64> {
        self.spool.lock().range.start..self.spool.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let (spool, number) = (Arc::clone(&self.spool), self.number);
        Ok(Box::new(self.meter.read_from(offset, Reader { spool, number, position: offset })))
    }
}

/// A reader of a share, from a position on.
struct Reader {
    spool: Arc<Spool>,
    number: usize,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.spool.read_at(self.number, self.position, buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn read_all(spool: &Arc<Spool>, number: usize, from: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        let mut reader = Reader { spool: Arc::clone(spool), number, position: from };
        reader.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Bytes, and then the end or an error.
    struct Pipe<'a>(&'a [u8], bool);

    impl Read for Pipe<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 if self.1 => Err(io::Error::other("damaged")),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn readers_have_all_of_it_while_it_comes_and_once_more() {
        let bytes: Vec<u8> =
            (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let spool = Spool::new(tempfile::tempfile().unwrap(), bytes.len() as u64, 2);
        thread::scope(|scope| {
            let first = scope.spawn(|| read_all(&spool, 0, 0).unwrap());
            let second = scope.spawn(|| read_all(&spool, 1, 1_500_000).unwrap());
            spool.fill(&mut &bytes[..], &|| Ok(false)).unwrap();
            assert!(first.join().unwrap() == bytes && second.join().unwrap() == bytes[1_500_000..]);
        });
        assert!(read_all(&spool, 0, 0).unwrap() == bytes);
    }

    #[test]
    fn the_last_bytes_of_what_is_damaged_are_never_read() {
        let bytes = vec![7; 2_500_000];
        let spool = Spool::new(tempfile::tempfile().unwrap(), bytes.len() as u64, 1);
        assert!(spool.fill(&mut Pipe(&bytes, true), &|| Ok(false)).is_err());
        let mut some = vec![0; 3_000_000];
        let mut reader = Reader { spool: Arc::clone(&spool), number: 0, position: 0 };
        let mut n_read = 0;
        let end = loop {
            match reader.read(&mut some) {
                Ok(n) => n_read += n,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!((end, n_read), (io::ErrorKind::UnexpectedEof, 1 << 20));
    }

    #[test]
    fn who_has_left_waits_for_nothing() {
        let spool = Spool::new(tempfile::tempfile().unwrap(), 10, 1);
        spool.leave(0);
        assert!(read_all(&spool, 0, 0).is_err());
        assert!(!spool.is_wanted());
    }
}
