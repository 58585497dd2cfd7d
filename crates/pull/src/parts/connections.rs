//! The connections: threads that bring one part after the other.

use std::io::{self, BufRead as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use report::{ErrorKind, HasKind as _};

use super::pace::STARVING;
use super::state::{Claim, End, PIECE, SMALLEST, Server, State};
use crate::blob::Blob;
use crate::slot::lock;

/// How many bytes all parts under way have together.
const WINDOW: u64 = 24 << 20;
/// The largest part, in bytes.
pub(super) const LARGEST: u64 = 4 << 20;
/// Smaller blobs, in bytes, come by one connection.
const LARGE: u64 = 8 << 20;
/// How long the first part of a blob may be the only one that is asked for. On a quick line it is there by then, and eight
/// connections needn't be opened to find that out.
const SOON: Duration = Duration::from_millis(20);
/// How often a reader that waits looks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The parts of all blobs that are read in parts; threads share it.
#[derive(Debug)]
pub(crate) struct Parts {
    /// How many connections there are; 0 if all blobs come whole.
    pub(super) connections: u8,
    /// The size of the largest part, in bytes.
    pub(super) largest: u64,
    /// How many blobs are read at once.
    pub(super) readers: usize,
    /// How many connections have begun their work.
    n_started: AtomicU8,
    pub(super) state: Mutex<State>,
    /// There is something for a reader. Pieces come by the thousand, so they must not wake connections.
    arrived: Condvar,
    /// There may be something for a connection.
    pub(super) wanted: Condvar,
}

/// Whether a blob, or the rest of one, is worth several connections.
pub(super) fn is_large(n_bytes: u64) -> bool {
    n_bytes > LARGE
}

impl Parts {
    /// For these blobs, of which so many are read at once. If none is large, there is nothing to be done.
    pub(crate) fn new(connections: u8, blobs: &[Blob], readers: usize) -> Self {
        let is_needed = connections > 1 && blobs.iter().any(|it| is_large(it.descriptor.size));
        Self {
            connections: if is_needed { connections } else { 0 },
            largest: (WINDOW / u64::from(connections.max(1))).clamp(SMALLEST, LARGEST),
            readers,
            n_started: AtomicU8::new(0),
            state: Mutex::default(),
            arrived: Condvar::new(),
            wanted: Condvar::new(),
        }
    }

    /// How many threads are to do the work: one for each connection.
    pub(crate) fn n_threads(&self) -> usize {
        self.connections.into()
    }

    /// The work of one connection: one part after the other, until nothing more is wanted.
    pub(crate) fn work(&self) {
        let lane = self.n_started.fetch_add(1, Ordering::Relaxed) + 1;
        while let Some(claim) = self.claim() {
            let end = self.bring(&claim, lane);
            self.update(|state| state.end(&claim, end));
            self.arrived.notify_all();
            self.wanted.notify_all();
        }
    }

    /// Waits for a part that is wanted; `None` at the end.
    fn claim(&self) -> Option<Claim> {
        let mut state = lock(&self.state);
        while !state.is_over {
            if let Some(claim) = state.claim(self.connections.into(), self.largest, self.readers) {
                return Some(claim);
            }
            state = self.wait(state);
        }
        None
    }

    /// Waits until there may be something for a connection: a part may starve as well, if one is under way.
    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        if state.under_way.is_empty() {
            return self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.wanted.wait_timeout(state, STARVING).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Brings a part, piece by piece.
    fn bring(&self, claim: &Claim, lane: u8) -> anyhow::Result<End> {
        let Claim { position, range, is_first, .. } = claim;
        let Blob { descriptor, repository, .. } = &claim.blob;
        if claim.is_rest {
            return Ok(End::Rest(Box::new(repository.blob(descriptor, range.start)?)));
        }
        let asked = Instant::now();
        let mut request =
            match repository.blob_part(descriptor, range.clone(), lane, &claim.given_up) {
                // A server that knows no parts may say so in many ways.
                Err(error) if *is_first && may_be_about_parts(&error) => {
                    return Ok(End::Rest(Box::new(repository.blob(descriptor, range.start)?)));
                }
                request => request?,
            };
        if !request.is_part() && range.end < descriptor.size {
            return Ok(End::Rest(Box::new(request)));
        }
        let begun = Instant::now();
        self.update(|state| {
            if let Some(arrival) = state.arrival(claim) {
                (arrival.begun, arrival.last) = (Some(begun), begun);
            }
        });
        let mut is_awaited = *is_first;
        while request.offset() < range.end {
            let mut piece = lock(&self.state).buffers.pop().unwrap_or_default();
            piece.clear();
            while piece.len() < PIECE && request.offset() < range.end {
                let left = usize::try_from(range.end - request.offset())?;
                let chunk = request.fill_buf()?;
                let n = chunk.len().min(left).min(PIECE - piece.len());
                piece.extend_from_slice(&chunk[..n]);
                request.consume(n);
                // What is soon there tells first how many connections are needed.
                if is_awaited && asked.elapsed() > SOON {
                    self.gives_parts(*position);
                    is_awaited = false;
                }
            }
            if !self.push(claim, piece) {
                return Err(stopped().into());
            }
        }
        let took = begun.elapsed();
        self.update(|state| {
            state.note(range.end - range.start, took);
            state.weigh(begun - asked, took, self.connections, self.readers);
        });
        if is_awaited {
            self.gives_parts(*position);
        }
        if request.is_part() || range.end == descriptor.size {
            // At the end of its answer a connection can be used again.
            request.fill_buf()?;
        } else {
            // It gave the whole this time.
            request.hang_up();
        }
        Ok(End::Whole(Box::new(request)))
    }

    /// Lets other connections work on a blob, whose server gives parts.
    fn gives_parts(&self, position: usize) {
        self.update(|state| {
            state.blobs.entry(position).and_modify(|it| it.server = Server::GivesParts);
        });
        self.wanted.notify_all();
    }

    /// Reads the rest of a blob in parts again, unless its server gives none, since one connection is not enough any more.
    pub(super) fn resume(&self, position: usize, offset: u64) -> bool {
        let mut is_resumed = false;
        self.update(|state| {
            let divided = state.blobs.get_mut(&position);
            if let Some(it) = divided.filter(|it| it.server != Server::Asked && !state.are_dear) {
                it.next = offset;
                state.has_slowed_down = true;
                is_resumed = true;
            }
        });
        self.wanted.notify_all();
        is_resumed
    }

    /// Hands a piece to the reader; `false` if nobody wants it any more.
    fn push(&self, claim: &Claim, piece: Vec<u8>) -> bool {
        let mut is_wanted = false;
        self.update(|state| {
            let is_over = state.is_over;
            if let Some(arrival) = state.arrival(claim).filter(|_| !is_over) {
                arrival.last = Instant::now();
                arrival.n_bytes += piece.len() as u64;
                arrival.pieces.push_back(piece);
                is_wanted = true;
            }
        });
        self.arrived.notify_all();
        is_wanted
    }

    /// Waits for what comes next of the part of a blob that begins at `start`.
    pub(super) fn take(&self, position: usize, start: u64) -> anyhow::Result<Taken> {
        let mut state = lock(&self.state);
        loop {
            if let Some(arrival) = state.part(position, start) {
                if let Some(piece) = arrival.pieces.pop_front() {
                    return Ok(Taken::Piece(piece));
                }
                if let Some(end) = arrival.end.take() {
                    state.remove(position, start);
                    self.wanted.notify_one();
                    return end.map(Taken::End);
                }
            }
            if state.is_over {
                return Err(stopped().into());
            }
            cli::interrupt::check()?;
            let waited = self.arrived.wait_timeout(state, POLL_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives up what is under way of a blob, whose reader has gone.
    pub(super) fn leave(&self, position: usize) {
        self.update(|state| {
            let parts = state.blobs.remove(&position).map(|it| it.parts).unwrap_or_default();
            state.give_up(&parts);
        });
        self.wanted.notify_all();
    }

    /// Ends all connections and readers.
    pub(crate) fn end(&self) {
        self.update(|state| {
            state.is_over = true;
            state.under_way.values().for_each(|it| it.store(true, Ordering::Relaxed));
        });
        self.arrived.notify_all();
        self.wanted.notify_all();
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }
}

/// What a reader gets next.
#[derive(Debug)]
pub(super) enum Taken {
    Piece(Vec<u8>),
    End(End),
}

/// Whether a server may have refused a part because it gives none.
fn may_be_about_parts(error: &registry::Error) -> bool {
    match error {
        registry::Error::Refused { status, .. } => (400..500).contains(status) && *status != 429,
        error => error.kind() == ErrorKind::Untrusted,
    }
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the download stopped")
}

/// Ends the work when it goes out of scope, so that nobody waits for threads that wait for work.
#[derive(Debug)]
pub(crate) struct EndsWork<'a>(pub(crate) &'a Parts);

impl Drop for EndsWork<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
