//! PAX records: `LENGTH KEY=VALUE\n`, one after the other, in the content of `x` and `g` members (pax(1), "pax Extended
//! Header").
//!
//! Values are bytes: names need not be UTF-8, and xattrs are binary. The last record of a key counts. An empty value
//! removes the key, except for xattrs, whose values may be empty.

use std::str::FromStr;

use super::entry::Timestamp;
use super::libarchive;
use super::sparse::Records;
use crate::error::Error;

/// The longest content of an `x` or `g` member, in bytes. File systems allow far smaller xattrs only. A sparse map of
/// some 200,000 pieces fits into it. Go's reader stops at 1 MiB.
pub(super) const LIMIT: u64 = 4 << 20;

/// The longest name or link target in bytes, from a record, a GNU member or a header.
pub(super) const NAME_LIMIT: u64 = 1 << 20;

const XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";
const TEXT_ACL: &[u8] = b"SCHILY.acl.";

/// The values of the records before an entry.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    /// Sorted by name, with each name once.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Records,
    /// Whether there is an access control list in text form (`SCHILY.acl.…`). It is ignored, which is what Docker does,
    /// too.
    pub(super) has_text_acl: bool,
}

impl Extended {
    /// Parses the content of an `x` member.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut extended = Self::default();
        // Attributes in libarchive's own form. They count only where no `SCHILY` record has the same name.
        let mut others = vec![];
        for record in records(text) {
            let (key, value) = record?;
            match key.strip_prefix(LIBARCHIVE_XATTR) {
                Some(name) => others.push(libarchive_xattr(name, value)?),
                None => extended.take(key, value)?,
            }
        }
        extended.xattrs.splice(..0, others);
        // The sort is stable, so the last of several records with one name stays last.
        extended.xattrs.sort_by(|(a, _), (b, _)| a.cmp(b));
        extended.xattrs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        Ok(extended)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"path" => self.path = name(value, "a path")?,
            b"linkpath" => self.link_path = name(value, "a link's target")?,
            b"size" => self.size = size(value)?,
            b"uid" => self.uid = optional(value, "a uid beyond 32 bits, or none", decimal)?,
            b"gid" => self.gid = optional(value, "a gid beyond 32 bits, or none", decimal)?,
            b"mtime" => self.mtime = optional(value, "an mtime that is not a number", timestamp)?,
            _ => self.take_special(key, value)?,
        }
        Ok(())
    }

    fn take_special(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(name) = key.strip_prefix(XATTR) {
            if name.is_empty() {
                return Err(Error::MalformedHeader { reason: "an xattr without a name" });
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
        } else if let Some(key) = key.strip_prefix(SPARSE) {
            self.sparse.take(key, value)?;
        }
        self.has_text_acl |= key.starts_with(TEXT_ACL);
        Ok(())
    }
}

fn libarchive_xattr(name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let reason = "a LIBARCHIVE.xattr that is not what libarchive writes";
    libarchive::xattr(name, value).ok_or(Error::MalformedHeader { reason })
}

/// The `comment` in the content of a `g` member. It is `None` if there is no such record, and empty if a record removes
/// it.
///
/// The other records would be defaults for all later members. Docker and containerd don't apply them, so they are
/// ignored.
pub(super) fn comment(text: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut comment = None;
    for record in records(text) {
        let (key, value) = record?;
        if key == b"comment" {
            comment = Some(value);
        }
    }
    Ok(comment)
}

/// The comment in the content of a `g` member that has no other record.
pub(super) fn only_comment(text: &[u8]) -> Option<&[u8]> {
    let mut records = records(text);
    match (records.next(), records.next()) {
        (Some(Ok((b"comment", value))), None) => Some(value),
        _ => None,
    }
}

/// Appends a record. The key must have neither `=` nor NUL.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    // The length includes its own digits.
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// Appends the record of an xattr.
pub(super) fn push_xattr(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push(records, &[XATTR, name].concat(), value);
}

