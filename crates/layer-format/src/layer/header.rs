//! One header of a tar: 512 bytes with fields at fixed places (POSIX ustar, GNU tar's manual, star(5)).
//!
//! | bytes   | field    | | bytes   | field            | | GNU instead of the prefix |            |
//! |---------|----------|-|---------|------------------|-|---------------------------|------------|
//! | 0-99    | name     | | 156     | type             | | 345-368                   | atime ctime |
//! | 100-107 | mode     | | 157-256 | link name        | | 386-481                   | 4 pieces   |
//! | 108-123 | uid gid  | | 257-264 | magic            | | 482                       | more follow |
//! | 124-135 | size     | | 265-328 | uname gname      | | 483-494                   | real size  |
//! | 136-147 | mtime    | | 329-344 | major minor      | |                           |            |
//! | 148-155 | checksum | | 345-499 | prefix           | |                           |            |

use std::borrow::Cow;

use super::blocks::BLOCK;
use crate::error::Error;

/// A field for a number, with the error text for a field that has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    start: usize,
    end: usize,
    malformed: &'static str,
}

impl Field {
    const fn new(start: usize, end: usize, malformed: &'static str) -> Self {
        Self { start, end, malformed }
    }
}

pub(super) const MODE: Field = Field::new(100, 108, "the mode is not a number");
pub(super) const UID: Field = Field::new(108, 116, "the uid is not a number");
pub(super) const GID: Field = Field::new(116, 124, "the gid is not a number");
pub(super) const MTIME: Field = Field::new(136, 148, "the mtime is not a number");
pub(super) const MAJOR: Field = Field::new(329, 337, "the device number is not a number");
pub(super) const MINOR: Field = Field::new(337, 345, "the device number is not a number");
pub(super) const REAL_SIZE: Field = Field::new(483, 495, "the real size is not a number");
const SIZE: Field = Field::new(124, 136, "the size is not a number");
const CHECKSUM: Field = Field::new(148, 156, "");
const ACCESS_TIME: Field = Field::new(345, 357, "");
const CHANGE_TIME: Field = Field::new(357, 369, "");

/// A header whose checksum is correct.
#[derive(Clone, Debug)]
pub(super) struct Header([u8; BLOCK]);

/// The dialects of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    /// Parses a block as a header. Its checksum must be correct.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Error> {
        let header = Self(*block);
        let stored = octal(header.field(CHECKSUM))
            .ok_or(Error::MalformedHeader { reason: "no checksum" })?;
        let unsigned = |bytes: &[u8]| bytes.iter().map(|&byte| i64::from(byte)).sum::<i64>();
        // Some old programs added up signed bytes.
        let signed =
            |bytes: &[u8]| bytes.iter().map(|&byte| i64::from(byte.cast_signed())).sum::<i64>();
        if stored == header.checksum(unsigned) || stored == header.checksum(signed) {
            return Ok(header);
        }
        Err(Error::MalformedHeader { reason: "wrong checksum" })
    }

    pub(super) fn as_bytes(&self) -> &[u8; BLOCK] {
        &self.0
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if !magic.starts_with(b"ustar\0") => Dialect::V7,
            _ if &self.0[508..] == b"tar\0" => Dialect::Star,
            _ => Dialect::Ustar,
        }
    }

    /// The name, after the prefix in dialects that have one.
    pub(super) fn name(&self) -> Cow<'_, [u8]> {
        let name = text(&self.0[..100]);
        let prefix = match self.dialect() {
            Dialect::V7 => &[],
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            Dialect::Gnu => self.mistaken_prefix(),
        };
        if prefix.is_empty() { Cow::Borrowed(name) } else { Cow::Owned([prefix, name].join(&b'/')) }
    }

    pub(super) fn link_name(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    /// The size of the content in bytes, as the header states it.
    pub(super) fn size(&self) -> Result<u64, &'static str> {
        u64::try_from(self.number(SIZE)?).map_err(|_| "the size is negative")
    }

    pub(super) fn number(&self, field: Field) -> Result<i64, &'static str> {
        number(self.field(field)).ok_or(field.malformed)
    }

    /// The prefix in a GNU header that should have none. A GNU header has times in the place of ustar's prefix. Go's
    /// writer did not know that until 1.8, and many layers were made with it. A time that is no number is therefore
    /// taken for a part of such a prefix, which is what Go's reader does, too.
    fn mistaken_prefix(&self) -> &[u8] {
        let is_time = |field| self.field(field)[0] == 0 || number(self.field(field)).is_some();
        let prefix = text(&self.0[345..500]);
        if self.typeflag() == b'S'
            || !prefix.is_ascii()
            || (is_time(ACCESS_TIME) && is_time(CHANGE_TIME))
        {
            return &[];
        }
        prefix
    }

    fn field(&self, field: Field) -> &[u8] {
        &self.0[field.start..field.end]
    }

    /// The sum of all bytes. The bytes of the checksum itself count as blanks.
    fn checksum(&self, sum: impl Fn(&[u8]) -> i64) -> i64 {
        sum(&self.0[..CHECKSUM.start]) + 8 * i64::from(b' ') + sum(&self.0[CHECKSUM.end..])
    }
}

