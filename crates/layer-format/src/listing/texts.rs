//! Byte strings in one buffer: names, link targets and extended attributes.

/// The number that stands for no text.
pub(super) const NONE: u32 = u32::MAX;

/// A buffer of many texts. Each is known by the offset at which it begins.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The texts, each after its length.
    bytes: Vec<u8>,
    /// The number of bytes in texts that are unused.
    n_wasted: usize,
}

impl Texts {
    /// Adds a text and returns its offset.
    pub(super) fn add(&mut self, text: &[u8]) -> u32 {
        let start = u32::try_from(self.bytes.len()).expect("a tree's limit is below 4 GiB");
        put_text(&mut self.bytes, text);
        start
    }

    /// The text at the offset `start`; empty for [`NONE`].
    pub(super) fn get(&self, start: u32) -> &[u8] {
        if start == NONE { &[] } else { split_text(&self.bytes[start as usize..]).0 }
    }

    /// Notes that a text is unused from now on.
    pub(super) fn waste(&mut self, start: u32) {
        if start != NONE {
            let rest = &self.bytes[start as usize..];
            self.n_wasted += rest.len() - split_text(rest).1.len();
        }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn n_wasted(&self) -> usize {
        self.n_wasted
    }
}

/// Joins extended attributes into one text, which is empty if there are none.
pub(super) fn join_xattrs(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut text = vec![];
    for (name, value) in xattrs {
        put_text(&mut text, name);
        put_text(&mut text, value);
    }
    text
}

/// Splits a text from [`join_xattrs`].
pub(super) fn split_xattrs(mut text: &[u8]) -> Box<[(Vec<u8>, Vec<u8>)]> {
    let mut xattrs = vec![];
    while !text.is_empty() {
        let (name, rest) = split_text(text);
        let (value, rest) = split_text(rest);
        xattrs.push((name.to_vec(), value.to_vec()));
        text = rest;
    }
    xattrs.into()
}

/// Appends a text after its length.
fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    bytes.push(length.to_le_bytes()[0]);
    bytes.extend_from_slice(text);
}

/// The first text, and the bytes after it.
fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut length = 0;
    for (at, byte) in bytes.iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at(length);
        }
    }
    (&[], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_found_where_they_begin() {
        let mut texts = Texts::default();
        let lengths = [0, 1, 127, 128, 300, 20_000, 3];
        let starts = lengths.map(|length| texts.add(&vec![b'x'; length]));
        assert_eq!(starts.map(|start| texts.get(start).len()), lengths);
        assert_eq!(texts.get(NONE), b"");
        let n_bytes = texts.n_bytes();
        starts.iter().chain([&NONE]).for_each(|&start| texts.waste(start));
        assert_eq!((texts.n_wasted(), n_bytes), (n_bytes, 20_559 + 11));
    }

    #[test]
    fn extended_attributes_come_out_as_they_went_in() {
        for n in [0, 1, 3] {
            let xattr = |n: u8| (vec![b'a' + n; 5], vec![n; usize::from(n) * 100]);
            let xattrs: Vec<_> = (0..n).map(xattr).collect();
            assert_eq!(*split_xattrs(&join_xattrs(&xattrs)), xattrs);
        }
    }
}
