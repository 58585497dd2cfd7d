//! Numbers and texts in the files of a store's caches: LEB128, and a text after its length.

use std::io::{self, BufRead};

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
    let byte = *input.fill_buf()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
    input.consume(1);
    Ok(byte)
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
    Err(io::ErrorKind::InvalidData.into())
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
    let mut left =
        usize::try_from(number(input)?.min(limit.saturating_add(1))).unwrap_or(usize::MAX);
    if left as u64 > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while left > 0 {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n = bytes.len().min(left);
        text.extend_from_slice(&bytes[..n]);
        input.consume(n);
        left -= n;
    }
    Ok(())
}
