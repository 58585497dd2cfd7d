//! The source of an archive's bytes: a stream, or a file with random access.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::os::unix::fs::FileExt;

use layer_format::{Codec, Decoder, Error, ForeignCodec, MAGIC_SIZE};

use crate::relay::CHUNK_SIZE;

/// Content of at least this many bytes is skipped by seeking, shorter content by reading.
const SEEK_FROM: u64 = CHUNK_SIZE as u64;

pub(super) enum Input {
    Stream(BufReader<Box<dyn Read + Send>>),
    File { reader: BufReader<File>, size: u64 },
}

impl Input {
    /// A stream, which is decompressed if it is compressed as a whole.
    pub(super) fn stream(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(CHUNK_SIZE, reader);
        let mut start = Vec::with_capacity(MAGIC_SIZE);
        reader.by_ref().take(MAGIC_SIZE as u64).read_to_end(&mut start)?;
        if let Some(foreign) = ForeignCodec::sniff(&start) {
            return Err(foreign.refuse(Error::ARCHIVE).into());
        }
        let decoder = Decoder::new(Cursor::new(start).chain(reader))?;
        Ok(Self::Stream(BufReader::with_capacity(CHUNK_SIZE, Box::new(decoder))))
    }

    pub(super) fn file(file: File) -> Self {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        Self::File { reader: BufReader::with_capacity(CHUNK_SIZE, file), size }
    }

    /// The offset of the next byte in the file. In a stream, it has no meaning.
    pub(super) fn position(&mut self) -> io::Result<u64> {
        match self {
            Self::Stream(_) => Ok(0),
            Self::File { reader, .. } => reader.stream_position(),
        }
    }

    /// Whether a file has `n` more bytes.
    pub(super) fn holds(&mut self, n: u64) -> Result<bool, Error> {
        let position =
            self.position().map_err(|source| Error::io("reading the archive", source))?;
        Ok(matches!(self, Self::File { size, .. } if size.saturating_sub(position) >= n))
    }

    /// Skips `n` bytes of a file. The result is the number of bytes that were skipped, which is smaller at the file's
    /// end.
    pub(super) fn skip(&mut self, n: u64) -> io::Result<u64> {
        match self {
            Self::File { reader, size } if n >= SEEK_FROM => {
                let position = reader.stream_position()?;
                let left = size.saturating_sub(position).min(n);
                reader.seek_relative(i64::try_from(left).map_err(io::Error::other)?)?;
                Ok(left)
            }
            _ => io::copy(&mut self.take(n), &mut io::sink()),
        }
    }
}

/// Whether the file can be read in place: it must be a regular file that isn't compressed.
pub(super) fn in_place(file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let position = (&mut &*file).stream_position()?;
    let mut start = [0; MAGIC_SIZE];
    let mut n = 0;
    while n < start.len() {
        match file.read_at(&mut start[n..], position + n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    let start = &start[..n];
    Ok(Codec::sniff(start) == Codec::None && ForeignCodec::sniff(start).is_none())
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(reader) => reader.read(buffer),
            Self::File { reader, .. } => reader.read(buffer),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Stream(reader) => reader.fill_buf(),
            Self::File { reader, .. } => reader.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Self::Stream(reader) => reader.consume(n),
            Self::File { reader, .. } => reader.consume(n),
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream(_) => "Stream",
            Self::File { .. } => "File",
        })
    }
}
