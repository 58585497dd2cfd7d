//! A part of a file that is read without the file's own position.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;

/// A reader of a part of a file. Any number of such readers can read one file at once.
#[derive(Clone, Debug)]
pub struct Section<F> {
    file: F,
    /// The unread part, in bytes from the beginning of the file.
    left: Range<u64>,
}

impl<F> Section<F> {
    /// Reads `part` of the file, in bytes from the beginning of the file. If the file is shorter, the reader ends
    /// early.
    pub fn new(file: F, part: Range<u64>) -> Self {
        Self { file, left: part }
    }

    /// The number of bytes that are unread.
    pub fn n_left(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }
}

impl<F: Deref<Target = File>> Read for Section<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_left = self.n_left();
        let most = usize::try_from(n_left).map_or(buffer.len(), |n_left| n_left.min(buffer.len()));
        if most == 0 {
            // The position of an empty part may be too high for the system.
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..most], self.left.start)?;
        self.left.start += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_part_is_read_and_no_more() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let read = |part: Range<u64>| {
            let mut text = String::new();
            Section::new(&file, part).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(2..5), "234");
        assert_eq!(read(0..u64::MAX), "0123456789");
        assert_eq!(read(8..20), "89");
        assert_eq!((read(5..5), read(20..30)), (String::new(), String::new()));
        assert_eq!(read(u64::MAX..u64::MAX), "");
        let mut section = Section::new(&file, 8..20);
        assert_eq!((section.read(&mut [0; 1]).unwrap(), section.n_left()), (1, 11));
    }
}