/// The values of the writer for a header. A value that doesn't fit is left 0 or empty here and needs a PAX record.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) name: &'a [u8],
    pub(super) link_name: &'a [u8],
    pub(super) typeflag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) device: Option<(u32, u32)>,
}

impl Fields<'_> {
    /// The ustar header with these fields.
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        if let Some((prefix, name)) = split(self.name) {
            block[..name.len()].copy_from_slice(name);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
        }
        if fits_link(self.link_name) {
            block[157..157 + self.link_name.len()].copy_from_slice(self.link_name);
        }
        block[156] = self.typeflag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        put_octal(&mut block, MODE, self.mode.into());
        put_octal(&mut block, UID, self.uid.into());
        put_octal(&mut block, GID, self.gid.into());
        put_octal(&mut block, SIZE, self.size);
        put_octal(&mut block, MTIME, u64::try_from(self.mtime).unwrap_or(0));
        if let Some((major, minor)) = self.device {
            put_device(&mut block, MAJOR, major);
            put_device(&mut block, MINOR, minor);
        }
        block[CHECKSUM.start..CHECKSUM.end].fill(b' ');
        let sum = block.iter().map(|&byte| u64::from(byte)).sum();
        put_octal(&mut block, Field { end: CHECKSUM.end - 1, ..CHECKSUM }, sum);
        block
    }
}

/// Whether a user or group ID fits into a header.
pub(super) fn fits_id(id: u32) -> bool {
    id < 1 << 21
}

/// Whether a size or a time fits into a header.
pub(super) fn fits_long(number: u64) -> bool {
    number < 1 << 33
}

/// Whether a link's target fits into a header.
pub(super) fn fits_link(target: &[u8]) -> bool {
    target.len() <= 100
}

/// Cuts a name at a slash into prefix and name; `None` if there is no such cut.
pub(super) fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    // The slash at the end of a directory's name can't be the cut.
    let cuts = &name[..name.len().min(157) - 1];
    let cut = cuts.iter().rposition(|&byte| byte == b'/').filter(|&cut| cut > 0)?;
    let rest = &name[cut + 1..];
    (rest.len() <= 100).then_some((&name[..cut], rest))
}

fn put_octal(block: &mut [u8; BLOCK], field: Field, number: u64) {
    let digits = field.end - field.start - 1;
    let number = if number >> (3 * digits) == 0 { number } else { 0 };
    for (place, byte) in block[field.start..field.end - 1].iter_mut().rev().enumerate() {
        *byte = b'0' + u8::try_from(number >> (3 * place) & 7).expect("an octal digit is small");
    }
    block[field.end - 1] = 0;
}

/// Writes a device number. PAX has no records for device numbers, so a large one is written in binary, which all
/// readers know.
fn put_device(block: &mut [u8; BLOCK], field: Field, number: u32) {
    if fits_id(number) {
        return put_octal(block, field, number.into());
    }
    block[field.start] = 0x80;
    block[field.end - 4..field.end].copy_from_slice(&number.to_be_bytes());
}

