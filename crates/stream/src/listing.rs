//! A file with one layer's changes, without contents. It has what a tree needs of a layer, and is a hundred times
//! smaller than the layer.
//!
//! ```text
//! file    = "strata listing 2" LF *change 0 digest
//! change  = kind path [ entry ]
//! kind    = 1 whiteout | 2 opaque whiteout | 3 directory | 4 file | 5 symbolic link | 6 hard link
//!         | 7 character device | 8 block device | 9 fifo
//! path    = number of bytes shared with the path before, text
//! entry   = mode uid gid seconds nanoseconds, number of xattrs, name and value of each,
//!           then a file's size and place, a link's target, or a device's major and minor
//! place   = 0 if it isn't known; otherwise 1 and the bytes between the last known content, padded to
//!           blocks of 512, and this one; none for an empty file
//! text    = its length, and as many bytes
//! digest  = "sha256:…" of all before and of the layer's diff id
//! ```
//!
//! Numbers are LEB128; signed ones have their sign in the lowest bit. The digest reveals a file that is damaged,
//! half-written or about another layer. Listings are only a cache: another format gets another first line, and files in
//! the old one count as missing.

use std::io::{self, BufRead, Read, Write};

use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use layer_format::listing::allowance;
use layer_format::{Algorithm, DiffId, Digest, Error, Hasher};

use crate::numbers::{append_text, byte, number, put_number, put_text, text};

const MAGIC: &[u8] = b"strata listing 2\n";
/// The size in bytes of the digest at the end: `sha256:` and the hash.
const DIGEST_SIZE: usize = 71;
/// The number of bytes that are collected before a write.
const BUFFER: usize = 64 << 10;
/// The longest text in bytes. No path, link or xattr in a layer can be longer.
const TEXT_LIMIT: u64 = 4 << 20;

/// Writes a listing, one change at a time.
#[derive(Debug)]
pub struct ListingWriter<W> {
    inner: W,
    hasher: Hasher,
    buffer: Vec<u8>,
    path: Vec<u8>,
    /// Where the last content whose place is known ends, with its padding.
    content_end: u64,
    n_changes: u64,
    /// The number of bytes that were written, without those in the buffer.
    n_written: u64,
}

impl<W: Write> ListingWriter<W> {
    /// Begins a listing in `inner`.
    pub fn new(inner: W) -> Self {
        let hasher = Hasher::new(Algorithm::Sha256);
        let (buffer, path) = (MAGIC.to_vec(), vec![]);
        Self { inner, hasher, buffer, path, content_end: 0, n_changes: 0, n_written: 0 }
    }

