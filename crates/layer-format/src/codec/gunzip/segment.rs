//! Decompresses what lies between two checkpoints.

use std::io;

use flate2::Crc;
use zlib_rs::{Inflate, InflateError, InflateFlush};

use super::{malformed, member, shift, step};
use crate::error::Error;

/// The size of a member's trailer: the CRC-32 and the number of its bytes (RFC 1952, section 2.3.1).
const TRAILER: usize = 8;

/// Where decompressing begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    /// At the beginning of a member.
    Member,
    /// At that of a block.
    Block {
        /// How many bits of the first byte are passed over.
        bit: u8,
        /// The bytes before, to which the block may refer.
        window: &'a [u8],
    },
}

/// Fills `plain` with what `stored` decompresses to from `start` on.
///
/// # Errors
/// The data is malformed or too short, or it doesn't begin there.
pub(super) fn decompress(start: Start<'_>, stored: &[u8], plain: &mut [u8]) -> io::Result<()> {
    fill(start, stored, plain).map_err(|cause| match cause {
        Cause::Short => io::ErrorKind::UnexpectedEof.into(),
        Cause::Malformed(error) => malformed(error),
    })
}

/// The same for a segment, the CRC-32 of whose stored bytes is known.
///
/// # Errors
/// The bytes are others, which is an error of the data; or they are those of the index, and it is wrong: [`Error::Malformed`].
pub(super) fn checked(
    start: Start<'_>,
    stored: &[u8],
    plain: &mut [u8],
    expected: u32,
) -> io::Result<()> {
    let mut crc = Crc::new();
    crc.update(stored);
    if crc.sum() != expected {
        return Err(malformed(InflateError::DataError));
    }
    decompress(start, stored, plain).map_err(|_| wrong_index())
}

/// The error for an index that isn't right about its own blob.
pub(super) fn wrong_index() -> io::Error {
    let reason = "it doesn't fit the blob; the next program does without it";
    Error::Malformed { what: "the layer's seek index".to_owned(), reason }.into()
}

enum Cause {
    Short,
    Malformed(InflateError),
}

fn fill(start: Start<'_>, stored: &[u8], plain: &mut [u8]) -> Result<(), Cause> {
    let (mut inflate, mut is_raw, prefix, mut stored) = match start {
        Start::Member => (member(), false, vec![], stored),
        Start::Block { bit, window } => {
            let mut inflate = Inflate::new(false, 15);
            inflate.set_dictionary(window).map_err(Cause::Malformed)?;
            let (prefix, stored) = match stored.split_first() {
                Some((first, rest)) if bit > 0 => (shift::prefix(*first, bit), rest),
                _ => (vec![], stored),
            };
            (inflate, true, prefix, stored)
        }
    };
    let mut prefix = &prefix[..];
    let mut n_made = 0;
    while n_made < plain.len() {
        let input = if prefix.is_empty() { &mut stored } else { &mut prefix };
        let step = step(&mut inflate, input, &mut plain[n_made..], InflateFlush::NoFlush)
            .map_err(Cause::Malformed)?;
        *input = &input[step.n_read..];
        n_made += step.n_made;
        if step.is_end && n_made < plain.len() {
            // The trailer of a member whose beginning isn't here can't be checked.
            let passed = if is_raw { TRAILER } else { 0 };
            stored = stored.get(passed..).ok_or(Cause::Short)?;
            (inflate, is_raw) = (member(), false);
        } else if step.n_made == 0 && step.n_read == 0 {
            return Err(Cause::Short);
        }
    }
    Ok(())
}
