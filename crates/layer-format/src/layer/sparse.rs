//! Sparse files: the pieces that are in the archive (GNU tar's manual, "Storing Sparse Files").
//!
//! | format  | known by                       | where the map is                                           |
//! |---------|--------------------------------|------------------------------------------------------------|
//! | old GNU | type `S`                       | 4 pieces in the header, 21 in each block that follows it   |
//! | PAX 0.0 | `GNU.sparse.numblocks`         | records `GNU.sparse.offset`, `GNU.sparse.numbytes` in turns |
//! | PAX 0.1 | `GNU.sparse.map`               | that record: numbers with commas                           |
//! | PAX 1.0 | `GNU.sparse.major=1`, `minor=0` | the content's first blocks: decimal lines                  |
//!
//! A map is accepted only if its pieces ascend, lie within the file and add up to the size of the archive's content.

use std::io::BufRead;

use super::blocks::{BLOCK, Blocks};
use super::header::{Dialect, Header, REAL_SIZE, number};
use super::path::refuse;
use super::pax;
use crate::error::Error;

/// The most pieces of a file. Each takes 16 bytes in memory, and at least 24 in an archive.
const MAX_PIECES: usize = 1 << 20;

const TOO_MANY: &str = "more pieces of a sparse file than a file needs";

/// A piece of a sparse file: its offset and its length in bytes.
pub(super) type Piece = (u64, u64);

/// The real size of a sparse file in bytes, and its pieces.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) size: u64,
    pub(super) pieces: Vec<Piece>,
}

impl Map {
    /// Returns the map if it is valid for a file with `stored` bytes in the archive.
    pub(super) fn check(mut self, stored: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0, 0);
        for &(offset, length) in &self.pieces {
            if offset < end {
                return Err("pieces of a sparse file overlap or don't ascend");
            }
            end = offset
                .checked_add(length)
                .ok_or("a piece of a sparse file ends beyond all numbers")?;
            sum += length;
        }
        if end > self.size || i64::try_from(self.size).is_err() {
            return Err("a piece of a sparse file lies beyond its end");
        }
        if sum != stored {
            return Err("the pieces of a sparse file don't add up to what is stored");
        }
        self.pieces.retain(|&(_, length)| length > 0);
        Ok(self)
    }
}

/// The `GNU.sparse.*` records of an entry.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The name of the file. The record `path` has another name, for programs that don't know sparse files.
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    real_size: Option<u64>,
    n_pieces: Option<u64>,
    pieces: Option<Vec<Piece>>,
    offset: Option<u64>,
}

impl Records {
    /// Adds a record. `key` is its key without `GNU.sparse.`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"name" => self.name = pax::name(value, "a path")?,
            b"major" => self.major = pax::size(value)?,
            b"minor" => self.minor = pax::size(value)?,
            b"size" => self.size = pax::size(value)?,
            b"realsize" => self.real_size = pax::size(value)?,
            b"numblocks" => self.n_pieces = pax::size(value)?,
            b"map" => self.pieces = Some(parse_map(value).ok_or(MALFORMED)?),
            b"offset" if self.offset.is_none() => {
                self.offset = Some(pax::decimal(value).ok_or(MALFORMED)?);
            }
            b"numbytes" => {
                let offset = self.offset.take().ok_or(MALFORMED)?;
                let length = pax::decimal(value).ok_or(MALFORMED)?;
                self.pieces.get_or_insert_default().push((offset, length));
            }
            b"offset" => return Err(MALFORMED),
            _ => {}
        }
        Ok(())
    }
}

/// The map of the entry with this header and these records; `None` if the file isn't sparse. The content must have
/// begun. If the map is in the content, it is consumed.
pub(super) fn read_map<R: BufRead>(
    header: &Header,
    records: Records,
    name: &[u8],
    blocks: &mut Blocks<R>,
) -> Result<Option<Map>, Error> {
    let map = if header.typeflag() == b'S' {
        read_old(header, name, blocks)?
    } else {
        let size = records.size.or(records.real_size);
        let pieces = match (records.major, records.minor) {
            (Some(1), Some(0)) => read_content_map(name, blocks)?,
            (None, None) | (Some(0), Some(0 | 1)) => match recorded_pieces(records) {
                Ok(Some(pieces)) => pieces,
                Ok(None) => return Ok(None),
                Err(reason) => return Err(refuse(name, reason)),
            },
            _ => return Err(refuse(name, "a sparse file of an unknown version")),
        };
        let size = size.ok_or_else(|| refuse(name, "a sparse file without a size"))?;
        Map { size, pieces }
    };
    map.check(blocks.content()).map(Some).map_err(|reason| refuse(name, reason))
}

const MALFORMED: Error = Error::MalformedHeader { reason: "a malformed sparse map" };

fn recorded_pieces(records: Records) -> Result<Option<Vec<Piece>>, &'static str> {
    if records.offset.is_some() {
        return Err("a piece of a sparse file without a length");
    }
    let Some(n_pieces) = records.n_pieces else { return Ok(records.pieces) };
    let pieces = records.pieces.unwrap_or_default();
    if pieces.len() as u64 != n_pieces {
        return Err("a sparse file with another number of pieces than it says");
    }
    Ok(Some(pieces))
}

/// Parses `offset,length,offset,length…`.
fn parse_map(text: &[u8]) -> Option<Vec<Piece>> {
    if text.is_empty() {
        return Some(vec![]);
    }
    let mut numbers = text.split(|&byte| byte == b',').map(pax::decimal);
    let mut pieces = Vec::new();
    while let Some(offset) = numbers.next() {
        pieces.push((offset?, numbers.next()??));
    }
    Some(pieces)
}