/// A time in PAX form: decimal seconds, with a fraction if it isn't 0. All nine digits of the fraction are written,
/// because mkfs.erofs takes the digits after the point for a number of nanoseconds.
pub(super) fn format_time(time: Timestamp) -> String {
    let (sign, seconds, nanos) = if time.seconds < 0 && time.nanos > 0 {
        ("-", (time.seconds + 1).unsigned_abs(), 1_000_000_000 - time.nanos)
    } else if time.seconds < 0 {
        ("-", time.seconds.unsigned_abs(), 0)
    } else {
        ("", time.seconds.unsigned_abs(), time.nanos)
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{nanos:09}")
}

/// The value of a record with a size. An empty value removes the record.
pub(super) fn size(value: &[u8]) -> Result<Option<u64>, Error> {
    optional(value, "a size that is none", |value| {
        decimal(value).filter(|&size: &u64| i64::try_from(size).is_ok())
    })
}

/// The value of a record with a name. An empty value removes the record.
pub(super) fn name(value: &[u8], what: &str) -> Result<Option<Vec<u8>>, Error> {
    if value.len() as u64 > NAME_LIMIT {
        return Err(Error::TooLarge { what: what.to_owned(), limit: NAME_LIMIT });
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// A decimal number.
pub(super) fn decimal<N: FromStr>(value: &[u8]) -> Option<N> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn optional<T>(
    value: &[u8],
    reason: &'static str,
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).ok_or(Error::MalformedHeader { reason })
}

/// A time in decimal seconds, which may be negative. The digits of the fraction beyond the ninth are dropped.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let point = value.iter().position(|&byte| byte == b'.').unwrap_or(value.len());
    let seconds: i64 = decimal(&value[..point])?;
    let digits = value.get(point + 1..).unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits =
        digits.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0)).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + digit);
    if value[0] != b'-' || nanos == 0 {
        return Some(Timestamp { seconds, nanos });
    }
    Some(Timestamp { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos })
}

fn records(text: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Error>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = split_record(rest);
        rest = record.map_or(&[], |(_, _, rest)| rest);
        let malformed = || Error::MalformedHeader { reason: "a malformed PAX record" };
        Some(record.map(|(key, value, _)| (key, value)).ok_or_else(malformed))
    })
}

