//! What threads share: the blobs that are read, their parts, and what is to be asked for next.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::pace::{Recent, SILENT, per_second};
use crate::blob::Blob;

/// The smallest part, in bytes. A part costs a round trip or, where storage is elsewhere, two.
pub(super) const SMALLEST: u64 = 256 << 10;
/// The size of a piece of a part, in bytes.
pub(super) const PIECE: usize = 128 << 10;
/// What all connections together shall bring in a second, in bytes, if they can: more than anybody unpacks in that time. Of
/// connections that are quick, fewer are used. If one is enough, its reader reads it without parts in between, for a part costs
/// a request (10 ms at distribution's registry) and a copy.
pub(super) const ENOUGH: u64 = 300 << 20;
/// After how many parts of each connection it is judged whether they pay.
const WEIGHED: usize = 2;
/// How many times as much the readers' own connections would bring where a part doesn't pay.
const DEAR: u32 = 2;
/// How many parts there may be in memory beside those under way.
const SPARE: usize = 2;

/// What is known of all blobs and of the connections.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The blobs that are being read, by their position in the stream.
    pub(super) blobs: BTreeMap<usize, Divided>,
    /// How many parts are in memory or under way; until it ends, one that was given up is, too.
    pub(super) n_parts: usize,
    /// What gives up each of those that are under way, by the numbers of their claims.
    pub(super) under_way: BTreeMap<u64, Arc<AtomicBool>>,
    /// The number of the next claim.
    pub(super) next_number: u64,
    /// How quick connections were lately.
    pub(super) recent: Recent,
    /// What a connection brings in a second, in bytes; 0 if nothing has come yet.
    pub(super) rate: u64,
    /// Whether one connection was quick at first and then wasn't: some servers let only the beginning of an answer be quick.
    pub(super) has_slowed_down: bool,
    /// How many parts were weighed since it was judged whether they pay, and how many of them didn't.
    pub(super) n_weighed: usize,
    pub(super) n_dear: usize,
    /// Whether parts don't pay: then each blob that is read has one connection, to its end.
    pub(super) are_dear: bool,
    /// Buffers of pieces, to be used again.
    pub(super) buffers: Vec<Vec<u8>>,
    /// Whether nothing more is wanted.
    pub(super) is_over: bool,
}

/// A blob that is read in parts.
#[derive(Debug)]
pub(super) struct Divided {
    pub(super) blob: Blob,
    /// The beginning of the next part that nobody has asked for.
    pub(super) next: u64,
    pub(super) server: Server,
    /// The parts that were asked for and not yet read, by their beginnings.
    pub(super) parts: BTreeMap<u64, Arrival>,
}

impl Divided {
    /// A blob that is read from an offset.
    pub(super) fn new(blob: Blob, next: u64) -> Self {
        Self { blob, next, server: Server::Unasked, parts: BTreeMap::new() }
    }
}

/// A part that comes, or has come.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The number of the claim by which it comes.
    pub(super) number: u64,
    /// What is to come by that: it begins where another one was given up, if one was.
    pub(super) range: Range<u64>,
    /// Whether it is all that is left of the blob, which nobody else is to bring piece by piece.
    pub(super) is_rest: bool,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// When its bytes began to come.
    pub(super) begun: Option<Instant>,
    /// When the last of these happened, or a piece came.
    pub(super) last: Instant,
    /// How many bytes have come.
    pub(super) n_bytes: u64,
    /// The bytes that weren't read yet.
    pub(super) pieces: VecDeque<Vec<u8>>,
    /// How it ended, once it has.
    pub(super) end: Option<anyhow::Result<End>>,
}

impl Arrival {
    /// What comes by a claim from now on.
    fn new(number: u64, range: Range<u64>) -> Self {
        let asked = Instant::now();
        Self {
            number,
            range,
            is_rest: false,
            asked,
            begun: None,
            last: asked,
            n_bytes: 0,
            pieces: VecDeque::new(),
            end: None,
        }
    }

