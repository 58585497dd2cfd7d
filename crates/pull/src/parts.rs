//! Large blobs in parts: several connections at once work on the blob that is wanted first, then on the next.
//!
//! ```text
//! registry ──┬─► connection ──► part in memory ──┐
//!            ├─► connection ──► part in memory ──┼─► reader, in the blob's order
//!            └─► connection ──► part in memory ──┘
//! ```
//!
//! Registries and their storage limit what one connection brings, and on a long line so does the round trip. A fixed number of
//! parts is in memory, most of them of the first blob that is read, and a reader gets each piece of the part that it is at when
//! it comes. A part is as large as what a connection brings in a second: on a slow line, what an interruption loses is little. A
//! part that breaks or stalls is asked for again by itself. A server that gives no parts gives the whole blob, by one connection.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use report::{ErrorKind, HasKind as _};

use crate::blob::Blob;
use crate::slot::lock;

/// How many bytes all parts under way have together.
const WINDOW: u64 = 24 << 20;
/// The largest part and the smallest one, in bytes. A part costs a round trip or, where storage is elsewhere, two.
const LARGEST: u64 = 4 << 20;
const SMALLEST: u64 = 256 << 10;
/// The size of a piece of a part, in bytes.
const PIECE: usize = 128 << 10;
/// Smaller blobs, in bytes, come by one connection.
const LARGE: u64 = 8 << 20;
/// What all connections together shall bring in a second, in bytes, if they can: more than anybody unpacks in that time. Of
/// connections that are quick, fewer are used. If one is enough, its reader reads it without parts in between, for a part costs
/// a request (10 ms at distribution's registry) and a copy.
const ENOUGH: u64 = 300 << 20;
/// One connection that brings less in a second, in bytes, is not enough any more.
const TOO_LITTLE: u64 = ENOUGH / 4;
/// How many bytes tell how quick one connection is.
const TRIAL: u64 = 4 << 20;
/// How long the first part of a blob may be the only one that is asked for. On a quick line it is there by then, and eight
/// connections needn't be opened to find that out.
const SOON: Duration = Duration::from_millis(20);
/// After how many parts of each connection it is judged whether they pay.
const WEIGHED: usize = 2;
/// How many times as much the readers' own connections would bring where a part doesn't pay.
const DEAR: u32 = 2;
/// How many parts there may be in memory beside those under way.
const SPARE: usize = 2;
/// How often a reader that waits looks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The parts of all blobs that are read in parts; threads share it.
#[derive(Debug)]
pub(crate) struct Parts {
    /// How many connections there are; 0 if all blobs come whole.
    connections: u8,
    /// The size of the largest part, in bytes.
    largest: u64,
    /// How many blobs are read at once.
    readers: usize,
    /// How many connections have begun their work.
    n_started: AtomicU8,
    state: Mutex<State>,
    /// There is something for a reader. Pieces come by the thousand, so they must not wake connections.
    arrived: Condvar,
    /// There may be something for a connection.
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The blobs that are being read, by their position in the stream.
    blobs: BTreeMap<usize, Divided>,
    /// How many parts are in memory or under way.
    n_parts: usize,
    /// How many of them are under way.
    n_active: usize,
    /// What a connection brings in a second, in bytes; 0 if nothing has come yet.
    rate: u64,
    /// Whether one connection was quick at first and then wasn't: some servers let only the beginning of an answer be quick.
    has_slowed_down: bool,
    /// How many parts were weighed since it was judged whether they pay, and how many of them didn't.
    n_weighed: usize,
    n_dear: usize,
    /// Whether parts don't pay: then each blob that is read has one connection, to its end.
    are_dear: bool,
    /// Buffers of pieces, to be used again.
    buffers: Vec<Vec<u8>>,
    /// Whether nothing more is wanted.
    is_over: bool,
}

/// A blob that is read in parts.
#[derive(Debug)]
struct Divided {
    blob: Blob,
    /// The beginning of the next part that nobody has asked for.
    next: u64,
    server: Server,
    /// The parts that were asked for and not yet read, by their beginnings.
    parts: BTreeMap<u64, Arrival>,
}

