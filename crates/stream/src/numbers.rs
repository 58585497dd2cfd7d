//! Numbers and texts in the files of a store's caches: LEB128, and a text after its length.

use std::io::{self, BufRead, ErrorKind};

/// Adds a number.
pub(crate) fn put_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    buffer.push(number.to_le_bytes()[0]);
}

/// Adds a text.
pub(crate) fn put_text(buffer: &mut Vec<u8>, text: &[u8]) {
    put_number(buffer, text.len() as u64);
    buffer.extend_from_slice(text);
}

/// Reads a byte.
pub(crate) fn byte(input: &mut impl BufRead) -> io::Result<u8> {
    loop {
        return match input.fill_buf() {
            Ok(&[byte, ..]) => {
                input.consume(1);
                Ok(byte)
            }
            Ok([]) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Reads a number.
pub(crate) fn number(input: &mut impl BufRead) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ErrorKind::InvalidData.into())
}

/// Reads a text of at most `limit` bytes.
pub(crate) fn text(input: &mut impl BufRead, limit: u64) -> io::Result<Vec<u8>> {
    let mut text = vec![];
    append_text(input, limit, &mut text)?;
    Ok(text)
}

/// Reads a text of at most `limit` bytes to the end of another. What comes first tells how long it is, and isn't believed: no memory is
/// taken for bytes that haven't come.
pub(crate) fn append_text(
    input: &mut impl BufRead,
    limit: u64,
    text: &mut Vec<u8>,
) -> io::Result<()> {
    let length = number(input)?;
    if length > limit {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut left = usize::try_from(length).map_err(|_| ErrorKind::InvalidData)?;
    while left > 0 {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let n = bytes.len().min(left);
        text.extend_from_slice(&bytes[..n]);
        input.consume(n);
        left -= n;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    /// Gives a byte at a time, and is interrupted before each.
    struct Halting<'a>(&'a [u8], bool);

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(ErrorKind::Interrupted.into()) } else { self.0.read(&mut buffer[..1]) }
        }
    }

    #[test]
    fn reading_goes_on_after_an_interruption() {
        let mut bytes = vec![7];
        put_number(&mut bytes, 300);
        put_text(&mut bytes, b"text");
        let mut input = BufReader::new(Halting(&bytes, false));
        assert_eq!(byte(&mut input).unwrap(), 7);
        assert_eq!(number(&mut input).unwrap(), 300);
        assert_eq!(text(&mut input, 4).unwrap(), b"text");
        assert_eq!(byte(&mut input).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_text_is_no_longer_than_its_limit_and_no_shorter_than_it_says() {
        let mut bytes = vec![];
        put_text(&mut bytes, b"text");
        let kind = |mut bytes: &[u8], limit| text(&mut bytes, limit).unwrap_err().kind();
        assert_eq!(kind(&bytes, 3), ErrorKind::InvalidData);
        assert_eq!(kind(&bytes[..4], 4), ErrorKind::UnexpectedEof);
    }
}
