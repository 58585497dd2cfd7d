//! Decompresses several segments of gzip data at once, by an index.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use super::index::{Checkpoint, SeekIndex};
use super::segment::{self, Start};
use crate::codec::{Pending, Workers};

/// The most bytes that may wait, stored and decompressed. With it, a program stays within the memory that it may use.
const WAITING: u64 = 20 << 20;
/// The size of the pieces that are read and not needed, in bytes.
const REST: u64 = 64 << 10;

/// A reader of decompressed data, from a checkpoint on.
pub(in crate::codec) struct Indexed<R> {
    inner: R,
    index: Arc<SeekIndex>,
    /// The position of the segment that is read next.
    next: usize,
    /// The last stored byte that was read. The next segment may begin in it.
    last_byte: Option<u8>,
    workers: Workers<Job, Done>,
    /// The segments that are being decompressed, in order.
    running: VecDeque<Pending<Done>>,
    /// How many there may be now. It begins with one and doubles, so that who wants little gets little.
    allowed: usize,
    /// How many there may ever be.
    most: usize,
    current: Vec<u8>,
    /// How much of the current segment has been read.
    n_read: usize,
    spare: Vec<Buffers>,
}

/// A segment that is to be decompressed.
struct Job {
    index: Arc<SeekIndex>,
    position: usize,
    buffers: Buffers,
}

/// Buffers that are used again for each segment.
struct Buffers {
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl Buffers {
    /// Buffers that never grow, which would leave holes in the memory.
    fn of(index: &SeekIndex) -> Self {
        let capacity = |size: u64| Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let (stored, plain) = index.largest();
        Self { stored: capacity(stored), plain: capacity(plain) }
    }
}

/// A decompressed segment.
struct Done {
    buffers: Buffers,
    result: io::Result<()>,
}

impl Done {
    fn of(Job { index, position, mut buffers }: Job) -> Self {
        let result = decompress(&index, position, &mut buffers);
        Self { buffers, result }
    }
}

fn decompress(index: &SeekIndex, position: usize, buffers: &mut Buffers) -> io::Result<()> {
    let checkpoint = &index.checkpoints()[position];
    let size = index.end(position).1 - checkpoint.plain;
    // What was in the buffer is overwritten.
    buffers.plain.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
    let window = checkpoint.unpacked()?;
    let start = match checkpoint.window {
        Some(_) => Start::Block { bit: checkpoint.bit, window: &window },
        None => Start::Member,
    };
    segment::checked(start, &buffers.stored, &mut buffers.plain, checkpoint.crc)?;
    // So whoever reads all has proved every window.
    let window = index.checkpoints().get(position + 1).map(Checkpoint::unpacked).transpose()?;
    match window {
        Some(window) if !ends_with(&buffers.plain, &window) => Err(segment::wrong_index()),
        _ => Ok(()),
    }
}

/// Whether a segment ends with the window of the next one. A short segment may not have all of it.
fn ends_with(plain: &[u8], window: &[u8]) -> bool {
    let n = plain.len().min(window.len());
    plain[plain.len() - n..] == window[window.len() - n..]
}

impl<R: Read> Indexed<R> {
    pub(in crate::codec) fn new(inner: R, index: Arc<SeekIndex>, position: usize) -> Self {
        let (stored, plain) = index.largest();
        let fitting = usize::try_from(WAITING / (stored + plain).max(1)).unwrap_or(usize::MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = cores.min(fitting).max(1);
        Self {
            inner,
            index,
            next: position,
            last_byte: None,
            workers: Workers::new(Done::of, n_threads),
            running: VecDeque::new(),
            allowed: 1,
            most: (n_threads + 1).min(fitting).max(1),
            current: vec![],
            n_read: 0,
            spare: vec![],
        }
    }

    /// Makes the next segment the current one; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let done = loop {
            // What is done goes on before more is read from what may be a slow line.
            match self.running.pop_front().map(Pending::poll).transpose()? {
                Some(Ok(done)) => break done,
                Some(Err(pending)) => self.running.push_front(pending),
                None if self.next == self.index.checkpoints().len() => return self.finish(),
                None => {}
            }
            if self.running.len() < self.allowed && self.next < self.index.checkpoints().len() {
                self.begin()?;
            } else if let Some(first) = self.running.pop_front() {
                break first.wait()?;
            }
        };
        self.allowed = (self.allowed * 2).min(self.most);
        done.result?;
        let Buffers { stored, plain } = done.buffers;
        let plain = std::mem::replace(&mut self.current, plain);
        self.spare.push(Buffers { stored, plain });
        self.n_read = 0;
        Ok(true)
    }

    /// Reads the stored bytes of the next segment, and passes them to the threads.
    fn begin(&mut self) -> io::Result<()> {
        let position = self.next;
        let mut buffers = self.spare.pop().unwrap_or_else(|| Buffers::of(&self.index));
        buffers.stored.clear();
        let begin = self.index.begin(position);
        let (stored, _) = self.index.end(position);
        // The first byte may be the last one of the segment before.
        let is_shared = self.index.checkpoints()[position].bit > 0;
        buffers.stored.extend(self.last_byte.take().filter(|_| is_shared));
        let n_wanted = stored - begin;
        let n_left = n_wanted - buffers.stored.len() as u64;
        self.inner.by_ref().take(n_left).read_to_end(&mut buffers.stored)?;
        if (buffers.stored.len() as u64) < n_wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.last_byte = buffers.stored.last().copied();
        self.next += 1;
        let job = Job { index: Arc::clone(&self.index), position, buffers };
        self.running.push_back(self.workers.begin(job)?);
        Ok(())
    }

    /// Reads what is left to the end, for whoever hashes it.
    fn finish(&mut self) -> io::Result<bool> {
        while io::copy(&mut self.inner.by_ref().take(REST), &mut io::sink())? > 0 {}
        Ok(false)
    }
}

impl<R: Read> Read for Indexed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A segment may be empty.
        while self.n_read == self.current.len() {
            if buffer.is_empty() || !self.advance()? {
                return Ok(0);
            }
        }
        let n = (&self.current[self.n_read..]).read(buffer)?;
        self.n_read += n;
        Ok(n)
    }
}
