//! The 512-byte blocks of a tar, and the content that lies between its headers.
//!
//! This module doesn't know what headers mean. Its callers bound the memory that it takes; the input never does.

use std::io::{self, BufRead};

use super::header::Header;
use crate::error::Error;

/// The unit of a tar.
pub(super) const BLOCK: usize = 512;

/// A reader that cuts a tar into headers and contents.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    inner: R,
    /// The number of bytes that were read or skipped.
    position: u64,
    content: u64,
    padding: u64,
    /// Whether both blocks of the end were present.
    is_whole: bool,
    /// Whether all bytes without a meaning were zeros: the padding, and what follows the end.
    is_clean: bool,
}

impl<R: BufRead> Blocks<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, position: 0, content: 0, padding: 0, is_whole: false, is_clean: true }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Skips the rest of the current content with `skip`, for example by seeking in a file. `skip` gets the number of
    /// bytes to leave out, and returns the number that it has left out. The result is `false` if the content ended
    /// early. The padding is still read and checked.
    pub(super) fn skip_with(
        &mut self,
        skip: impl FnOnce(&mut R, u64) -> io::Result<u64>,
    ) -> Result<bool, Error> {
        let skipped = skip(&mut self.inner, self.content)
            .map_err(|source| Error::io("reading the archive", source))?;
        self.position += skipped;
        let is_there = skipped == self.content;
        self.content = 0;
        Ok(is_there)
    }

    /// The number of bytes of the archive that were read or skipped.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The number of bytes of the current content that are still unread.
    pub(super) fn content(&self) -> u64 {
        self.content
    }

    /// Begins a content of `size` bytes, after which padding fills the last block.
    pub(super) fn begin_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The next header; `None` at the end of the archive, after the input has been read to its end.
    ///
    /// An archive may also stop between two members, or after one block of zeros; Go's reader accepts that, too. The
    /// digest of a layer shows that it is whole.
    pub(super) fn read_header(&mut self) -> Result<Option<Header>, Error> {
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block != [0; BLOCK] {
            return Header::parse(&block).map(Some);
        }
        match self.read_block()? {
            Some(block) if block != [0; BLOCK] => {
                Err(Error::MalformedHeader { reason: "a block of zeros before the end" })
            }
            end => {
                self.is_whole = end.is_some();
                self.drain().map(|()| None)
            }
        }
    }

    /// The next block; `None` if the input ends inside it or before it.
    pub(super) fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let rest = &mut block[filled..];
            let n =
                self.take(rest.len() as u64, |bytes| rest[..bytes.len()].copy_from_slice(bytes))?;
            if n == 0 && filled == 0 {
                return Ok(None);
            }
            if n == 0 {
                return Err(Error::Truncated { what: "a tar header".to_owned() });
            }
            filled += n;
        }
        Ok(Some(block))
    }

    /// The next whole block of the current content; `None` if there is none.
    pub(super) fn read_content_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let Some(rest) = self.content.checked_sub(BLOCK as u64) else { return Ok(None) };
        let block = self.read_block()?;
        self.content = rest;
        Ok(block)
    }

    /// Appends the rest of the current content to `text`. The result is `false` if the input ended inside it.
    pub(super) fn read_content(&mut self, text: &mut Vec<u8>) -> Result<bool, Error> {
        while self.content > 0 {
            let n = self.take(self.content, |bytes| text.extend_from_slice(bytes))?;
            if n == 0 {
                return Ok(false);
            }
            self.content -= n as u64;
        }
        Ok(true)
    }

    /// Skips the rest of the current content and its padding. The result is `false` if the input ended inside the
    /// content.
    pub(super) fn skip_content(&mut self) -> Result<bool, Error> {
        while self.content > 0 {
            let n = self.take(self.content, |_| ())?;
            if n == 0 {
                return Ok(false);
            }
            self.content -= n as u64;
        }
        while self.padding > 0 {
            let n = self.take_zeros(self.padding)?;
            self.padding = if n == 0 { 0 } else { self.padding - n as u64 };
        }
        Ok(true)
    }

    /// The buffered bytes of the current content. They are empty at the end of the content or of the input.
    pub(super) fn fill_content(&mut self) -> io::Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let available = self.inner.fill_buf()?;
        Ok(&available[..at_most(available.len(), self.content)])
    }

    /// Reads from the current content without a buffer in between. The result is 0 at the end of the content or of the
    /// input.
    pub(super) fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = at_most(buffer.len(), self.content);
        if n == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..n])?;
        self.position += n as u64;
        self.content -= n as u64;
        Ok(n)
    }

    /// Consumes `n` bytes of the current content, which [`fill_content`](Self::fill_content) must have returned.
    pub(super) fn consume(&mut self, n: usize) {
        let n = at_most(n, self.content);
        self.inner.consume(n);
        self.position += n as u64;
        self.content -= n as u64;
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.take_zeros(u64::MAX)? > 0 {}
        Ok(())
    }

    /// Consumes up to `limit` bytes that should be zeros, and notes whether they are.
    fn take_zeros(&mut self, limit: u64) -> Result<usize, Error> {
        let mut is_clean = true;
        let n = self.take(limit, |bytes| is_clean = bytes.iter().all(|&byte| byte == 0))?;
        self.is_clean &= is_clean;
        Ok(n)
    }

    /// Shows the buffered bytes to `see`, up to `limit`, and consumes them. The result is their number, 0 at the
    /// input's end.
    fn take(&mut self, limit: u64, mut see: impl FnMut(&[u8])) -> Result<usize, Error> {
        loop {
            match self.inner.fill_buf() {
                Ok(available) => {
                    let n = at_most(available.len(), limit);
                    see(&available[..n]);
                    self.inner.consume(n);
                    self.position += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading a layer", error)),
            }
        }
    }
}

/// The smaller of a length in memory and a length in the archive.
fn at_most(length: usize, limit: u64) -> usize {
    usize::try_from(limit).map_or(length, |limit| length.min(limit))
}
