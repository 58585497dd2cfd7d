//! Sparse files in the four ways that tars have them.
//!
//! A map is a list of (offset, length); the data stand after it without the holes. Offsets, and
//! lengths but the last, should be whole blocks of 512 bytes: readers differ on what else means.

use super::entry::{Entry, padded, put};

/// How a sparse file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// Type flag `S`, the map in the header and in blocks after it.
    Gnu,
    /// PAX records `GNU.sparse.offset` and `GNU.sparse.numbytes`, repeated.
    Pax00,
    /// PAX record `GNU.sparse.map`.
    Pax01,
    /// The map in decimal before the data.
    Pax10,
}

impl Sparse {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Gnu, Self::Pax00, Self::Pax01, Self::Pax10];

    /// Makes a member sparse.
    pub(crate) fn apply(self, entry: &mut Entry, size: u64, data: &[(u64, &[u8])]) {
        let mut map: Vec<(u64, u64)> =
            data.iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect();
        if map.last().is_none_or(|(at, length)| at + length < size) {
            map.push((size, 0));
        }
        entry.content = data.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        match self {
            Self::Gnu => old(entry, size, &map),
            Self::Pax00 => pax_0_0(entry, size, &map),
            Self::Pax01 => pax_0_1(entry, size, &map),
            Self::Pax10 => pax_1_0(entry, size, &map),
        }
    }
}

fn old(entry: &mut Entry, size: u64, map: &[(u64, u64)]) {
    entry.flag = b'S';
    entry.style = super::entry::Style::Gnu;
    let (first, rest) = map.split_at(map.len().min(4));
    let mut header = vec![0; 109];
    put_map(&mut header, first);
    header[96] = u8::from(!rest.is_empty());
    put(&mut header, 97..109, i128::from(size));
    entry.patches.push((386, header));
    let blocks = rest.chunks(21);
    let n_blocks = blocks.len();
    for (index, chunk) in blocks.enumerate() {
        let mut block = vec![0; 512];
        put_map(&mut block, chunk);
        block[504] = u8::from(index + 1 < n_blocks);
        entry.more_header.extend(block);
    }
}

fn put_map(bytes: &mut [u8], map: &[(u64, u64)]) {
    for (index, (at, length)) in map.iter().enumerate() {
        put(bytes, index * 24..index * 24 + 12, i128::from(*at));
        put(bytes, index * 24 + 12..index * 24 + 24, i128::from(*length));
    }
}

fn record(entry: &mut Entry, key: &str, value: &impl ToString) {
    entry.records.push((format!("GNU.sparse.{key}").into_bytes(), value.to_string().into_bytes()));
}

fn pax_0_0(entry: &mut Entry, size: u64, map: &[(u64, u64)]) {
    record(entry, "size", &size);
    record(entry, "numblocks", &map.len());
    for (at, length) in map {
        record(entry, "offset", at);
        record(entry, "numbytes", length);
    }
}

fn pax_0_1(entry: &mut Entry, size: u64, map: &[(u64, u64)]) {
    record(entry, "size", &size);
    record(entry, "numblocks", &map.len());
    let numbers: Vec<String> = map.iter().map(|(at, length)| format!("{at},{length}")).collect();
    record(entry, "map", &numbers.join(","));
    name_in_record(entry);
}

fn pax_1_0(entry: &mut Entry, size: u64, map: &[(u64, u64)]) {
    record(entry, "major", &1);
    record(entry, "minor", &0);
    record(entry, "realsize", &size);
    name_in_record(entry);
    let numbers = map.iter().flat_map(|(at, length)| [*at, *length]);
    let lines: Vec<String> = std::iter::once(map.len() as u64)
        .chain(numbers)
        .map(|number| format!("{number}\n"))
        .collect();
    let mut content = padded(lines.concat().as_bytes());
    content.append(&mut entry.content);
    entry.content = content;
}

/// The real name moves to a record; the header shows readers that know no better another one.
fn name_in_record(entry: &mut Entry) {
    let path = std::mem::replace(&mut entry.path, b"GNUSparseFile.0/sparse".to_vec());
    entry.records.push((b"GNU.sparse.name".to_vec(), path));
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::image::layer::Layer;

    #[test]
    fn gnu_tar_reads_all_four() {
        let parts: Vec<(u64, Vec<u8>)> =
            (0..30u8).map(|n| (u64::from(n) * 8192 + 512, vec![b'a' + n % 26; 1024])).collect();
        let parts: Vec<(u64, &[u8])> =
            parts.iter().map(|(at, data)| (*at, data.as_slice())).collect();
        let mut plain = vec![0; 300_000];
        for (at, data) in &parts {
            let at = usize::try_from(*at).unwrap();
            plain[at..at + data.len()].copy_from_slice(data);
        }
        for format in Sparse::ALL {
            let tar = Layer::new().sparse("s", format, 300_000, &parts).tar();
            let mut child = Command::new("tar")
                .args(["xO"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || input.write_all(&tar).unwrap());
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success());
            assert!(output.stdout == plain, "{format:?} reads back differently");
        }
    }
}
