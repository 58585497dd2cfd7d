//! A pipe between two threads: streams of bytes in buffers that are used again.
//!
//! A stage that reads, one that decompresses and one that writes can then work at once. Several streams may follow one
//! another through one relay; each ends with its own mark, so a writer that went away can't be taken for an end.

use std::io::{self, BufRead, Read};
use std::ops::Deref;
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of a buffer, in bytes. Larger ones leave the processor's cache before the next stage has read them.
pub const CHUNK_SIZE: usize = 256 << 10;

/// Buffers that wait to be used again.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_else(|| vec![0; CHUNK_SIZE])
    }
}

/// Some bytes on their way. Several readers may hold the same ones.
#[derive(Debug)]
pub struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    pool: Pool,
}

impl Chunk {
    /// Fills a buffer from `reader`, as far as it gives; `None` at the reader's end.
    pub fn read_from(pool: &Pool, reader: &mut impl Read) -> io::Result<Option<Arc<Self>>> {
        let mut chunk = Self { buffer: pool.take(), length: 0, pool: pool.clone() };
        while chunk.length < CHUNK_SIZE {
            match reader.read(&mut chunk.buffer[chunk.length..]) {
                Ok(0) => break,
                Ok(n) => chunk.length += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((chunk.length > 0).then(|| Arc::new(chunk)))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut spare = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(std::mem::take(&mut self.buffer));
    }
}

#[derive(Debug)]
enum Message {
    Chunk(Arc<Chunk>),
    End,
    Failed(io::Error),
}

/// A relay that holds at most `depth` chunks.
pub fn relay(depth: usize) -> (Sender, Receiver) {
    let (sender, receiver) = sync_channel(depth);
    (Sender(sender), Cursor::new(Received { receiver, is_at_end: false }))
}

/// The reader of the relay has gone; whoever sends has nothing left to do, and the reason is the reader's to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The end of a relay that bytes go into.
#[derive(Clone, Debug)]
pub struct Sender(SyncSender<Message>);

impl Sender {
    /// Passes bytes on; waits while the relay is full.
    pub fn send(&self, chunk: Arc<Chunk>) -> Result<(), Gone> {
        self.0.send(Message::Chunk(chunk)).map_err(|_| Gone)
    }

    /// Ends the current stream.
    pub fn end(&self) -> Result<(), Gone> {
        self.0.send(Message::End).map_err(|_| Gone)
    }

    /// Tells the reader that the rest can't be had.
    pub fn fail(&self, error: io::Error) -> Result<(), Gone> {
        self.0.send(Message::Failed(error)).map_err(|_| Gone)
    }

    /// Passes on all that `reader` gives and ends the stream; what goes wrong in reading is passed on in its place.
    pub fn send_all(&self, pool: &Pool, reader: &mut impl Read) -> Result<(), Gone> {
        loop {
            match Chunk::read_from(pool, reader) {
                Ok(Some(chunk)) => self.send(chunk)?,
                Ok(None) => return self.end(),
                Err(error) => {
                    self.fail(error)?;
                    return Err(Gone);
                }
            }
        }
    }
}

/// Whatever gives bytes in chunks.
pub trait Chunks {
    /// The next of them; `None` at the end.
    ///
    /// # Errors
    /// What comes next can't be had.
    fn next_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>>;
}

/// Chunks as a reader.
#[derive(Debug)]
pub struct Cursor<C> {
    chunks: C,
    current: Option<Arc<Chunk>>,
    position: usize,
}

impl<C: Chunks> Cursor<C> {
    /// Reads the chunks from the first on.
    pub fn new(chunks: C) -> Self {
        Self { chunks, current: None, position: 0 }
    }

    /// The rest of the current chunk, and those that come next, are read no more as bytes.
    pub fn into_inner(self) -> C {
        self.chunks
    }
}

impl<C: Chunks> Read for Cursor<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<C: Chunks> BufRead for Cursor<C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|chunk| self.position == chunk.len()) {
            self.current = None;
            self.position = 0;
            self.current = self.chunks.next_chunk()?;
        }
        Ok(self.current.as_ref().map_or(&[], |chunk| &chunk[self.position..]))
    }

    fn consume(&mut self, n: usize) {
        self.position += n;
    }
}

/// The end of a relay that bytes come out of: as a reader, the current stream.
pub type Receiver = Cursor<Received>;

/// What comes out of a relay.
#[derive(Debug)]
pub struct Received {
    receiver: mpsc::Receiver<Message>,
    is_at_end: bool,
}

impl Receiver {
    /// Goes on to the next stream, once this one has been read to its end.
    pub fn next_stream(&mut self) {
        self.chunks.is_at_end = false;
    }

    /// The next bytes of the stream as they were sent; `None` at its end.
    ///
    /// # Errors
    /// What was to come can't be had, or the sender has gone.
    pub fn take_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>> {
        self.chunks.next_chunk()
    }
}

impl Chunks for Received {
    fn next_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>> {
        if self.is_at_end {
            return Ok(None);
        }
        match self.receiver.recv() {
            Ok(Message::Chunk(chunk)) => Ok(Some(chunk)),
            Ok(Message::End) => {
                self.is_at_end = true;
                Ok(None)
            }
            Ok(Message::Failed(error)) => Err(error),
            Err(_) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier stage stopped")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_follow_one_another() {
        let (sending, mut taking) = relay(2);
        let contents: Vec<Vec<u8>> = vec![vec![1; 1_000_000], vec![], vec![2; 3]];
        std::thread::scope(|scope| {
            let sent = &contents;
            scope.spawn(move || {
                let pool = Pool::default();
                sent.iter().try_for_each(|content| sending.send_all(&pool, &mut content.as_slice()))
            });
            for content in &contents {
                let mut taken = Vec::new();
                taking.read_to_end(&mut taken).unwrap();
                assert_eq!(&taken, content);
                taking.next_stream();
            }
            assert!(taking.read(&mut [0]).is_err(), "a sender that went away is no end");
        });
    }

    #[test]
    fn buffers_are_used_again() {
        let pool = Pool::default();
        for _ in 0..10 {
            let chunk = Chunk::read_from(&pool, &mut &b"x"[..]).unwrap().unwrap();
            assert_eq!(&chunk[..], b"x");
        }
        assert_eq!(pool.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_reader_that_went_away_stops_the_sender() {
        let (sending, taking) = relay(1);
        drop(taking);
        assert_eq!(sending.send_all(&Pool::default(), &mut io::repeat(0)), Err(Gone));
    }
}
