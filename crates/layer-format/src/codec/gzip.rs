//! Gzip in parallel: one member, made of blocks that are compressed on their own.
//!
//! ```text
//! member = header *( block, ended by a sync flush ) block, ended by the end of the deflate data · crc32 · size
//! ```
//!
//! Each block is a mebibyte of input. The last one holds the rest, which may be empty. A block is compressed with the
//! 32 KiB before it as its dictionary, so its borders cost hardly any space. Its compressed bytes depend on nothing
//! else, so they are the same on any number of threads (docs/decisions). The header has neither a time nor the name of
//! a system.

use std::collections::VecDeque;
use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{Pending, Workers};

/// The size of a block's input in bytes. Another size would change digests.
const BLOCK: usize = 1 << 20;
/// The distance in bytes that deflate can refer back.
const WINDOW: usize = 32 << 10;
/// Method deflate, no flags, no time, no compression level, unknown system (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A writer that compresses into one gzip member, block by block.
pub(super) struct Blocks<W> {
    inner: W,
    level: Compression,
    workers: Workers<Job, Done>,
    current: Input,
    /// The blocks that are being compressed, in order.
    running: VecDeque<Pending<Done>>,
    spare: Vec<Buffers>,
    crc: Crc,
}

/// The input of one block, after the bytes that it may refer to.
struct Input {
    buffers: Buffers,
    n_before: usize,
}

/// Buffers that are used again for each block.
#[derive(Default)]
struct Buffers {
    plain: Vec<u8>,
    packed: Vec<u8>,
}

/// A block that is to be compressed.
struct Job {
    level: Compression,
    input: Input,
    flush: FlushCompress,
}

/// A compressed block.
struct Done {
    buffers: Buffers,
    crc: Crc,
    result: io::Result<()>,
}

impl Done {
    /// Compresses a block.
    fn of(Job { level, input, flush }: Job) -> Self {
        let Input { mut buffers, n_before } = input;
        let (before, plain) = buffers.plain.split_at(n_before);
        let result = pack(level, before, plain, flush, &mut buffers.packed);
        let mut crc = Crc::new();
        crc.update(plain);
        Self { buffers, crc, result }
    }
}

impl<W: Write> Blocks<W> {
    pub(super) fn new(mut inner: W, level: u32, n_threads: usize) -> io::Result<Self> {
        inner.write_all(&HEADER)?;
        let current = Input { buffers: Buffers::default(), n_before: 0 };
        let level = Compression::new(level);
        let workers = Workers::new(Done::of, n_threads);
        let (running, spare) = (VecDeque::new(), vec![]);
        Ok(Self { inner, level, workers, current, running, spare, crc: Crc::new() })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.submit(FlushCompress::Finish)?;
        while !self.running.is_empty() {
            self.put_one()?;
        }
        self.inner.write_all(&self.crc.sum().to_le_bytes())?;
        self.inner.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.inner)
    }

    /// Passes the current block to the threads. The next block begins after the last bytes of this one.
    fn submit(&mut self, flush: FlushCompress) -> io::Result<()> {
        while self.running.len() > self.workers.limit() {
            self.put_one()?;
        }
        let mut buffers = self.spare.pop().unwrap_or_default();
        let plain = &self.current.buffers.plain;
        let before = &plain[plain.len().saturating_sub(WINDOW)..];
        buffers.plain.clear();
        buffers.plain.extend_from_slice(before);
        let next = Input { n_before: before.len(), buffers };
        let input = std::mem::replace(&mut self.current, next);
        self.running.push_back(self.workers.begin(Job { level: self.level, input, flush })?);
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn put_one(&mut self) -> io::Result<()> {
        let Some(first) = self.running.pop_front() else { return Ok(()) };
        let done = first.wait()?;
        done.result?;
        self.crc.combine(&done.crc);
        self.inner.write_all(&done.buffers.packed)?;
        self.spare.push(done.buffers);
        Ok(())
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.current.n_before + BLOCK - self.current.buffers.plain.len();
        let n = room.min(bytes.len());
        self.current.buffers.plain.extend_from_slice(&bytes[..n]);
        if n == room {
            self.submit(FlushCompress::Sync)?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Compresses a block with a new state. A state that is used again keeps traces of the block before, even after a
/// reset, and they change the output.
fn pack(
    level: Compression,
    before: &[u8],
    plain: &[u8],
    flush: FlushCompress,
    packed: &mut Vec<u8>,
) -> io::Result<()> {
    let mut deflate = Compress::new(level, false);
    if !before.is_empty() {
        deflate.set_dictionary(before)?;
    }
    packed.clear();
    loop {
        // At the fastest level, incompressible data grows by an eighth.
        packed.reserve(plain.len() / 7 * 8 + WINDOW);
        let n_done = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        let status = deflate.compress_vec(&plain[n_done..], packed, flush)?;
        let is_flushed = packed.len() < packed.capacity();
        match flush {
            FlushCompress::Finish if status == Status::StreamEnd => return Ok(()),
            FlushCompress::Sync if is_flushed => return Ok(()),
            _ => {}
        }
    }
}
