//! The content of a file, with its holes filled.

use std::io::{self, Read};

use super::entry::EntryKind;

/// A reader of a file's whole content. The holes of a sparse file, which the archive leaves out, are read as zeros.
#[derive(Debug)]
pub struct Filled<R> {
    content: R,
    pieces: std::vec::IntoIter<(u64, u64)>,
    at: u64,
    /// The start and the end of the current or the next piece, in bytes of the file.
    piece: (u64, u64),
}

impl<R: Read> Filled<R> {
    /// Wraps `content`, the content of an entry of this kind. Only a file has any.
    pub fn new(content: R, kind: EntryKind) -> Self {
        let pieces = match kind {
            EntryKind::File { size, data: None } => vec![(0, size)],
            EntryKind::File { size, data: Some(mut data) } => {
                data.push((size, 0));
                data
            }
            _ => vec![],
        };
        Self { content, pieces: pieces.into_iter(), at: 0, piece: (0, 0) }
    }
}

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.1 {
            let Some((offset, length)) = self.pieces.next() else { return Ok(0) };
            self.piece = (offset, offset + length);
        }
        let (start, end) = self.piece;
        let is_hole = self.at < start;
        let left = if is_hole { start } else { end } - self.at;
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..most];
        let n = if is_hole {
            buffer.fill(0);
            most
        } else {
            self.content.read(buffer)?
        };
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(size: u64, data: Option<Vec<(u64, u64)>>, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut found = vec![];
        Filled::new(content, EntryKind::File { size, data }).read_to_end(&mut found)?;
        Ok(found)
    }

    #[test]
    fn a_file_without_holes_is_as_it_is() {
        assert_eq!(read(3, None, b"abc").unwrap(), b"abc");
        assert_eq!(read(0, None, b"").unwrap(), b"");
        assert_eq!(read(5, Some(vec![(0, 2), (2, 3)]), b"abcde").unwrap(), b"abcde");
    }

    #[test]
    fn holes_are_zeros_wherever_they_lie() {
        assert_eq!(read(7, Some(vec![(1, 2), (5, 1)]), b"abc").unwrap(), b"\0ab\0\0c\0");
        assert_eq!(read(4, Some(vec![]), b"").unwrap(), b"\0\0\0\0");
        assert_eq!(read(0, Some(vec![]), b"").unwrap(), b"");
        let long = read(100_001, Some(vec![(100_000, 1)]), b"a").unwrap();
        assert_eq!(long, [vec![0; 100_000], b"a".to_vec()].concat());
    }

    #[test]
    fn nothing_is_read_beyond_the_file_and_nothing_is_made_up() {
        assert_eq!(read(2, None, b"abc").unwrap(), b"ab");
        assert!(read(3, None, b"ab").is_err());
        assert!(read(9, Some(vec![(1, 2)]), b"a").is_err());
    }
}
