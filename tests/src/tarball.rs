//! Reads a tar strictly, block by block, without guessing.
//!
//! Apart from the header's fields, which the `tar` crate decodes, nothing is shared with the
//! programs: PAX and GNU long names are put together here.

use std::collections::BTreeMap;
use std::ops::Range;

/// One member, with what its extended headers said.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Where the content stands in the archive.
    pub(crate) content: Range<usize>,
    /// The PAX records, last of a key.
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The members of an archive that ends with two zero blocks and nothing but zeros after them.
pub(crate) fn read(tar: &[u8]) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    let mut at = 0;
    let mut pending = Pending::default();
    loop {
        let block = tar.get(at..at + 512).ok_or_else(|| format!("the tar is cut at byte {at}"))?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let member = member(tar, at, &pending)?;
        at = member.content.end.next_multiple_of(512);
        if at > tar.len() {
            return Err(format!("the tar is cut within {}", member.path.escape_ascii()));
        }
        match member.flag {
            b'x' => pending.records = records(&tar[member.content])?,
            b'g' => {}
            b'L' => pending.path = Some(until_zero(&tar[member.content])),
            b'K' => pending.link = Some(until_zero(&tar[member.content])),
            _ => {
                members.push(member);
                pending = Pending::default();
            }
        }
    }
    match tar.get(at..at + 1024) {
        None => Err("the tar does not end with two zero blocks".to_owned()),
        Some(_) if tar[at..].iter().any(|byte| *byte != 0) => {
            Err(format!("something stands after the tar's end at byte {at}"))
        }
        Some(_) => Ok(members),
    }
}

/// What extended headers said about the member to come.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn member(tar: &[u8], at: usize, pending: &Pending) -> Result<Member, String> {
    let block = &tar[at..at + 512];
    let header = tar::Header::from_byte_slice(block);
    let bad = |error| format!("header at byte {at}: {error}");
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    if header.cksum().map_err(bad)? != sum + 8 * 32 {
        return Err(format!("header at byte {at}: wrong checksum"));
    }
    let records = &pending.records;
    let number = |key: &str, plain: u64| match records.get(key.as_bytes()) {
        Some(text) => parse(text),
        None => Ok(plain),
    };
    let size = number("size", header.entry_size().map_err(bad)?)?;
    let size = if matches!(block[156], b'1'..=b'6') { 0 } else { size };
    let size = usize::try_from(size).map_err(|error| error.to_string())?;
    let end = (at + 512).checked_add(size).ok_or("a size beyond all memory")?;
    let name = records.get(&b"path"[..]).cloned().or_else(|| pending.path.clone());
    let link = records.get(&b"linkpath"[..]).cloned().or_else(|| pending.link.clone());
    let mtime = match records.get(&b"mtime"[..]) {
        Some(text) => time(text)?,
        None => (seconds(&block[136..148], header)?, 0),
    };
    Ok(Member {
        path: name.unwrap_or_else(|| header.path_bytes().into_owned()),
        link: link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default(),
        flag: block[156],
        mode: header.mode().map_err(bad)?,
        uid: number("uid", header.uid().map_err(bad)?)?,
        gid: number("gid", header.gid().map_err(bad)?)?,
        mtime,
        device: if matches!(block[156], b'3' | b'4') {
            let major = header.device_major().map_err(bad)?;
            (major.unwrap_or_default(), header.device_minor().map_err(bad)?.unwrap_or_default())
        } else {
            (0, 0)
        },
        content: at + 512..end,
        records: records.clone(),
    })
}

fn seconds(field: &[u8], header: &tar::Header) -> Result<i64, String> {
    if field[0] == 0xff {
        let low: [u8; 8] = field[4..].try_into().map_err(|_| "a short field".to_owned())?;
        return Ok(i64::from_be_bytes(low));
    }
    let plain = header.mtime().map_err(|error| error.to_string())?;
    i64::try_from(plain).map_err(|error| error.to_string())
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T, String> {
    let wrong = || format!("not a number: {}", text.escape_ascii());
    std::str::from_utf8(text).map_err(|_| wrong())?.parse().map_err(|_| wrong())
}

/// Seconds, rounded down, and nanoseconds of a PAX time.
fn time(text: &[u8]) -> Result<(i64, u32), String> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let mut digits = fraction.to_vec();
    digits.resize(9, b'0');
    let nanoseconds: u32 = parse(&digits)?;
    let seconds: i64 = parse(whole)?;
    match (whole.starts_with(b"-"), nanoseconds) {
        (true, 1..) => Ok((seconds - 1, 1_000_000_000 - nanoseconds)),
        _ => Ok((seconds, nanoseconds)),
    }
}

fn records(mut body: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    let mut records = BTreeMap::new();
    while !body.is_empty() {
        let space = position(body, b' ')?;
        let length: usize = parse(&body[..space])?;
        let record = body.get(space + 1..length).ok_or("a PAX record is cut")?;
        let [pair @ .., b'\n'] = record else {
            return Err("a PAX record does not end with a newline".to_owned());
        };
        let equals = position(pair, b'=')?;
        records.insert(pair[..equals].to_vec(), pair[equals + 1..].to_vec());
        body = &body[length..];
    }
    Ok(records)
}

fn position(bytes: &[u8], wanted: u8) -> Result<usize, String> {
    let found = bytes.iter().position(|byte| *byte == wanted);
    found.ok_or_else(|| format!("a PAX record without {}", wanted.escape_ascii()))
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|byte| *byte != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::Layer;

    #[test]
    fn what_the_builder_wrote_comes_back() {
        let long = "l".repeat(150);
        let tar = Layer::new()
            .file(&long, "x")
            .mtime(-1, 250_000_000)
            .owner(1 << 40, 7)
            .symlink("s", &long)
            .gnu()
            .mtime(-9, 0)
            .tar();
        let members = read(&tar).unwrap();
        assert_eq!(members[0].path, long.as_bytes());
        assert_eq!(members[0].mtime, (-1, 250_000_000));
        assert_eq!((members[0].uid, members[0].gid), (1 << 40, 7));
        assert_eq!(members[1].link, long.as_bytes());
        assert_eq!(members[1].mtime, (-9, 0));
    }

    #[test]
    fn a_missing_or_followed_end_is_refused() {
        let layer = Layer::new().file("a", "b");
        read(&layer.clone().end([0; 512]).tar()).unwrap_err();
        read(&layer.clone().end("").tar()).unwrap_err();
        read(&[layer.tar(), b"x".to_vec()].concat()).unwrap_err();
        read(&layer.bad_checksum().tar()).unwrap_err();
    }
}
