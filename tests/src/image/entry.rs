//! One member of a tar, from its parts to its blocks.

use std::io::Write as _;

use crate::or_panic::OrPanic as _;

/// How what a plain header cannot hold is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// PAX records.
    Pax,
    /// `L` and `K` members and base-256 numbers.
    Gnu,
}

/// The parts of one member.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) names: (String, String),
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) content: Vec<u8>,
    pub(crate) size: Option<u64>,
    pub(crate) records: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) raw_records: Option<Vec<u8>>,
    pub(crate) style: Style,
    pub(crate) patches: Vec<(usize, Vec<u8>)>,
    /// Header blocks that follow the first: old GNU sparse maps.
    pub(crate) more_header: Vec<u8>,
    pub(crate) checksum_off_by: u32,
}

impl Entry {
    /// A member without content, owned by root.
    pub(crate) fn new(flag: u8, path: &[u8], mode: u32) -> Self {
        Self {
            path: path.to_vec(),
            link: Vec::new(),
            flag,
            mode,
            uid: 0,
            gid: 0,
            names: Default::default(),
            mtime: (crate::EPOCH, 0),
            device: (0, 0),
            content: Vec::new(),
            size: None,
            records: Vec::new(),
            raw_records: None,
            style: Style::Pax,
            patches: Vec::new(),
            more_header: Vec::new(),
            checksum_off_by: 0,
        }
    }

    /// The member's blocks, with those of its extended headers before them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut records = self.records.clone();
        let mut out = Vec::new();
        let mut header = match self.style {
            Style::Pax => tar::Header::new_ustar(),
            Style::Gnu => tar::Header::new_gnu(),
        };
        let bytes = header.as_mut_bytes();
        self.put_text(bytes, &mut records, &mut out);
        self.put_numbers(bytes, &mut records);
        bytes[156] = self.flag;
        let body = match &self.raw_records {
            Some(bytes) => bytes.clone(),
            None => self::records(&records),
        };
        if !body.is_empty() {
            out.extend(extension(b'x', b"PaxHeaders/entry", &body));
        }
        for (offset, patch) in &self.patches {
            bytes[*offset..offset + patch.len()].copy_from_slice(patch);
        }
        header.set_cksum();
        let sum = header.cksum().or_panic("read back a checksum") + self.checksum_off_by;
        header.as_mut_bytes()[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header.as_bytes());
        out.extend(&self.more_header);
        out.extend(padded(&self.content));
        out
    }

    fn put_text(&self, bytes: &mut [u8], records: &mut Vec<(Vec<u8>, Vec<u8>)>, out: &mut Vec<u8>) {
        for (text, at, key, flag) in
            [(&self.path, 0, "path", b'L'), (&self.link, 157, "linkpath", b'K')]
        {
            let short = text.len().min(100);
            bytes[at..at + short].copy_from_slice(&text[..short]);
            match self.style {
                _ if text.len() <= 100 => {}
                Style::Pax => records.push((key.into(), text.clone())),
                Style::Gnu => {
                    out.extend(extension(flag, b"././@LongLink", &[text, &b"\0"[..]].concat()));
                }
            }
        }
        for (name, at) in [(&self.names.0, 265), (&self.names.1, 297)] {
            let short = name.len().min(31);
            bytes[at..at + short].copy_from_slice(&name.as_bytes()[..short]);
        }
    }

    fn put_numbers(&self, bytes: &mut [u8], records: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let size = self.size.unwrap_or(self.content.len() as u64);
        let (seconds, nanoseconds) = self.mtime;
        put(bytes, 100..108, i128::from(self.mode));
        for (value, field, key) in [
            (i128::from(self.uid), 108..116, "uid"),
            (i128::from(self.gid), 116..124, "gid"),
            (i128::from(size), 124..136, "size"),
        ] {
            if self.style == Style::Pax && !fits(value, field.len()) {
                records.push((key.into(), value.to_string().into_bytes()));
                put(bytes, field, 0);
            } else {
                put(bytes, field, value);
            }
        }
        let whole = fits(i128::from(seconds), 12) || self.style == Style::Gnu;
        if nanoseconds != 0 || !whole {
            records.push(("mtime".into(), decimal(seconds, nanoseconds).into_bytes()));
        }
        put(bytes, 136..148, if whole { i128::from(seconds) } else { 0 });
        put(bytes, 329..337, i128::from(self.device.0));
        put(bytes, 337..345, i128::from(self.device.1));
    }
}

/// A time as PAX writes it: `-0.5` is half a second before the epoch.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.trim_end_matches('0').to_owned()
}

/// Whether a field of so many bytes holds the value in octal, with its terminator.
fn fits(value: i128, bytes: usize) -> bool {
    value >= 0 && value < 1 << (3 * (bytes - 1))
}

/// Writes a number: octal where that fits, otherwise base 256.
pub(crate) fn put(bytes: &mut [u8], field: std::ops::Range<usize>, value: i128) {
    let field = &mut bytes[field];
    if fits(value, field.len()) {
        let digits = format!("{value:0width$o}\0", width = field.len() - 1);
        field.copy_from_slice(digits.as_bytes());
        return;
    }
    let all = value.to_be_bytes();
    let start = all.len() - field.len();
    field.copy_from_slice(&all[start..]);
    field[0] |= 0x80;
}

/// PAX records, each with its own length in front.
pub(crate) fn records(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length += 1;
        }
        write!(out, "{length} ").or_panic("write to a vector");
        out.extend([key, &b"="[..], value, &b"\n"[..]].concat());
    }
    out
}

/// A member whose content describes the next one.
fn extension(flag: u8, name: &[u8], body: &[u8]) -> Vec<u8> {
    let mut entry = Entry::new(flag, name, 0o644);
    entry.mtime = (0, 0);
    entry.content = body.to_vec();
    entry.encode()
}

/// The bytes, filled with zeros to whole blocks.
pub(crate) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().next_multiple_of(512), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, nanoseconds: u32, expected: &str) {
        assert_eq!(decimal(seconds, nanoseconds), expected);
    }

    #[test]
    fn times_are_written_as_pax_wants_them() {
        check(1, 0, "1");
        check(1, 20, "1.00000002");
        check(0, 500_000_000, "0.5");
        check(-1, 500_000_000, "-0.5");
        check(-2, 999_999_999, "-1.000000001");
        check(-2, 0, "-2");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 90, 93, 94, 95, 991, 992] {
            let bytes = records(&[(b"key".to_vec(), vec![b'v'; length])]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            let claimed: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(claimed, bytes.len());
        }
    }

    #[test]
    fn a_negative_number_is_its_two_complement() {
        let mut field = [0; 12];
        put(&mut field, 0..12, -1);
        assert_eq!(field, [0xff; 12]);
    }
}
