//! The reader's end: a blob's bytes in order, however they come.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use super::connections::{Parts, Taken, is_large};
use super::pace::{STARVING, per_second};
use super::state::{Divided, ENOUGH, End, SMALLEST};
use crate::blob::Blob;
use crate::slot::lock;

/// One connection that brings less in a second, in bytes, is not enough any more.
const TOO_LITTLE: u64 = ENOUGH / 4;
/// How many bytes tell how quick one connection is.
const TRIAL: u64 = 4 << 20;
/// How many times another connection may be asked for a blob that comes by one.
const OTHERS: usize = 3;

/// A blob's bytes, however they come.
#[derive(Debug)]
pub(crate) enum Content<'p> {
    /// By one connection, on the thread of the reader.
    Whole(Whole<'p>),
    /// In parts.
    Parts(Reader<'p>),
}

impl Content<'_> {
    /// Notes that the bytes have another digest; whether reading them anew may give others ([`registry::Blob::distrust`]).
    pub(crate) fn distrust(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.direct.request.distrust(),
            Self::Parts(reader) => {
                // Each is asked, because each may have had another mirror.
                let rest = reader.rest.iter().map(|rest| &*rest.request);
                let requests = reader.requests.iter().chain(rest);
                requests.filter(|request| request.distrust()).count() > 0
            }
        }
    }
}

/// A reader of a blob that comes by one connection.
///
/// If a small one starves, another connection is asked for what is left. A large one comes so where the server gives no parts, or
/// where nobody wants any: it would begin anew.
#[derive(Debug)]
pub(crate) struct Whole<'p> {
    parts: &'p Parts,
    direct: Direct,
    /// How many other connections may still be asked.
    n_others: usize,
}

impl<'p> Whole<'p> {
    pub(super) fn new(parts: &'p Parts, request: registry::Blob, size: u64) -> Self {
        let n_others = if is_large(size) { 0 } else { OTHERS };
        Self { parts, direct: Direct::new(request.into()), n_others }
    }

    fn is_starved(&self) -> bool {
        let Trial { begun, n_bytes, waited } = self.direct.trial;
        // Locks nothing while all goes well.
        self.n_others > 0
            && waited >= STARVING
            && lock(&self.parts.state).recent.tell_starved(begun, n_bytes, waited)
    }

    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.is_starved() {
            self.n_others -= 1;
            self.direct.request.hang_up();
            self.direct.trial = Trial::new();
        }
        self.direct.wait()?;
        self.direct.request.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.direct.consume(n);
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.parts.note(&self.direct.trial);
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
    rest: Option<Direct>,
    /// The requests by which the bytes came.
    requests: Vec<registry::Blob>,
}

/// A connection that its reader reads, without a thread in between.
#[derive(Debug)]
struct Direct {
    request: Box<registry::Blob>,
    trial: Trial,
}

impl Direct {
    fn new(request: Box<registry::Blob>) -> Self {
        Self { request, trial: Trial::new() }
    }

    /// Waits until bytes are at hand, or there are no more.
    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let filled = self.request.fill_buf().map(drop);
        self.trial.waited += begun.elapsed();
        filled
    }

    fn consume(&mut self, n: usize) {
        self.trial.n_bytes += n as u64;
        self.request.consume(n);
    }
}

/// What a connection has brought since it was judged.
#[derive(Clone, Copy, Debug)]
struct Trial {
    begun: Instant,
    n_bytes: u64,
    /// How long the bytes were waited for. What the reader does meanwhile doesn't count.
    waited: Duration,
}

impl Trial {
    fn new() -> Self {
        Self { begun: Instant::now(), n_bytes: 0, waited: Duration::ZERO }
    }

    /// What the connection brings in a second, in bytes, once that can be told.
    fn rate(&self) -> Option<u64> {
        let is_told = self.n_bytes >= TRIAL || self.waited >= STARVING;
        is_told.then(|| per_second(self.n_bytes, self.waited))
    }
}

impl Parts {
    /// Reads the rest of a blob from `start`: in parts if it is large.
    pub(crate) fn open(
        &self,
        position: usize,
        blob: &Blob,
        start: u64,
    ) -> Result<Content<'_>, registry::Error> {
        if self.connections == 0 || !is_large(blob.descriptor.size.saturating_sub(start)) {
            let request = blob.repository.blob(&blob.descriptor, start)?;
            return Ok(Content::Whole(Whole::new(self, request, blob.descriptor.size)));
        }
        let divided = Divided::new(blob.clone(), start);
        self.update(|state| drop(state.blobs.insert(position, divided)));
        self.wanted.notify_all();
        let reader = Reader::new(self, position, start, blob.descriptor.size);
        Ok(Content::Parts(reader))
    }

    /// Takes note of how quick a connection was. The reader's own time counts, for others are measured by the clock too.
    fn note(&self, trial: &Trial) {
        if trial.n_bytes >= SMALLEST {
            let rate = per_second(trial.n_bytes, trial.begun.elapsed());
            self.update(|state| state.recent.note(rate));
        }
    }
}

impl<'p> Reader<'p> {
    /// A reader of the blob at a position, from an offset to the blob's end.
    pub(super) fn new(parts: &'p Parts, position: usize, offset: u64, end: u64) -> Self {
        Self {
            parts,
            position,
            offset,
            end,
            start: offset,
            piece: Vec::new(),
            taken: 0,
            rest: None,
            requests: vec![],
        }
    }

    /// Waits until bytes are at hand, or there are no more.
    fn next(&mut self) -> io::Result<()> {
        if let Some(mut rest) = self.rest.take() {
            if self.is_too_slow(&mut rest) {
                rest.request.hang_up();
                self.requests.push(*rest.request);
                self.start = self.offset;
            } else {
                let waited = rest.wait();
                self.rest = Some(rest);
                waited?;
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
                Taken::End(End::Rest(request)) => self.rest = Some(Direct::new(request)),
            }
        }
        Ok(())
    }

    /// Judges the connection that brings the rest: whether parts are to come again.
    fn is_too_slow(&self, rest: &mut Direct) -> bool {
        let Some(rate) = rest.trial.rate() else { return false };
        self.parts.note(&rest.trial);
        rest.trial = Trial::new();
        rate < TOO_LITTLE && self.parts.resume(self.position, self.offset)
    }

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
            Some(rest) => rest.consume(n),
            None => self.taken += n,
        }
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
        self.parts.leave(self.position);
    }
}

impl BufRead for Content<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Whole(whole) => whole.fill_buf(),
            Self::Parts(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Self::Whole(whole) => whole.consume(n),
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
    fn a_connection_is_judged_by_what_it_was_waited_for() {
        let rate = |n_bytes, seconds| {
            let waited = Duration::from_secs(seconds);
            Trial { n_bytes, waited, ..Trial::new() }.rate()
        };
        assert_eq!(rate(TRIAL - 1, 0), None);
        assert_eq!(rate(TRIAL, 2), Some(TRIAL / 2));
        assert_eq!(rate(TRIAL / 4, 1), Some(TRIAL / 4), "it isn't waited for longer");
    }
}