    /// What hasn't come yet, if another connection is to ask for it.
    fn starved(&self, recent: &Recent) -> Option<Range<u64>> {
        let left = self.range.start + self.n_bytes..self.range.end;
        if self.end.is_some() || self.is_rest || left.is_empty() {
            return None;
        }
        // Some of a piece may be there.
        let piece = PIECE as u64;
        let is_slow = self
            .begun
            .is_some_and(|begun| recent.tell_starved(begun, self.n_bytes + piece, begun.elapsed()));
        let silence = self.last.elapsed();
        let is_silent = silence >= SILENT && recent.tell_starved(self.asked, piece, silence);
        (is_slow || is_silent).then_some(left)
    }
}

/// What is known of the server that has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// Nothing: it was asked for no part yet.
    Unasked,
    /// The first part was asked for.
    Asked,
    /// It gives parts.
    GivesParts,
}

/// The end of a part.
#[derive(Debug)]
pub(super) enum End {
    /// All its bytes have come, by this request.
    Whole(Box<registry::Blob>),
    /// No byte has come: the request is for all from its beginning to the end of the blob. The server gives no parts, or one
    /// connection is enough.
    Rest(Box<registry::Blob>),
}

/// A part that is to be asked for, or the rest of one.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) number: u64,
    pub(super) position: usize,
    /// The beginning of the part.
    pub(super) start: u64,
    pub(super) blob: Blob,
    pub(super) range: Range<u64>,
    pub(super) is_first: bool,
    /// Whether the reader is to read it from the connection.
    pub(super) is_rest: bool,
    /// Ends the work, if there is something else to be done.
    pub(super) given_up: Arc<AtomicBool>,
}

impl Claim {
    /// What is to come by it stands in the arrival of the part that begins there.
    fn new((position, start): (usize, u64), blob: Blob, arrival: &Arrival) -> Self {
        Self {
            number: arrival.number,
            position,
            start,
            blob,
            range: arrival.range.clone(),
            is_first: false,
            is_rest: arrival.is_rest,
            given_up: Arc::default(),
        }
    }
}

impl State {
    /// Takes into account that a connection has brought so many bytes in this time.
    pub(super) fn note(&mut self, n_bytes: u64, time: Duration) {
        let rate = per_second(n_bytes, time);
        self.recent.note(rate);
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
    pub(super) fn weigh(
        &mut self,
        waited: Duration,
        took: Duration,
        connections: u8,
        readers: usize,
    ) {
        let n_read = u8::try_from(self.n_read(readers)).unwrap_or(u8::MAX).max(1);
        let gain = u32::from(connections.div_ceil(n_read));
        self.n_weighed += 1;
        self.n_dear += usize::from(waited > took.saturating_mul(DEAR * gain));
        if self.n_weighed == WEIGHED * usize::from(connections) {
            self.are_dear |= self.n_dear > self.n_weighed / 3;
            (self.n_weighed, self.n_dear) = (0, 0);
        }
    }

    /// What is to be asked for next. Where as many connections are enough as blobs are read at once, each blob has one.
    pub(super) fn claim(
        &mut self,
        connections: usize,
        largest: u64,
        readers: usize,
    ) -> Option<Claim> {
        let n_read = self.n_read(readers);
        let (connections, is_rest) = if self.are_dear {
            (n_read, true)
        } else if self.has_slowed_down {
            (connections, false)
        } else {
            (needed(self.rate, connections), needed(self.rate, usize::MAX) <= n_read)
        };
        if self.under_way.len() < connections
            && let Some(claim) = self.next_part(connections, is_rest, largest)
        {
            return Some(claim);
        }
        self.starved_part()
    }

    /// The next part: of the first blob as many as there is room for, of the others not so many that the first would have to
    /// wait for them.
    fn next_part(&mut self, connections: usize, is_rest: bool, largest: u64) -> Option<Claim> {
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
            let start = range.start;
            let arrival = Arrival { is_rest, ..Arrival::new(self.next_number, range) };
            let claim = Claim::new((position, start), divided.blob.clone(), &arrival);
            divided.parts.insert(start, arrival);
            return Some(self.begin(Claim { is_first, ..claim }));
        }
        None
    }

