//! Numbers and texts in the files of a store's caches: LEB128, and a text after its length.

use std::io::{self, Read};

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
pub(crate) fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Reads a number.
pub(crate) fn number(input: &mut impl Read) -> io::Result<u64> {
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
pub(crate) fn text(input: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let length = number(input)?;
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![];
    input.by_ref().take(length).read_to_end(&mut text)?;
    if text.len() as u64 == length { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