/// A part that comes, or has come.
#[derive(Debug, Default)]
struct Arrival {
    /// The bytes that weren't read yet.
    pieces: VecDeque<Vec<u8>>,
    /// How it ended, once it has.
    end: Option<anyhow::Result<End>>,
}

/// What is known of the server that has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Nothing: it was asked for no part yet.
    Unasked,
    /// The first part was asked for.
    Asked,
    /// It gives parts.
    GivesParts,
}

/// The end of a part.
#[derive(Debug)]
enum End {
    /// All its bytes have come, by this request.
    Whole(Box<registry::Blob>),
    /// No byte has come: the request is for all from its beginning to the end of the blob. The server gives no parts, or one
    /// connection is enough.
    Rest(Box<registry::Blob>),
}

/// A part that is to be asked for.
#[derive(Debug)]
struct Claim {
    position: usize,
    blob: Blob,
    range: Range<u64>,
    is_first: bool,
    /// Whether the reader is to read it from the connection.
    is_rest: bool,
}

/// Whether a blob, or the rest of one, is worth several connections.
pub(crate) fn is_large(n_bytes: u64) -> bool {
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

    /// Reads the rest of a blob from `start`: in parts if it is large.
    pub(crate) fn open(
        &self,
        position: usize,
        blob: &Blob,
        start: u64,
    ) -> Result<Content<'_>, registry::Error> {
        if self.connections == 0 || !is_large(blob.descriptor.size.saturating_sub(start)) {
            let whole = blob.repository.blob(&blob.descriptor, start)?;
            return Ok(Content::Whole(Box::new(whole)));
        }
        let divided = Divided {
            blob: blob.clone(),
            next: start,
            server: Server::Unasked,
            parts: BTreeMap::new(),
        };
        self.update(|state| drop(state.blobs.insert(position, divided)));
        self.wanted.notify_all();
        Ok(Content::Parts(Reader {
            parts: self,
            position,
            offset: start,
            end: blob.descriptor.size,
            start,
            piece: Vec::new(),
            taken: 0,
            rest: None,
            requests: vec![],
        }))
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
            state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Brings a part, piece by piece.
    fn bring(&self, claim: &Claim, lane: u8) -> anyhow::Result<End> {
        let Claim { position, range, is_first, .. } = claim;
        let Blob { descriptor, repository, .. } = &claim.blob;
        if claim.is_rest {
            return Ok(End::Rest(Box::new(repository.blob(descriptor, range.start)?)));
        }
        let asked = Instant::now();
        let mut request = match repository.blob_part(descriptor, range.clone(), lane) {
            // A server that knows no parts may say so in many ways.
            Err(error) if *is_first && may_be_about_parts(&error) => {
                return Ok(End::Rest(Box::new(repository.blob(descriptor, range.start)?)));
            }
            request => request?,
        };
        if *is_first && !request.is_part() {
            return Ok(End::Rest(Box::new(request)));
        }
        let begun = Instant::now();
        let mut is_awaited = *is_first;
        while request.offset() < range.end {
            // What is soon there tells first how many connections are needed.
            if is_awaited && asked.elapsed() > SOON {
                self.gives_parts(*position);
                is_awaited = false;
            }
            let mut piece = lock(&self.state).buffers.pop().unwrap_or_default();
            piece.clear();
            while piece.len() < PIECE && request.offset() < range.end {
                let left = usize::try_from(range.end - request.offset())?;
                let chunk = request.fill_buf()?;
                let n = chunk.len().min(left).min(PIECE - piece.len());
                piece.extend_from_slice(&chunk[..n]);
                request.consume(n);
            }
            if !self.push(*position, range.start, piece) {
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
    fn resume(&self, position: usize, offset: u64) -> bool {
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
    fn push(&self, position: usize, start: u64, piece: Vec<u8>) -> bool {
        let mut is_wanted = false;
        self.update(|state| {
            let is_over = state.is_over;
            if let Some(arrival) = state.arrival(position, start).filter(|_| !is_over) {
                arrival.pieces.push_back(piece);
                is_wanted = true;
            }
        });
        self.arrived.notify_all();
        is_wanted
    }

    /// Waits for what comes next of the part of a blob that begins at `start`.
    fn take(&self, position: usize, start: u64) -> anyhow::Result<Taken> {
        let mut state = lock(&self.state);
        loop {
            if let Some(arrival) = state.arrival(position, start) {
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

    /// Ends all connections and readers.
    pub(crate) fn end(&self) {
        self.update(|state| state.is_over = true);
        self.arrived.notify_all();
        self.wanted.notify_all();
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }
}

impl State {
    /// Takes into account that a connection has brought so many bytes in this time.
    fn note(&mut self, n_bytes: u64, time: Duration) {
        let rate = per_second(n_bytes, time);
        // A part may be slow by chance.
        self.rate = if self.rate == 0 { rate } else { self.rate / 4 * 3 + rate / 4 };
    }

    /// How many blobs are read now, of so many that may be at once.
    fn n_read(&self, readers: usize) -> usize {
        readers.min(self.blobs.len())
    }

    /// Takes into account how long the answer to a part was waited for, and how long its bytes then took. A part doesn't pay if one
    /// connection for each reader, which waits once, would bring far more in that time. Where many don't, requests wait for a
    /// server that has too much to do, and more of them make it worse for all.
    fn weigh(&mut self, waited: Duration, took: Duration, connections: u8, readers: usize) {
        let n_read = u8::try_from(self.n_read(readers)).unwrap_or(u8::MAX).max(1);
        let gain = u32::from(connections.div_ceil(n_read));
        self.n_weighed += 1;
        self.n_dear += usize::from(waited > took.saturating_mul(DEAR * gain));
        if self.n_weighed == WEIGHED * usize::from(connections) {
            self.are_dear |= self.n_dear > self.n_weighed / 3;
            (self.n_weighed, self.n_dear) = (0, 0);
        }
    }

    /// The next part to be asked for: of the first blob as many as there is room for, of the others not so many that the first
    /// would have to wait for them. Where as many connections are enough as blobs are read at once, each blob has one.
    fn claim(&mut self, connections: usize, largest: u64, readers: usize) -> Option<Claim> {
        let n_read = self.n_read(readers);
        let (connections, is_rest) = if self.are_dear {
            (n_read, true)
        } else if self.has_slowed_down {
            (connections, false)
        } else {
            (needed(self.rate, connections), needed(self.rate, usize::MAX) <= n_read)
        };
        if self.n_active >= connections {
            return None;
        }
        let room = connections + SPARE;
        for (n_before, (&position, divided)) in self.blobs.iter_mut().enumerate() {
            let room = if n_before == 0 { room } else { room - connections.div_ceil(2) };
            if self.n_parts >= room {
                return None;
            }
            let size = divided.blob.descriptor.size;
            if divided.server == Server::Asked || divided.next == size {
                continue;
            }
            let is_first = divided.server == Server::Unasked && !is_rest;
            if is_first {
                divided.server = Server::Asked;
            }
            let part = if is_rest { size } else { self.rate.clamp(SMALLEST, largest) };
            let range = divided.next..size.min(divided.next + part);
            divided.next = range.end;
            divided.parts.insert(range.start, Arrival::default());
            self.n_parts += 1;
            self.n_active += 1;
            return Some(Claim { position, blob: divided.blob.clone(), range, is_first, is_rest });
        }
        None
    }

    /// Takes note of how a part ended.
    fn end(&mut self, claim: &Claim, end: anyhow::Result<End>) {
        self.n_active -= 1;
        match self.arrival(claim.position, claim.range.start) {
            Some(arrival) => arrival.end = Some(end),
            // Its reader has gone.
            None => self.n_parts -= 1,
        }
    }

    /// A part that was asked for and not yet read.
    fn arrival(&mut self, position: usize, start: u64) -> Option<&mut Arrival> {
        self.blobs.get_mut(&position)?.parts.get_mut(&start)
    }

    /// Makes room for another part, in the place of one that was read.
    fn remove(&mut self, position: usize, start: u64) {
        if let Some(divided) = self.blobs.get_mut(&position) {
            divided.parts.remove(&start);
        }
        self.n_parts -= 1;
    }
}

/// What a reader gets next.
#[derive(Debug)]
enum Taken {
    Piece(Vec<u8>),
    End(End),
}

/// How many connections of this rate bring enough, of those that there are.
fn needed(rate: u64, connections: usize) -> usize {
    let needed = ENOUGH.checked_div(rate).and_then(|n| usize::try_from(n + 1).ok());
    needed.map_or(connections, |needed| needed.min(connections))
}

/// What a connection brings in a second that has brought so many bytes in this time.
fn per_second(n_bytes: u64, time: Duration) -> u64 {
    let per_second = u128::from(n_bytes) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// Whether a server may have refused a part because it gives none.
fn may_be_about_parts(error: &registry::Error) -> bool {
    match error {
        registry::Error::Refused { status, .. } => (400..500).contains(status) && *status != 429,
        error => error.kind() == ErrorKind::Untrusted,
    }
}

fn stopped() -> io::Error {
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

/// A blob's bytes, however they come.
#[derive(Debug)]
pub(crate) enum Content<'p> {
    /// By one connection, on the thread of the reader.
    Whole(Box<registry::Blob>),
    /// In parts.
    Parts(Reader<'p>),
}

impl Content<'_> {
    /// Notes that the bytes have another digest; whether reading them anew may give others ([`registry::Blob::distrust`]).
    pub(crate) fn distrust(&self) -> bool {
        match self {
            Self::Whole(blob) => blob.distrust(),
            Self::Parts(reader) => {
                // Each is asked, because each may have had another mirror.
                let rest = reader.rest.iter().map(|rest| &*rest.request);
                let requests = reader.requests.iter().chain(rest);
                requests.filter(|request| request.distrust()).count() > 0
            }
        }
    }
}

/// A reader of a blob in parts.
#[derive(Debug)]
pub(crate) struct Reader<'p> {
    parts: &'p Parts,
    position: usize,
    offset: u64,
    end: u64,
    /// The beginning of the part that is read.
    start: u64,
    piece: Vec<u8>,
    /// How many bytes of the piece were read.
    taken: usize,
    /// The rest of the blob, where it comes whole.
    rest: Option<Rest>,
    /// The requests by which the bytes came.
    requests: Vec<registry::Blob>,
}

/// The rest of a blob, by one connection.
#[derive(Debug)]
struct Rest {
    request: Box<registry::Blob>,
    trial: Trial,
}

/// What a connection has brought since it was judged.
#[derive(Debug, Default)]
struct Trial {
    n_bytes: u64,
    /// How long the bytes were waited for. What the reader does meanwhile doesn't count.
    waited: Duration,
}

impl Trial {
    /// What the connection brings in a second, in bytes, once that can be told; then it is judged anew.
    fn rate(&mut self) -> Option<u64> {
        if self.n_bytes < TRIAL {
            return None;
        }
        let rate = per_second(self.n_bytes, self.waited);
        *self = Self::default();
        Some(rate)
    }
}

impl Reader<'_> {
    /// Waits until bytes are at hand, or there are no more.
    fn next(&mut self) -> io::Result<()> {
        if let Some(mut rest) = self.rest.take() {
            let is_too_slow = rest.trial.rate().is_some_and(|rate| {
                rate < TOO_LITTLE && self.parts.resume(self.position, self.offset)
            });
            if is_too_slow {
                rest.request.hang_up();
                self.requests.push(*rest.request);
                self.start = self.offset;
            } else {
                let begun = Instant::now();
                let filled = rest.request.fill_buf().map(drop);
                rest.trial.waited += begun.elapsed();
                self.rest = Some(rest);
                filled?;
            }
        }
        while self.rest.is_none() && self.taken == self.piece.len() && self.offset < self.end {
            match self.parts.take(self.position, self.start).map_err(io_error)? {
                Taken::Piece(piece) => {
                    let read = std::mem::replace(&mut self.piece, piece);
                    lock(&self.parts.state).buffers.push(read);
                    self.taken = 0;
                }
                Taken::End(End::Whole(request)) => {
                    self.requests.push(*request);
                    self.start = self.offset;
                }
                Taken::End(End::Rest(request)) => {
                    self.rest = Some(Rest { request, trial: Trial::default() });
                }
            }
        }
        Ok(())
    }
}

/// An error as it passes through readers: one of the registry's is found in it again.
fn io_error(error: anyhow::Error) -> io::Error {
    error.downcast::<io::Error>().unwrap_or_else(|error| {
        error.downcast::<registry::Error>().map_or_else(io::Error::other, io::Error::from)
    })
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.parts.update(|state| {
            let left = state.blobs.remove(&self.position).map(|it| it.parts).unwrap_or_default();
            // Those under way are counted by who brings them.
            state.n_parts -= left.values().filter(|arrival| arrival.end.is_some()).count();
        });
        self.parts.wanted.notify_all();
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.next()?;
        match &mut self.rest {
            Some(rest) => rest.request.fill_buf(),
            None => Ok(&self.piece[self.taken..]),
        }
    }

    fn consume(&mut self, n: usize) {
        self.offset += n as u64;
        match &mut self.rest {
            Some(rest) => {
                rest.trial.n_bytes += n as u64;
                rest.request.consume(n);
            }
            None => self.taken += n,
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Content<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Whole(blob) => blob.fill_buf(),
            Self::Parts(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Self::Whole(blob) => blob.consume(n),
            Self::Parts(reader) => reader.consume(n),
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use layer_format::{Descriptor, Digest};
    use registry::{Client, Options};

    use super::*;

    /// The parts of a blob of so many bytes, at its beginning, of a registry that is never asked.
    fn of_blob(size: u64, server: Server) -> Parts {
        of_blobs(1, size, server)
    }

    /// The same of several blobs, three of which are read at once.
    fn of_blobs(n: usize, size: u64, server: Server) -> Parts {
        let client = Client::new(Options::default()).unwrap();
        let blob = Blob {
            descriptor: Descriptor::new("", Digest::of(b""), size),
            repository: client.repository(&"localhost:1/app".parse().unwrap()).unwrap(),
            diff_ids: [].into(),
        };
        let parts = Parts::new(8, std::slice::from_ref(&blob), 3);
        parts.update(|state| {
            let divided =
                || Divided { blob: blob.clone(), next: 0, server, parts: BTreeMap::new() };
            state.blobs.extend((0..n).map(|position| (position, divided())));
        });
        parts
    }

    /// The next part of it, and whether it is all that is left; `None` if none is to be asked for.
    fn claim(parts: &Parts) -> Option<(Range<u64>, bool)> {
        let claim = lock(&parts.state).claim(8, LARGEST, parts.readers)?;
        Some((claim.range, claim.is_rest))
    }

    #[test]
    fn parts_under_way_take_about_as_much_memory_whatever_their_number() {
        let largest = |connections| Parts::new(connections, &[], 1).largest;
        assert_eq!([1, 2, 8, 12, 64].map(largest), [4 << 20, 4 << 20, 3 << 20, 2 << 20, 384 << 10]);
    }

    #[test]
    fn the_rate_is_what_comes_in_a_second() {
        assert_eq!(per_second(1 << 20, Duration::from_millis(500)), 2 << 20);
        assert_eq!(per_second(1 << 20, Duration::from_secs(8)), 128 << 10);
        assert_eq!(per_second(1 << 20, Duration::ZERO), 1_000_000 << 20);
        let mut state = State::default();
        state.note(4 << 20, Duration::from_secs(1));
        state.note(8 << 20, Duration::from_secs(1));
        assert_eq!(state.rate, 5 << 20);
    }

    #[test]
    fn one_quick_connection_is_enough_until_it_slows_down() {
        const SIZE: u64 = 100 << 20;
        let parts = of_blob(SIZE, Server::GivesParts);
        parts.update(|state| state.rate = 2 * ENOUGH);
        assert_eq!(claim(&parts), Some((0..SIZE, true)));
        assert_eq!(claim(&parts), None);
        let offset = 5 << 20;
        assert!(parts.resume(0, offset), "it wasn't quick to the end");
        assert_eq!(claim(&parts), Some((offset..offset + LARGEST, false)));
        assert_eq!(claim(&parts), Some((offset + LARGEST..offset + 2 * LARGEST, false)));
        let new = of_blob(SIZE, Server::Unasked);
        new.update(|state| state.rate = 2 * ENOUGH);
        assert_eq!(claim(&new), Some((0..SIZE, true)), "others were quick");
        assert!(new.resume(0, offset));
        assert_eq!(claim(&new), Some((offset..offset + LARGEST, false)));
        assert_eq!(claim(&new), None, "whether its server gives parts isn't known");
        let all_by_one = of_blob(SIZE, Server::Asked);
        assert!(!all_by_one.resume(0, offset), "its server gives no parts");
        assert!(!all_by_one.resume(1, offset), "its reader has gone");
    }

    #[test]
    fn a_connection_for_each_blob_that_is_read_is_enough_if_they_are_quick_together() {
        const SIZE: u64 = 100 << 20;
        let check = |n, rate, expected| {
            let parts = of_blobs(n, SIZE, Server::GivesParts);
            parts.update(|state| state.rate = rate);
            assert_eq!(claim(&parts), Some(expected), "{n} blobs, {rate}");
        };
        check(3, ENOUGH / 2, (0..SIZE, true));
        check(4, ENOUGH / 2, (0..SIZE, true));
        check(3, ENOUGH / 3, (0..LARGEST, false));
        check(2, ENOUGH / 2, (0..LARGEST, false));
        check(1, ENOUGH, (0..LARGEST, false));
        check(1, ENOUGH + 1, (0..SIZE, true));
    }

    #[test]
    fn parts_that_are_waited_for_too_long_are_given_up() {
        const SIZE: u64 = 100 << 20;
        let wait = Duration::from_secs(48);
        let check = |readers, dear, n_dear, expected| {
            let parts = of_blobs(readers, SIZE, Server::GivesParts);
            parts.update(|state| {
                state.has_slowed_down = true;
                let dear = std::iter::repeat_n(wait / dear, n_dear);
                let took = dear.chain(std::iter::repeat_n(wait, 16 - n_dear));
                took.for_each(|took| state.weigh(wait, took, 8, readers));
            });
            assert_eq!(claim(&parts), Some(expected), "{readers} read, {n_dear} of 1/{dear}");
        };
        let (part, whole) = ((0..SMALLEST, false), (0..SIZE, true));
        check(1, 17, 6, whole.clone());
        check(1, 17, 5, part.clone());
        check(1, 16, 16, part.clone());
        check(3, 7, 6, whole);
        check(3, 6, 16, part);
        let parts = of_blobs(5, SIZE, Server::GivesParts);
        parts.update(|state| state.are_dear = true);
        assert!(!parts.resume(0, 0), "it was asked for parts before");
        let claims = std::iter::from_fn(|| claim(&parts));
        assert_eq!(claims.count(), 3, "one for each that is read");
    }

    #[test]
    fn a_part_whose_reader_has_gone_makes_room_when_it_ends() {
        let parts = of_blob(100 << 20, Server::GivesParts);
        let mut state = lock(&parts.state);
        let claims: Vec<_> =
            std::iter::repeat_with(|| state.claim(2, LARGEST, 1)).take(2).collect();
        let [Some(first), Some(second)] = &claims[..] else { panic!("{claims:?}") };
        assert_eq!((state.n_parts, state.n_active), (2, 2));
        state.end(first, Err(stopped().into()));
        assert_eq!((state.n_parts, state.n_active), (2, 1), "it is to be read");
        state.blobs.clear();
        state.end(second, Err(stopped().into()));
        assert_eq!((state.n_parts, state.n_active), (1, 0));
    }

    #[test]
    fn a_connection_is_judged_by_what_it_was_waited_for() {
        let rates = |n_bytes, seconds| {
            let mut trial = Trial { n_bytes, waited: Duration::from_secs(seconds) };
            [trial.rate(), trial.rate()]
        };
        assert_eq!(rates(TRIAL - 1, 1), [None, None]);
        assert_eq!(rates(TRIAL, 2), [Some(TRIAL / 2), None]);
    }

    #[test]
    fn quick_connections_are_few() {
        let of = |rate: u64| needed(rate << 20, 8);
        assert_eq!([0, 1, 30, 37, 38, 100, 200, 400].map(of), [8, 8, 8, 8, 8, 4, 2, 1]);
    }
}