    /// The rest of the first part that its connection starves, which is given up. Where the server has too much to do, it isn't
    /// asked once more.
    fn starved_part(&mut self) -> Option<Claim> {
        if self.are_dear {
            return None;
        }
        for (&position, divided) in &mut self.blobs {
            for (&start, arrival) in &mut divided.parts {
                let Some(range) = arrival.starved(&self.recent) else { continue };
                if let Some(given_up) = self.under_way.get(&arrival.number) {
                    given_up.store(true, Ordering::Relaxed);
                }
                let pieces = std::mem::take(&mut arrival.pieces);
                *arrival = Arrival { pieces, ..Arrival::new(self.next_number, range) };
                let claim = Claim::new((position, start), divided.blob.clone(), arrival);
                return Some(self.begin(claim));
            }
        }
        None
    }

    /// Counts a claim that begins.
    fn begin(&mut self, claim: Claim) -> Claim {
        self.next_number += 1;
        self.n_parts += 1;
        self.under_way.insert(claim.number, Arc::clone(&claim.given_up));
        claim
    }

    /// Takes note of how a part ended.
    pub(super) fn end(&mut self, claim: &Claim, end: anyhow::Result<End>) {
        self.under_way.remove(&claim.number);
        let comes_whole = !claim.is_rest && matches!(end, Ok(End::Rest(_)));
        if let Some(arrival) = self.arrival(claim) {
            arrival.end = Some(end);
            if comes_whole {
                self.leave_parts(claim);
            }
            return;
        }
        // Another connection brings the rest of it, or its reader has gone.
        self.n_parts -= 1;
    }

    /// Takes note that all of a blob comes by a claim, from that on: its server gives no parts, or none any more. Each one that
    /// is asked for would be read from the blob's beginning.
    pub(super) fn leave_parts(&mut self, claim: &Claim) {
        let Some(divided) = self.blobs.get_mut(&claim.position) else { return };
        divided.server = Server::Asked;
        let later = divided.parts.split_off(&(claim.start + 1));
        self.give_up(&later);
    }

    /// Gives up parts that nobody will read.
    pub(super) fn give_up(&mut self, parts: &BTreeMap<u64, Arrival>) {
        // Those under way are counted by who brings them.
        self.n_parts -= parts.values().filter(|arrival| arrival.end.is_some()).count();
        for given_up in parts.values().filter_map(|it| self.under_way.get(&it.number)) {
            given_up.store(true, Ordering::Relaxed);
        }
    }

    /// The part that comes by a claim, if that wasn't given up.
    pub(super) fn arrival(&mut self, claim: &Claim) -> Option<&mut Arrival> {
        self.part(claim.position, claim.start).filter(|it| it.number == claim.number)
    }

    /// A part that was asked for and not yet read.
    pub(super) fn part(&mut self, position: usize, start: u64) -> Option<&mut Arrival> {
        self.blobs.get_mut(&position)?.parts.get_mut(&start)
    }

    /// Makes room for another part, in the place of one that was read.
    pub(super) fn remove(&mut self, position: usize, start: u64) {
        if let Some(divided) = self.blobs.get_mut(&position) {
            divided.parts.remove(&start);
        }
        self.n_parts -= 1;
    }
}

/// How many connections of this rate bring enough, of those that there are.
pub(super) fn needed(rate: u64, connections: usize) -> usize {
    let needed = ENOUGH.checked_div(rate).and_then(|n| usize::try_from(n + 1).ok());
    needed.map_or(connections, |needed| needed.min(connections))
}
