//! Large blobs in parts: several connections at once work on the blob that is wanted first, then on the next.
//!
//! ```text
//! registry ──┬─► connection ──► part in memory ──┐
//!            ├─► connection ──► part in memory ──┼─► reader, in the blob's order
//!            └─► connection ──► part in memory ──┘
//! ```
//!
//! Registries and their storage limit what one connection brings, and on a long line so does the round trip. A fixed number of
//! parts is in memory, most of them of the first blob that is read. A part that breaks or stalls is asked for again by itself.
//! A server that gives no parts gives the whole blob, by one connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use report::{ErrorKind, HasKind as _};

use crate::blob::Blob;
use crate::slot::lock;

/// How many bytes all parts under way have together.
const WINDOW: u64 = 24 << 20;
/// The largest part and the smallest one, in bytes. A part costs a round trip or, where storage is elsewhere, two.
const LARGEST: u64 = 4 << 20;
const SMALLEST: u64 = 1 << 20;
/// Smaller blobs, in bytes, come by one connection.
const LARGE: u64 = 8 << 20;
/// How many parts there may be in memory beside those under way.
const SPARE: usize = 2;
/// How often a reader that waits looks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The parts of all blobs that are read in parts; threads share it.
#[derive(Debug)]
pub(crate) struct Parts {
    /// How many connections there are; 0 if all blobs come whole.
    connections: u8,
    /// The size of a part, in bytes.
    part: u64,
    /// How many connections have begun their work.
    n_started: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The blobs that are being read, by their position in the stream.
    blobs: BTreeMap<usize, Divided>,
    /// How many parts are in memory or under way.
    n_parts: usize,
    /// Buffers to be used again.
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
    /// The parts that have come, by their beginnings.
    ready: BTreeMap<u64, anyhow::Result<Part>>,
}

/// What is known of the server that has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Nothing; the first part is to be asked for.
    Unasked,
    /// The first part was asked for.
    Asked,
    /// It gives parts.
    GivesParts,
}

/// What a connection has brought.
#[derive(Debug)]
enum Part {
    /// The bytes of one part, and the request by which they came.
    Bytes(Vec<u8>, Box<registry::Blob>),
    /// All from its beginning to the end of the blob, which is only opened.
    Rest(Box<registry::Blob>),
}

/// A part that is to be asked for.
#[derive(Debug)]
struct Claim {
    position: usize,
    blob: Blob,
    range: Range<u64>,
    is_first: bool,
    buffer: Vec<u8>,
}

/// Whether a blob, or the rest of one, is worth several connections.
pub(crate) fn is_large(n_bytes: u64) -> bool {
    n_bytes > LARGE
}

impl Parts {
    /// For these blobs. If none is large, there is nothing to be done.
    pub(crate) fn new(connections: u8, blobs: &[Blob]) -> Self {
        let is_needed = connections > 1 && blobs.iter().any(|it| is_large(it.descriptor.size));
        Self {
            connections: if is_needed { connections } else { 0 },
            part: (WINDOW / u64::from(connections.max(1))).clamp(SMALLEST, LARGEST),
            n_started: AtomicU8::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
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
            ready: BTreeMap::new(),
        };
        self.update(|state| drop(state.blobs.insert(position, divided)));
        Ok(Content::Parts(Reader {
            parts: self,
            position,
            offset: start,
            end: blob.descriptor.size,
            part: None,
            taken: 0,
            requests: vec![],
        }))
    }

    /// The work of one connection: one part after the other, until nothing more is wanted.
    pub(crate) fn work(&self) {
        let lane = self.n_started.fetch_add(1, Ordering::Relaxed) + 1;
        while let Some(claim) = self.claim() {
            let Claim { position, blob, range, is_first, buffer } = claim;
            let start = range.start;
            let brought = self.bring(position, &blob, range, is_first, lane, buffer);
            self.update(|state| match state.blobs.get_mut(&position) {
                Some(divided) => drop(divided.ready.insert(start, brought)),
                // Its reader has gone.
                None => state.free(brought),
            });
        }
    }