    /// Adds a change. `content` is the offset of a file's content in the layer; `None` if it isn't known.
    ///
    /// # Errors
    /// `inner` can't be written to, or the listing exceeds the [`allowance`], so that a tree of it would be refused.
    pub fn write_change(&mut self, change: &Change, content: Option<u64>) -> io::Result<()> {
        let path = match change {
            Change::Add(Entry { path, .. }) | Change::Remove(path) | Change::Opaque(path) => path,
        };
        self.buffer.push(code(change));
        self.put_path(path.as_bytes());
        if let Change::Add(entry) = change {
            put_entry(&mut self.buffer, entry);
            self.put_place(&entry.kind, content);
        }
        self.n_changes += 1;
        if self.n_written > allowance(self.n_changes) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Ends the listing of the layer with this diff id, and gives the inner writer back.
    ///
    /// # Errors
    /// The inner writer can't be written to.
    pub fn finish(mut self, diff_id: &DiffId) -> io::Result<W> {
        self.buffer.push(0);
        self.flush()?;
        let digest = seal(self.hasher, diff_id);
        self.inner.write_all(digest.as_bytes())?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn put_place(&mut self, kind: &EntryKind, content: Option<u64>) {
        let Some(size) = size_of_content(kind) else { return };
        // The pieces of a sparse file aren't in a listing.
        let is_whole = !matches!(kind, EntryKind::File { data: Some(_), .. });
        let content = content.filter(|_| is_whole);
        match content.and_then(|content| content.checked_sub(self.content_end)) {
            None => put_number(&mut self.buffer, 0),
            Some(gap) => {
                put_number(&mut self.buffer, gap.saturating_add(1));
                self.content_end = end_of(self.content_end.saturating_add(gap), size);
            }
        }
    }

    fn put_path(&mut self, path: &[u8]) {
        let shared = self.path.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_number(&mut self.buffer, shared as u64);
        put_text(&mut self.buffer, &path[shared..]);
        self.path.truncate(shared);
        self.path.extend_from_slice(&path[shared..]);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.inner.write_all(&self.buffer)?;
        self.n_written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// The size of a file's content in bytes; `None` for what has none.
fn size_of_content(kind: &EntryKind) -> Option<u64> {
    match kind {
        EntryKind::File { size, .. } if *size > 0 => Some(*size),
        _ => None,
    }
}

/// Where a content ends, with its padding.
fn end_of(content: u64, size: u64) -> u64 {
    content.saturating_add(size).checked_next_multiple_of(512).unwrap_or(u64::MAX)
}

/// Whether the `size` bytes of `content` are the undamaged listing of this layer. A listing must be checked before it
/// is read.
///
/// # Errors
/// `content` can't be read.
pub fn is_listing(mut content: impl Read, size: u64, diff_id: &DiffId) -> io::Result<bool> {
    let Some(size) = size.checked_sub(DIGEST_SIZE as u64) else { return Ok(false) };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match content.read(&mut buffer[..most])? {
            0 => return Ok(false),
            n => {
                hasher.update(&buffer[..n]);
                left -= n as u64;
            }
        }
    }
    let mut digest = String::new();
    content.take(DIGEST_SIZE as u64).read_to_string(&mut digest)?;
    Ok(digest == seal(hasher, diff_id))
}

fn seal(mut hasher: Hasher, diff_id: &DiffId) -> String {
    hasher.update(diff_id.to_string().as_bytes());
    let digest: Digest = hasher.finish();
    digest.to_string()
}

/// Reads a listing, one change at a time.
#[derive(Debug)]
pub struct ListingReader<R> {
    inner: R,
    path: Vec<u8>,
    /// Where the last content whose place is known ends, with its padding.
    content_end: u64,
    content: Option<u64>,
}

impl<R: BufRead> ListingReader<R> {
    /// Begins to read a listing that [`is_listing`] has accepted; `None` if it is of another version.
    ///
    /// # Errors
    /// `inner` can't be read.
    pub fn new(mut inner: R) -> io::Result<Option<Self>> {
        let mut magic = [0; MAGIC.len()];
        inner.read_exact(&mut magic)?;
        Ok((magic == MAGIC).then_some(Self { inner, path: vec![], content_end: 0, content: None }))
    }

    /// The next change; `None` after the last one. Files have no pieces.
    ///
    /// # Errors
    /// The listing can't be read or is malformed.
    pub fn read_change(&mut self) -> Result<Option<Change>, Error> {
        self.content = None;
        let kind = byte(&mut self.inner).map_err(reading)?;
        if kind == 0 {
            return Ok(None);
        }
        let path = self.read_path()?;
        Ok(Some(match kind {
            1 => Change::Remove(path),
            2 => Change::Opaque(path),
            kind => Change::Add(self.entry(kind, path)?),
        }))
    }

    /// The offset in the layer of the content of the file that [`read_change`](Self::read_change) returned last; `None` if it isn't
    /// known or there is none.
    pub fn content(&self) -> Option<u64> {
        self.content
    }

    fn read_place(&mut self, kind: &EntryKind) -> Result<(), Error> {
        let Some(size) = size_of_content(kind) else { return Ok(()) };
        let gap = self.number()?.checked_sub(1);
        self.content = gap.map(|gap| self.content_end.saturating_add(gap));
        self.content_end = self.content.map_or(self.content_end, |content| end_of(content, size));
        Ok(())
    }

    fn read_path(&mut self) -> Result<EntryPath, Error> {
        let shared = self.number()?;
        let shared = usize::try_from(shared).map_err(|_| malformed())?;
        if shared > self.path.len() {
            return Err(malformed());
        }
        self.path.truncate(shared);
        append_text(&mut self.inner, TEXT_LIMIT, &mut self.path).map_err(reading)?;
        EntryPath::parse(&self.path)
    }

    fn entry(&mut self, kind: u8, path: EntryPath) -> Result<Entry, Error> {
        let [mode, uid, gid] = [self.small()?, self.small()?, self.small()?];
        let seconds = self.number()?;
        let seconds = (seconds >> 1).cast_signed() ^ -(seconds & 1).cast_signed();
        let mtime = Timestamp { seconds, nanos: self.small()? };
        let mut xattrs = vec![];
        for _ in 0..self.small()? {
            xattrs.push((self.text()?, self.text()?));
        }
        let kind = self.kind(kind)?;
        self.read_place(&kind)?;
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
    }

    fn kind(&mut self, kind: u8) -> Result<EntryKind, Error> {
        Ok(match kind {
            3 => EntryKind::Directory,
            4 => EntryKind::File { size: self.number()?, data: None },
            5 => EntryKind::Symlink { target: self.text()? },
            6 => EntryKind::Hardlink { target: EntryPath::parse(&self.text()?)? },
            7 => EntryKind::CharDevice { major: self.small()?, minor: self.small()? },
            8 => EntryKind::BlockDevice { major: self.small()?, minor: self.small()? },
            9 => EntryKind::Fifo,
            _ => return Err(malformed()),
        })
    }

    fn small(&mut self) -> Result<u32, Error> {
        u32::try_from(self.number()?).map_err(|_| malformed())
    }

    fn number(&mut self) -> Result<u64, Error> {
        number(&mut self.inner).map_err(reading)
    }

    fn text(&mut self) -> Result<Vec<u8>, Error> {
        text(&mut self.inner, TEXT_LIMIT).map_err(reading)
    }
}

fn code(change: &Change) -> u8 {
    match change {
        Change::Remove(_) => 1,
        Change::Opaque(_) => 2,
        Change::Add(entry) => match entry.kind {
            EntryKind::Directory => 3,
            EntryKind::File { .. } => 4,
            EntryKind::Symlink { .. } => 5,
            EntryKind::Hardlink { .. } => 6,
            EntryKind::CharDevice { .. } => 7,
            EntryKind::BlockDevice { .. } => 8,
            EntryKind::Fifo => 9,
        },
    }
}

fn put_entry(buffer: &mut Vec<u8>, entry: &Entry) {
    let Entry { kind, mode, uid, gid, mtime, xattrs, .. } = entry;
    for number in [*mode, *uid, *gid] {
        put_number(buffer, number.into());
    }
    let seconds = mtime.seconds;
    put_number(buffer, ((seconds << 1) ^ (seconds >> 63)).cast_unsigned());
    put_number(buffer, mtime.nanos.into());
    put_number(buffer, xattrs.len() as u64);
    for (name, value) in xattrs {
        put_text(buffer, name);
        put_text(buffer, value);
    }
    match kind {
        EntryKind::File { size, .. } => put_number(buffer, *size),
        EntryKind::Symlink { target } => put_text(buffer, target),
        EntryKind::Hardlink { target } => put_text(buffer, target.as_bytes()),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(buffer, (*major).into());
            put_number(buffer, (*minor).into());
        }
        EntryKind::Directory | EntryKind::Fifo => {}
    }
}

fn reading(source: io::Error) -> Error {
    Error::io("reading a layer's listing", source)
}

fn malformed() -> Error {
    Error::Malformed { what: "a layer's listing".to_owned(), reason: "it makes no sense" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &[u8]) -> EntryPath {
        EntryPath::parse(text).unwrap()
    }

    fn changes() -> Vec<Change> {
        let kinds = [
            EntryKind::Directory,
            EntryKind::File { size: u64::MAX >> 1, data: None },
            EntryKind::File { size: 0, data: None },
            EntryKind::Symlink { target: b"../\xff\n".to_vec() },
            EntryKind::Hardlink { target: path(b"usr/bin/x") },
            EntryKind::CharDevice { major: 1, minor: u32::MAX },
            EntryKind::BlockDevice { major: 300, minor: 0 },
            EntryKind::Fifo,
        ];
        let times = [0, -1, 1, i64::MIN, i64::MAX, 1_700_000_000, 127, 128];
        let entries = kinds.into_iter().zip(times).enumerate().map(|(n, (kind, seconds))| {
            Change::Add(Entry {
                path: path(format!("usr/bin/{n}").as_bytes()),
                kind,
                mode: 0o7777,
                uid: u32::MAX,
                gid: u32::try_from(n).unwrap(),
                mtime: Timestamp { seconds, nanos: 999_999_999 },
                xattrs: vec![(b"user.a".to_vec(), vec![]), (b"user.b".to_vec(), vec![0; n * 100])],
            })
        });
        let whiteouts = [Change::Remove(path(b"usr/\xfe")), Change::Opaque(EntryPath::root())];
        entries.chain(whiteouts).collect()
    }

    /// The places of [`changes`]. Those of what has no content aren't kept.
    fn places() -> impl Iterator<Item = Option<u64>> {
        [Some(512), Some(1024), Some(9), None].into_iter().cycle()
    }

    fn written(diff_id: &DiffId) -> Vec<u8> {
        let mut writer = ListingWriter::new(vec![]);
        for (n, change) in changes().iter().enumerate() {
            writer.write_change(change, places().nth(n).flatten()).unwrap();
        }
        writer.finish(diff_id).unwrap()
    }

    fn is_good(listing: &[u8], diff_id: &DiffId) -> bool {
        is_listing(listing, listing.len() as u64, diff_id).unwrap_or(false)
    }

    #[test]
    fn changes_read_back_as_written() {
        let diff_id = DiffId(Digest::of(b"layer"));
        let listing = written(&diff_id);
        assert!(is_good(&listing, &diff_id));
        let mut reader = ListingReader::new(&listing[..]).unwrap().unwrap();
        let read: Vec<_> = std::iter::from_fn(|| reader.read_change().unwrap()).collect();
        assert_eq!(read, changes());
    }

    #[test]
    fn the_place_of_a_content_is_known() {
        let file = |name: &str, size, data| {
            let (path, mtime) = (path(name.as_bytes()), Timestamp::default());
            let kind = EntryKind::File { size, data };
            Change::Add(Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime, xattrs: vec![] })
        };
        let sparse = file("sparse", 5, Some(vec![(0, 1)]));
        let written = [
            (file("a", 1, None), Some(512), Some(512)),
            (Change::Remove(path(b"x")), Some(1024), None),
            (file("empty", 0, None), Some(1536), None),
            (file("b", 513, None), Some(2048), Some(2048)),
            (sparse, Some(4096), None),
            (file("unknown", 7, None), None, None),
            (file("c", 7, None), Some(1 << 40), Some(1 << 40)),
            (file("before", 7, None), Some(512), None),
        ];
        let mut writer = ListingWriter::new(vec![]);
        for (change, content, _) in &written {
            writer.write_change(change, *content).unwrap();
        }
        let listing = writer.finish(&DiffId(Digest::of(b"layer"))).unwrap();
        let mut reader = ListingReader::new(&listing[..]).unwrap().unwrap();
        for (change, _, expected) in &written {
            reader.read_change().unwrap().unwrap();
            assert_eq!(reader.content(), *expected, "{change:?}");
        }
    }

    #[test]
    fn a_damaged_cut_or_foreign_listing_is_none() {
        let diff_id = DiffId(Digest::of(b"layer"));
        let listing = written(&diff_id);
        assert!(!is_good(&listing, &DiffId(Digest::of(b"other"))));
        for end in 0..listing.len() {
            assert!(!is_good(&listing[..end], &diff_id), "cut at {end}");
        }
        for at in 0..listing.len() {
            let mut damaged = listing.clone();
            damaged[at] ^= 4;
            assert!(!is_good(&damaged, &diff_id), "damaged at {at}");
        }
    }

    /// A megabyte and a half of a layer were as many as 644 MB in the store.
    #[test]
    fn attributes_have_a_limit_that_grows_with_the_number_of_files() {
        let heavy = |n: u64| {
            Change::Add(Entry {
                path: path(format!("f{n}").as_bytes()),
                kind: EntryKind::File { size: 0, data: None },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                xattrs: vec![(b"user.v".to_vec(), vec![0; 65_000])],
            })
        };
        let mut writer = ListingWriter::new(io::sink());
        let written =
            (0..10_000).take_while(|&n| writer.write_change(&heavy(n), None).is_ok()).count();
        assert!((1_000..1_100).contains(&written), "{written}");
    }

    #[test]
    fn nonsense_is_refused_without_panic_or_large_memory() {
        for content in [
            &b""[..],
            b"\x04",
            b"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x01\x05\x01a",
        ] {
            let listing = [MAGIC, content].concat();
            let mut reader = ListingReader::new(&listing[..]).unwrap().unwrap();
            assert!(reader.read_change().is_err());
        }
        assert!(ListingReader::new(&b"strata listing 1\n\0"[..]).unwrap().is_none());
    }
}