/// The text of a field, up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// The number in a field, which is written in octal digits, or in binary if the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // The number is the two's complement of the remaining seven bits and of the following bytes.
    let mut number = i64::from((first << 1).cast_signed() >> 1);
    for &byte in rest {
        number = number.checked_mul(256)? + i64::from(byte);
    }
    Some(number)
}

/// A number in octal digits between blanks and NULs. An empty field is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let start = field.iter().position(|&byte| byte != b' ' && byte != 0).unwrap_or(field.len());
    let mut number = 0_i64;
    for &digit in text(&field[start..]).trim_ascii_end() {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        number = number.checked_mul(8)? + i64::from(digit - b'0');
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &[u8], expected: Option<i64>) {
        assert_eq!(number(field), expected, "{field:?}");
    }

    #[test]
    fn octal_numbers_come_with_blanks_and_nuls() {
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\x00644\0\0\0", Some(0o644));
        check(b"644\0junk", Some(0o644));
        check(b"77777777777 ", Some(0o77_777_777_777));
        check(b"777777777777", Some(0o777_777_777_777));
        check(b"", None);
        check(b"\0\0\0", Some(0));
        check(b"    ", Some(0));
        for field in [b"0000648\0" as &[u8], b"-1\0", b"6 4\0", b"0x1\0", b"\x7f\0"] {
            check(field, None);
        }
        check(&[b'7'; 24], None);
    }

    #[test]
    fn binary_numbers_have_a_sign_and_an_end() {
        check(b"\x80\0\0\0\0\0\0\x05", Some(5));
        check(&[0xff; 12], Some(-1));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
        check(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX));
        check(b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN));
        check(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None);
        check(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None);
        check(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
        check(b"\xc0\0\0\0\0\0\0\0\0\0\0\0", None);
    }

    #[test]
    fn both_checksums_count_and_no_other() {
        let mut block = *tar::Header::new_ustar().as_bytes();
        block[..3].copy_from_slice(b"\xff\xfe\xfd");
        block[148..156].fill(b' ');
        let unsigned: i64 = block.iter().map(|&byte| i64::from(byte)).sum();
        for (sum, good) in [(unsigned, true), (unsigned - 3 * 256, true), (unsigned + 1, false)] {
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(Header::parse(&block).is_ok(), good);
        }
    }

    #[test]
    fn each_dialect_has_its_own_prefix() {
        let name = |magic: &[u8], trailer: &[u8]| {
            let mut block = [0; BLOCK];
            block[..4].copy_from_slice(b"name");
            block[257..257 + magic.len()].copy_from_slice(magic);
            block[345..351].copy_from_slice(b"prefix");
            block[508..508 + trailer.len()].copy_from_slice(trailer);
            Header(block).name().into_owned()
        };
        assert_eq!(name(b"ustar\x0000", b""), b"prefix/name");
        assert_eq!(name(b"ustar\x0000", b"tar\0"), b"prefix/name");
        assert_eq!(name(b"ustar  \0", b""), b"prefix/name", "as Go before 1.8 wrote it");
        assert_eq!(name(b"", b""), b"name");
    }

    #[test]
    fn long_names_are_cut_at_a_slash_if_they_can_be() {
        let long = |n, m| [vec![b'a'; n], vec![b'b'; m]].join(&b'/');
        assert_eq!(split(&[b'a'; 100]).unwrap().0, b"");
        assert_eq!(split(&long(155, 100)).unwrap().0.len(), 155);
        assert_eq!(split(&long(156, 10)), None);
        assert_eq!(split(&long(50, 101)), None);
        assert_eq!(split(&[b'a'; 101]), None);
        let directory = [long(90, 90), b"/".to_vec()].concat();
        assert_eq!(split(&directory).unwrap().1.len(), 91);
        assert_eq!(split(&[vec![b'a'; 120], b"/".to_vec()].concat()), None);
    }
}