    /// Waits for a part that is wanted; `None` at the end.
    fn claim(&self) -> Option<Claim> {
        let mut state = lock(&self.state);
        while !state.is_over {
            if let Some(claim) = state.claim(self.connections.into(), self.part) {
                return Some(claim);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn bring(
        &self,
        position: usize,
        blob: &Blob,
        range: Range<u64>,
        is_first: bool,
        lane: u8,
        mut buffer: Vec<u8>,
    ) -> anyhow::Result<Part> {
        let Blob { descriptor, repository, .. } = blob;
        let mut request = match repository.blob_part(descriptor, range.clone(), lane) {
            // A server that knows no parts may say so in many ways.
            Err(error) if is_first && may_be_about_parts(&error) => {
                return Ok(Part::Rest(Box::new(repository.blob(descriptor, range.start)?)));
            }
            request => request?,
        };
        if is_first {
            if !request.is_part() {
                return Ok(Part::Rest(Box::new(request)));
            }
            self.update(|state| {
                state.blobs.entry(position).and_modify(|it| it.server = Server::GivesParts);
            });
        }
        let size = usize::try_from(range.end - range.start)?;
        buffer.clear();
        while buffer.len() < size {
            if lock(&self.state).is_over {
                return Err(stopped().into());
            }
            let chunk = request.fill_buf()?;
            let n = chunk.len().min(size - buffer.len());
            buffer.extend_from_slice(&chunk[..n]);
            request.consume(n);
        }
        if request.is_part() || range.end == descriptor.size {
            // At the end of its answer a connection can be used again.
            request.fill_buf()?;
        } else {
            // It gave the whole this time.
            request.hang_up();
        }
        Ok(Part::Bytes(buffer, Box::new(request)))
    }

    /// Waits for the part of a blob that begins at `start`.
    fn take(&self, position: usize, start: u64) -> anyhow::Result<Part> {
        let mut state = lock(&self.state);
        loop {
            if let Some(ready) =
                state.blobs.get_mut(&position).and_then(|divided| divided.ready.remove(&start))
            {
                return ready;
            }
            if state.is_over {
                return Err(stopped().into());
            }
            cli::interrupt::check()?;
            let waited = self.changed.wait_timeout(state, POLL_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends all connections and readers.
    pub(crate) fn end(&self) {
        self.update(|state| state.is_over = true);
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

impl State {
    /// The next part to be asked for: of the first blob as many as there is room for, of the others not so many that the first
    /// would have to wait for them.
    fn claim(&mut self, connections: usize, part: u64) -> Option<Claim> {
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
            let is_first = divided.server == Server::Unasked;
            if is_first {
                divided.server = Server::Asked;
            }
            let range = divided.next..size.min(divided.next + part);
            divided.next = range.end;
            self.n_parts += 1;
            let buffer = self.buffers.pop().unwrap_or_default();
            return Some(Claim { position, blob: divided.blob.clone(), range, is_first, buffer });
        }
        None
    }

    /// Makes room for another part.
    fn free(&mut self, part: anyhow::Result<Part>) {
        self.n_parts -= 1;
        if let Ok(Part::Bytes(buffer, _)) = part {
            self.buffers.push(buffer);
        }
    }
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
                let distrusted = reader.requests.iter().filter(|request| request.distrust());
                distrusted.count() > 0
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
    part: Option<Part>,
    /// How many bytes of the part were read.
    taken: usize,
    /// The requests by which the bytes came.
    requests: Vec<registry::Blob>,
}

impl Reader<'_> {
    /// Frees what was read, and waits for what comes next.
    fn next(&mut self) -> io::Result<()> {
        let is_read = match &self.part {
            Some(Part::Bytes(bytes, _)) => self.taken == bytes.len(),
            Some(Part::Rest(_)) => false,
            None => true,
        };
        if !is_read || self.offset == self.end {
            return Ok(());
        }
        self.leave();
        let part = self.parts.take(self.position, self.offset);
        self.part = Some(part.map_err(io_error)?);
        self.taken = 0;
        Ok(())
    }

    /// Gives the buffer of the part back.
    fn leave(&mut self) {
        let Some(part) = self.part.take() else { return };
        let freed = match part {
            Part::Bytes(bytes, request) => {
                self.requests.push(*request);
                Some(bytes)
            }
            Part::Rest(request) => {
                self.requests.push(*request);
                None
            }
        };
        self.parts.update(|state| {
            state.n_parts -= 1;
            state.buffers.extend(freed);
        });
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
        self.leave();
        self.parts.update(|state| {
            let left = state.blobs.remove(&self.position).map(|it| it.ready).unwrap_or_default();
            for part in left.into_values() {
                state.free(part);
            }
        });
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.next()?;
        match &mut self.part {
            Some(Part::Bytes(bytes, _)) => Ok(&bytes[self.taken..]),
            Some(Part::Rest(request)) => request.fill_buf(),
            None => Ok(&[]),
        }
    }

    fn consume(&mut self, n: usize) {
        self.offset += n as u64;
        match &mut self.part {
            Some(Part::Rest(request)) => request.consume(n),
            _ => self.taken += n,
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
    use super::*;

    #[test]
    fn parts_under_way_take_about_as_much_memory_whatever_their_number() {
        let part = |connections| Parts::new(connections, &[]).part;
        assert_eq!([1, 2, 8, 12, 64].map(part), [4 << 20, 4 << 20, 3 << 20, 2 << 20, 1 << 20]);
    }
}