fn read_old<R: BufRead>(
    header: &Header,
    name: &[u8],
    blocks: &mut Blocks<R>,
) -> Result<Map, Error> {
    if header.dialect() != Dialect::Gnu {
        return Err(refuse(name, "a sparse file of type S outside a GNU archive"));
    }
    let block = header.as_bytes();
    let mut pieces = Vec::new();
    read_slots(&block[386..482], &mut pieces).map_err(|reason| refuse(name, reason))?;
    let mut more = block[482] != 0;
    while more {
        let Some(block) = blocks.read_block()? else {
            return Err(Error::Truncated { what: "a sparse map".to_owned() });
        };
        read_slots(&block[..504], &mut pieces).map_err(|reason| refuse(name, reason))?;
        more = block[504] != 0;
    }
    let size = header
        .number(REAL_SIZE)
        .and_then(|size| u64::try_from(size).map_err(|_| "the real size is negative"));
    Ok(Map { size: size.map_err(|reason| refuse(name, reason))?, pieces })
}

/// Adds the pieces in a table of offsets and lengths with 12 bytes each. The table may end early.
fn read_slots(table: &[u8], pieces: &mut Vec<Piece>) -> Result<(), &'static str> {
    let number = |field| number(field).and_then(|number| u64::try_from(number).ok());
    for slot in table.chunks_exact(24) {
        if slot[0] == 0 || slot[12] == 0 {
            break;
        }
        if pieces.len() == MAX_PIECES {
            return Err(TOO_MANY);
        }
        let piece = number(&slot[..12]).zip(number(&slot[12..])).ok_or("a malformed sparse map")?;
        pieces.push(piece);
    }
    Ok(())
}

/// Reads the number of pieces, then offset and length of each, in decimal lines that end with a whole block.
fn read_content_map<R: BufRead>(name: &[u8], blocks: &mut Blocks<R>) -> Result<Vec<Piece>, Error> {
    let mut lines = Lines { name, blocks, block: [0; BLOCK], at: BLOCK };
    let n_pieces = lines.number()?;
    if n_pieces > MAX_PIECES as u64 {
        return Err(refuse(name, TOO_MANY));
    }
    let mut pieces = Vec::new();
    for _ in 0..n_pieces {
        pieces.push((lines.number()?, lines.number()?));
    }
    Ok(pieces)
}

/// The decimal lines at the beginning of a content.
struct Lines<'a, R> {
    name: &'a [u8],
    blocks: &'a mut Blocks<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, Error> {
        let mut digits = [0; 20];
        let mut n_digits = 0;
        loop {
            let byte = self.byte()?;
            if byte == b'\n' {
                break;
            }
            *digits
                .get_mut(n_digits)
                .ok_or_else(|| refuse(self.name, "a malformed sparse map"))? = byte;
            n_digits += 1;
        }
        pax::decimal(&digits[..n_digits]).ok_or_else(|| refuse(self.name, "a malformed sparse map"))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        if self.at == BLOCK {
            let block = self.blocks.read_content_block()?;
            self.block = block.ok_or_else(|| refuse(self.name, "a sparse map that never ends"))?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[Piece], size: u64, stored: u64, expected: Option<&[Piece]>) {
        let map = Map { size, pieces: pieces.to_vec() }.check(stored).ok();
        assert_eq!(map.map(|map| map.pieces).as_deref(), expected, "{pieces:?}");
    }

    #[test]
    fn a_table_ends_where_either_number_is_missing() {
        let pieces = |slots: &[[&[u8; 12]; 2]]| {
            let table: Vec<u8> =
                slots.iter().flatten().flat_map(|number| number.to_vec()).collect();
            let mut pieces = vec![];
            read_slots(&table, &mut pieces).map(|()| pieces)
        };
        let (one, two, none) = (b"00000000001\0", b"00000000002\0", &[0; 12]);
        assert_eq!(pieces(&[[one, two], [two, one]]), Ok(vec![(1, 2), (2, 1)]));
        for end in [[none, none], [none, one], [one, none]] {
            assert_eq!(pieces(&[[one, two], end, [two, one]]), Ok(vec![(1, 2)]), "{end:?}");
        }
    }

    #[test]
    fn a_map_must_agree_with_itself_and_with_the_archive() {
        check(&[(0, 5), (5, 5)], 10, 10, Some(&[(0, 5), (5, 5)]));
        check(&[(10, 0)], 10, 0, Some(&[]));
        check(&[(2, 3), (5, 0), (7, 1)], 10, 4, Some(&[(2, 3), (7, 1)]));
        check(&[], 1 << 40, 0, Some(&[]));
        check(&[(5, 5), (0, 5)], 10, 10, None);
        check(&[(0, 6), (5, 5)], 10, 11, None);
        check(&[(0, 5)], 10, 6, None);
        check(&[(0, 5)], 4, 5, None);
        check(&[(11, 0)], 10, 0, None);
        check(&[(u64::MAX, 1)], u64::MAX, 1, None);
        check(&[(0, u64::MAX), (u64::MAX, 0)], u64::MAX, u64::MAX, None);
        check(
            &[(0, i64::MAX.cast_unsigned())],
            i64::MAX.cast_unsigned(),
            i64::MAX.cast_unsigned(),
            Some(&[(0, i64::MAX.cast_unsigned())]),
        );
    }

    #[test]
    fn a_recorded_map_has_pairs_of_numbers() {
        assert_eq!(parse_map(b"1,2,30,4").unwrap(), [(1, 2), (30, 4)]);
        assert_eq!(parse_map(b"").unwrap(), [], "a file that is one hole");
        for text in [b"1" as &[u8], b"1,2,3", b"1,2,", b"1,-2", b"a,b", b"1,2,,3"] {
            assert_eq!(parse_map(text), None, "{text:?}");
        }
    }
}