/// The key and the value of the first record, and the bytes after it.
fn split_record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = text.iter().take(20).position(|&byte| byte == b' ')?;
    if !text[..blank].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (record, rest) = text.split_at_checked(decimal(&text[..blank])?)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Extended, Error> {
        Extended::parse(text)
    }

    #[track_caller]
    fn check_time(text: &str, expected: Option<(i64, u32)>) {
        let found = timestamp(text.as_bytes());
        assert_eq!(found.map(|time| (time.seconds, time.nanos)), expected, "{text}");
    }

    #[test]
    fn times_have_signs_and_fractions() {
        check_time("0", Some((0, 0)));
        check_time("1.5", Some((1, 500_000_000)));
        check_time("1.", Some((1, 0)));
        check_time("1.0000000019", Some((1, 1)));
        check_time("-1", Some((-1, 0)));
        check_time("-0.25", Some((-1, 750_000_000)));
        check_time("-2.000000001", Some((-3, 999_999_999)));
        check_time("253402300800", Some((253_402_300_800, 0)));
        check_time("9223372036854775807.9", Some((i64::MAX, 900_000_000)));
        check_time("-9223372036854775807.5", Some((i64::MIN, 500_000_000)));
        for text in [
            "",
            ".5",
            "x",
            "1.x",
            "1.5.5",
            "--1",
            "9223372036854775808",
            "-9223372036854775808.5",
            "1e5",
        ] {
            check_time(text, None);
        }
    }

    #[test]
    fn times_read_back_as_written() {
        for (seconds, nanos) in [
            (0, 0),
            (-1, 1),
            (-1, 0),
            (5, 120),
            (i64::MIN, 0),
            (i64::MIN, 1),
            (i64::MAX, 999_999_999),
        ] {
            check_time(&format_time(Timestamp { seconds, nanos }), Some((seconds, nanos)));
        }
        assert_eq!(format_time(Timestamp { seconds: -1, nanos: 500_000_000 }), "-0.500000000");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for n in [0, 1, 2, 89, 90, 91, 92, 93, 985, 986, 987, 988, 989, 99_990] {
            let mut text = Vec::new();
            push(&mut text, b"path", &vec![b'p'; n]);
            push(&mut text, b"uid", b"7");
            let extended = parse(&text).unwrap();
            assert_eq!(extended.path.map_or(0, |path| path.len()), n);
            assert_eq!(extended.uid, Some(7));
        }
    }

    fn text(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut text = Vec::new();
        for (key, value) in records {
            push(&mut text, key.as_bytes(), value);
        }
        text
    }

    #[test]
    fn the_last_record_counts_and_an_empty_one_deletes() {
        let xattrs: [(&str, &[u8]); 2] =
            [("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.a", b"")];
        let others: [(&str, &[u8]); 4] =
            [("path", b"a"), ("path", b"b"), ("size", b"1"), ("size", b"")];
        let extended = parse(&[text(&xattrs), text(&others)].concat()).unwrap();
        assert_eq!(extended.path.unwrap(), b"b");
        assert_eq!(extended.size, None);
        assert_eq!(extended.xattrs, [(b"user.a".to_vec(), b"".to_vec())]);
    }

    #[test]
    fn libarchives_xattrs_stand_back() {
        let records: [(&str, &[u8]); 5] = [
            ("SCHILY.xattr.user.a", b""),
            ("LIBARCHIVE.xattr.user.a", b"eA"),
            ("LIBARCHIVE.xattr.user.%62", b"eA"),
            ("LIBARCHIVE.xattr.user.b", b"eQ"),
            ("LIBARCHIVE.creationtime", b"1"),
        ];
        let xattrs = [(b"user.a".to_vec(), b"".to_vec()), (b"user.b".to_vec(), b"y".to_vec())];
        assert_eq!(parse(&text(&records)).unwrap().xattrs, xattrs);
    }

    #[test]
    fn values_are_any_bytes_and_unknown_keys_do_not_matter() {
        let records: [(&str, &[u8]); 4] = [
            ("path", b"a=b\n\xff"),
            ("foo", b"b\0r"),
            ("SCHILY.realsize", b"abc"),
            ("SCHILY.xattr.user.b", b"\0\n\xff"),
        ];
        let extended = parse(&text(&records)).unwrap();
        assert_eq!(extended.path.unwrap(), b"a=b\n\xff");
        assert_eq!(extended.xattrs, [(b"user.b".to_vec(), b"\0\n\xff".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        assert!(parse(b"9 path=a\n").is_ok());
        let texts = [
            b"11 path=a\n" as &[u8],
            b"8 path=a\n",
            b"9 path=a",
            b"path=a\n",
            b" 9 path=a\n",
            b"+9 path=a\n",
            b"0 \n",
            b"3 \n",
            b"2\n",
            b"9 pathea\n",
            b"5 =a\n",
            b"9 pa\0h=a\n",
            b"9 path=a\n\0\0",
            b"99999999999999999999 path=a\n",
            b"18446744073709551615 path=a\n",
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        let records: [(&str, &[u8]); 11] = [
            ("size", b"x"),
            ("size", b"-1"),
            ("size", b"9223372036854775808"),
            ("uid", b"4294967296"),
            ("gid", b"-1"),
            ("mtime", b"x"),
            ("SCHILY.xattr.", b""),
            ("SCHILY.xattr.", b"a"),
            ("SCHILY.xattr.a\0b", b"c"),
            ("LIBARCHIVE.xattr.user.a", b"e"),
            ("LIBARCHIVE.xattr.user.%4", b"eA"),
        ];
        for record in records {
            assert!(parse(&text(&[record])).is_err(), "{record:?}");
        }
    }

    #[test]
    fn names_have_a_limit() {
        let mut text = Vec::new();
        push(&mut text, b"path", &vec![b'p'; 1 << 20]);
        assert!(parse(&text).is_ok());
        push(&mut text, b"linkpath", &vec![b'p'; (1 << 20) + 1]);
        assert!(matches!(parse(&text), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_global_header_is_read_for_its_comment() {
        assert_eq!(comment(b"9 path=a\n14 comment=hi\n").unwrap(), Some(b"hi" as &[u8]));
        assert_eq!(comment(b"9 path=a\n").unwrap(), None);
        assert!(comment(b"9 path=a").is_err());
    }
}
