//! A pipe between two threads. It passes streams of bytes in buffers that are used again.
//!
//! A stage that reads, one that decompresses and one that writes can then work at once. Several streams may follow one
//! another in one relay. Each ends with a mark, so a writer that has gone away can't be taken for an end.

use std::io::{self, BufRead, Read};
use std::ops::Deref;
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of a buffer, in bytes. Larger ones leave the processor's cache before the next stage has read them.
pub const CHUNK_SIZE: usize = 256 << 10;

/// Buffers that are free to be used again.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_else(|| vec![0; CHUNK_SIZE])
    }
}

/// Some bytes in a relay. Several readers may hold the same chunk.
#[derive(Debug)]
pub struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    pool: Pool,
}

impl Chunk {
    /// Fills a buffer from `reader` with at most [`CHUNK_SIZE`] bytes; `None` at the reader's end.
    ///
    /// # Errors
    /// `reader` can't be read.
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

/// The receiver of the relay has gone, so the sender can stop. The receiver's owner reports the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The writing end of a relay.
#[derive(Clone, Debug)]
pub struct Sender(SyncSender<Message>);

impl Sender {
    /// Sends bytes. It waits while the relay is full.
    ///
    /// # Errors
    /// [`Gone`] if the receiver has gone.
    pub fn send(&self, chunk: Arc<Chunk>) -> Result<(), Gone> {
        self.0.send(Message::Chunk(chunk)).map_err(|_| Gone)
    }

    /// Ends the current stream.
    ///
    /// # Errors
    /// [`Gone`] if the receiver has gone.
    pub fn end(&self) -> Result<(), Gone> {
        self.0.send(Message::End).map_err(|_| Gone)
    }

    /// Tells the receiver why the rest of the stream won't come.
    ///
    /// # Errors
    /// [`Gone`] if the receiver has gone.
    pub fn fail(&self, error: io::Error) -> Result<(), Gone> {
        self.0.send(Message::Failed(error)).map_err(|_| Gone)
    }

    /// Sends everything from `reader` and ends the stream. If `reader` fails, its error is sent in place of the end.
    ///
    /// # Errors
    /// [`Gone`] if the receiver has gone, or if `reader` failed.
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

/// Source of bytes in chunks.
pub trait Chunks {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The next chunk won't come.
    fn next_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>>;
}

/// A reader of the bytes in chunks.
#[derive(Debug)]
pub struct Cursor<C> {
    chunks: C,
    current: Option<Arc<Chunk>>,
    position: usize,
}

impl<C: Chunks> Cursor<C> {
    /// Reads the chunks from the first one on.
    pub fn new(chunks: C) -> Self {
        Self { chunks, current: None, position: 0 }
    }

    /// Gives the source of chunks back. The rest of the current chunk is lost.
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

/// The reading end of a relay. As a reader, it gives the current stream.
pub type Receiver = Cursor<Received>;

/// The streams that come out of a relay.
#[derive(Debug)]
pub struct Received {
    receiver: mpsc::Receiver<Message>,
    is_at_end: bool,
}

impl Receiver {
    /// Goes on to the next stream. The current one must have been read to its end.
    pub fn next_stream(&mut self) {
        self.chunks.is_at_end = false;
    }

    /// The next chunk of the stream, in the form in which it was sent; `None` at the stream's end.
    ///
    /// # Errors
    /// The sender has failed or gone.
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
