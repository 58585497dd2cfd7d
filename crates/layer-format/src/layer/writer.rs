//! Writes a layer. The same changes always give the same bytes.
//!
//! Headers are ustar. PAX records before a header hold the values that don't fit into it. There are no user or group
//! names. Whiteouts are written as empty files of mode 0 and owner 0, from 1970.

use std::io::{self, Write};
use std::vec;

use super::blocks::BLOCK;
use super::entry::{Change, Entry, EntryKind};
use super::header::{Fields, fits_id, fits_link, fits_long, split};
use super::path::{EntryPath, escape_short, refuse};
use super::pax::{self, format_time, push, push_xattr};
use super::sparse::{Map, Piece};
use super::whiteout::{Mark, RESERVED, is_reserved};
use crate::error::Error;

/// Writer of a layer: it takes the changes one by one, and the content of each file after its change.
///
/// Its [`Write`] takes the content of the file that was passed to [`write_change`](Self::write_change) last. It must be
/// exactly [`EntryKind::content_size`] bytes. The holes of a sparse file are filled with zeros in the archive, so a
/// copy from a [`Reader`](super::Reader) to a writer turns a sparse file into a plain one.
///
/// Headers are written one by one, so `W` should have a buffer. Only [`finish`](Self::finish) writes the end.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    content: Content,
    records: Vec<u8>,
    name: Vec<u8>,
}

/// The part of the current content that is still to come.
#[derive(Debug, Default)]
struct Content {
    size: u64,
    /// The number of bytes of `size` that are written, holes included.
    at: u64,
    /// The number of bytes that are left of the current piece.
    left: u64,
    pieces: vec::IntoIter<Piece>,
}

impl<W: Write> Writer<W> {
    /// Writes a layer to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, content: Content::default(), records: Vec::new(), name: Vec::new() }
    }

    /// Writes a PAX global header with a comment. Programs that unpack layers ignore it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the comment exceeds a limit; [`Error::Truncated`] if the content before it isn't
    /// complete; [`Error::Io`] if it can't be written.
    pub fn write_comment(&mut self, comment: &[u8]) -> Result<(), Error> {
        self.end_content()?;
        push(&mut self.records, b"comment", comment);
        self.write_records(b'g', b"pax_global_header")
    }

    /// Writes a change. The content of the file before it must be complete.
    ///
    /// # Errors
    /// [`Error::MalformedEntry`] if a layer can't hold the change, or if a reader would take it for another one;
    /// [`Error::TooLarge`] if its PAX records exceed a limit; [`Error::Truncated`] if the content before it isn't
    /// complete; [`Error::Io`] if it can't be written.
    pub fn write_change(&mut self, change: &Change) -> Result<(), Error> {
        self.end_content()?;
        match change {
            Change::Add(entry) => self.write_entry(entry),
            Change::Remove(path) => self.write_marker(&Mark::removing(path)?),
            Change::Opaque(path) => self.write_marker(&Mark::emptying(path)?),
        }
    }

    /// Writes the end of the archive, flushes, and gives the inner writer back. The last content must be complete.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the last content isn't complete; [`Error::Io`] if the end can't be written.
    pub fn finish(mut self) -> Result<W, Error> {
        self.end_content()?;
        self.put(&[0; 2 * BLOCK])?;
        self.inner.flush().map_err(failed)?;
        Ok(self.inner)
    }

    fn write_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        check(entry)?;
        let name = member_name(entry);
        let (typeflag, link_name, device) = match &entry.kind {
            EntryKind::File { .. } => (b'0', &b""[..], None),
            EntryKind::Hardlink { target } => (b'1', target.as_bytes(), None),
            EntryKind::Symlink { target } => (b'2', target.as_slice(), None),
            EntryKind::CharDevice { major, minor } => (b'3', &b""[..], Some((*major, *minor))),
            EntryKind::BlockDevice { major, minor } => (b'4', &b""[..], Some((*major, *minor))),
            EntryKind::Directory => (b'5', &b""[..], None),
            EntryKind::Fifo => (b'6', &b""[..], None),
        };
        let (size, pieces) = measure(entry)?;
        let &Entry { mode, uid, gid, mtime, .. } = entry;
        let fields = Fields {
            name: &name,
            link_name,
            typeflag,
            mode,
            uid,
            gid,
            size,
            mtime: mtime.seconds,
            device,
        };
        self.push_records(entry, &fields);
        self.write_records(b'x', b"././@PaxHeader")?;
        self.put(&fields.encode())?;
        self.content = Content { size, at: 0, left: 0, pieces: pieces.into_iter() };
        self.name.clear();
        self.name.extend_from_slice(entry.path.as_bytes());
        Ok(())
    }

    fn write_marker(&mut self, path: &EntryPath) -> Result<(), Error> {
        let fields = Fields { name: path.as_bytes(), typeflag: b'0', ..Fields::default() };
        if split(fields.name).is_none() {
            push(&mut self.records, b"path", fields.name);
        }
        self.write_records(b'x', b"././@PaxHeader")?;
        self.put(&fields.encode())
    }

    /// Collects records for the values that don't fit into the header. Xattrs come last, because some readers fail on a
    /// line feed in a value.
    fn push_records(&mut self, entry: &Entry, fields: &Fields<'_>) {
        let records = &mut self.records;
        if !fits_id(fields.gid) {
            push(records, b"gid", fields.gid.to_string().as_bytes());
        }
        if !fits_link(fields.link_name) {
            push(records, b"linkpath", fields.link_name);
        }
        if entry.mtime.nanos != 0 || !u64::try_from(fields.mtime).is_ok_and(fits_long) {
            push(records, b"mtime", format_time(entry.mtime).as_bytes());
        }
        if split(fields.name).is_none() {
            push(records, b"path", fields.name);
        }
        if !fits_long(fields.size) {
            push(records, b"size", fields.size.to_string().as_bytes());
        }
        if !fits_id(fields.uid) {
            push(records, b"uid", fields.uid.to_string().as_bytes());
        }
        for (name, value) in &entry.xattrs {
            push_xattr(records, name, value);
        }
    }

    /// Writes the collected records as a member, if there are any.
    fn write_records(&mut self, typeflag: u8, name: &[u8]) -> Result<(), Error> {
        if self.records.is_empty() {
            return Ok(());
        }
        let size = self.records.len() as u64;
        if size > pax::LIMIT {
            return Err(Error::TooLarge {
                what: "an extended header".to_owned(),
                limit: pax::LIMIT,
            });
        }
        self.records.resize(self.records.len().next_multiple_of(BLOCK), 0);
        let header = Fields { name, typeflag, mode: 0o644, size, ..Fields::default() }.encode();
        self.inner
            .write_all(&header)
            .and_then(|()| self.inner.write_all(&self.records))
            .map_err(failed)?;
        self.records.clear();
        Ok(())
    }

    /// Pads the last block of the content, which must be complete.
    fn end_content(&mut self) -> Result<(), Error> {
        self.start_piece().map_err(failed)?;
        if self.content.left > 0 {
            return Err(Error::Truncated {
                what: format!("the content of entry {}", escape_short(&self.name)),
            });
        }
        let size = self.content.size;
        let end = size + size.wrapping_neg() % BLOCK as u64;
        self.fill_to(end).map_err(failed)?;
        self.content = Content::default();
        // Records that were collected before an error belong to no entry.
        self.records.clear();
        Ok(())
    }

    /// Begins the next piece if the current one is complete and there is another.
    fn start_piece(&mut self) -> io::Result<()> {
        if self.content.left > 0 {
            return Ok(());
        }
        if let Some((offset, length)) = self.content.pieces.next() {
            self.fill_to(offset)?;
            self.content.left = length;
        }
        Ok(())
    }

    fn fill_to(&mut self, offset: u64) -> io::Result<()> {
        static ZEROS: [u8; 16 * BLOCK] = [0; 16 * BLOCK];
        while self.content.at < offset {
            let n = usize::try_from(offset - self.content.at)
                .map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
            self.inner.write_all(&ZEROS[..n])?;
            self.content.at += n as u64;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.inner.write_all(bytes).map_err(failed)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.start_piece()?;
        if self.content.left == 0 {
            return Err(refuse(&self.name, "more content than its size").into());
        }
        let n =
            usize::try_from(self.content.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.inner.write(&buffer[..n])?;
        self.content.left -= n as u64;
        self.content.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("writing a layer", error)
}

/// The name of the member. All tools write a slash at the end of a directory's name.
fn member_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.as_bytes().to_vec();
    if entry.path.is_root() {
        name.push(b'.');
    }
    if entry.kind == EntryKind::Directory {
        name.push(b'/');
    }
    name
}

/// The size of an entry's content, and its pieces.
fn measure(entry: &Entry) -> Result<(u64, Vec<Piece>), Error> {
    let EntryKind::File { size, data } = &entry.kind else { return Ok((0, Vec::new())) };
    let whole = || if *size == 0 { Vec::new() } else { vec![(0, *size)] };
    let pieces = data.clone().unwrap_or_else(whole);
    let stored = pieces.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
    let map = Map { size: *size, pieces }
        .check(stored)
        .map_err(|reason| refuse(entry.path.as_bytes(), reason))?;
    Ok((map.size, map.pieces))
}

/// Refuses an entry that a reader would refuse or misinterpret.
fn check(entry: &Entry) -> Result<(), Error> {
    let reason = match &entry.kind {
        _ if is_reserved(&entry.path) => RESERVED,
        kind if entry.path.is_root() && *kind != EntryKind::Directory => {
            "the root can only be a directory"
        }
        EntryKind::Symlink { target } if target.is_empty() || target.contains(&0) => {
            "a link's target is empty or has a NUL"
        }
        EntryKind::Hardlink { target } if target.is_root() => "a hard link to the root",
        EntryKind::Hardlink { target } if *target == entry.path => "a hard link to itself",
        EntryKind::Hardlink { target } if is_reserved(target) => "a hard link to a whiteout",
        _ if entry.mode > 0o7777 => "the mode has bits that no file has",
        _ if entry.mtime.nanos > 999_999_999 => "an mtime with more than a second of nanoseconds",
        _ if !entry.xattrs.iter().all(|(name, _)| is_key(name)) => {
            "an xattr with a name that PAX records can't hold"
        }
        _ => return Ok(()),
    };
    Err(refuse(entry.path.as_bytes(), reason))
}

fn is_key(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'=') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::layer::Timestamp;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        let path = EntryPath::parse(path.as_bytes()).unwrap();
        Entry {
            path,
            kind,
            mode: 0o755,
            uid: 1,
            gid: 2,
            mtime: Timestamp { seconds: 3, nanos: 0 },
            xattrs: Vec::new(),
        }
    }

    fn file(size: u64, data: Option<Vec<Piece>>) -> Change {
        Change::Add(entry("file", EntryKind::File { size, data }))
    }

    fn write(changes: &[Change]) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(Vec::new());
        for change in changes {
            writer.write_change(change)?;
        }
        writer.finish()
    }

    #[test]
    fn a_plain_entry_is_one_ustar_header_and_an_end() {
        let bytes = write(&[Change::Add(entry("dir", EntryKind::Directory))]).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK);
        let header = tar::Header::from_byte_slice(&bytes[..BLOCK]);
        assert_eq!(&*header.path_bytes(), b"dir/");
        assert_eq!(header.entry_type(), tar::EntryType::Directory);
        assert_eq!(
            (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
            (0o755, 1, 2)
        );
        assert_eq!(header.mtime().unwrap(), 3);
        assert_eq!(
            (header.username_bytes(), header.groupname_bytes()),
            (Some(&b""[..]), Some(&b""[..]))
        );
        assert!(bytes[BLOCK..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn whiteouts_are_empty_files_of_nobody() {
        let path = EntryPath::parse(b"etc/motd").unwrap();
        let bytes = write(&[Change::Remove(path), Change::Opaque(EntryPath::root())]).unwrap();
        for (at, name) in
            [(0, ".wh..wh..opq"), (BLOCK, "etc/.wh.motd")].map(|(at, name)| (BLOCK - at, name))
        {
            let header = tar::Header::from_byte_slice(&bytes[at..at + BLOCK]);
            assert_eq!(&*header.path_bytes(), name.as_bytes());
            assert_eq!(header.entry_type(), tar::EntryType::Regular);
            assert_eq!(
                (header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn what_ustar_cannot_hold_goes_into_records() {
        let mut odd = entry(&"d/".repeat(150), EntryKind::Symlink { target: vec![b't'; 101] });
        odd.uid = 1 << 21;
        odd.gid = u32::MAX;
        odd.mtime = Timestamp { seconds: -2, nanos: 500_000_000 };
        odd.xattrs = vec![(b"user.a".to_vec(), b"\0=".to_vec()), (b"user.b".to_vec(), Vec::new())];
        let path = odd.path.as_bytes().to_vec();
        let bytes = write(&[Change::Add(odd)]).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(*entry.path_bytes(), path);
        assert_eq!(*entry.link_name_bytes().unwrap(), [b't'; 101]);
        let records: Vec<_> =
            entry.pax_extensions().unwrap().unwrap().map(|record| record.unwrap()).collect();
        let records: Vec<_> =
            records.iter().map(|record| (record.key().unwrap(), record.value_bytes())).collect();
        let [gid, link, mtime, path, uid, a, b] = &records[..] else { panic!("{records:?}") };
        assert_eq!((link.0, path.0), ("linkpath", "path"));
        assert_eq!(
            [gid, mtime, uid],
            [&("gid", &b"4294967295"[..]), &("mtime", b"-1.500000000"), &("uid", b"2097152")]
        );
        assert_eq!([a, b], [&("SCHILY.xattr.user.a", &b"\0="[..]), &("SCHILY.xattr.user.b", b"")]);
    }

    #[test]
    fn the_content_has_exactly_the_size_that_was_said() {
        let mut writer = Writer::new(Vec::new());
        writer.write_change(&file(3, None)).unwrap();
        writer.write_all(b"ab").unwrap();
        assert!(matches!(writer.write_comment(b"early").unwrap_err(), Error::Truncated { .. }));
        writer.write_all(b"c").unwrap();
        assert!(writer.write_all(b"d").is_err());
        writer.write_change(&Change::Opaque(EntryPath::root())).unwrap();
        assert!(writer.write_all(b"e").is_err());
        assert_eq!(writer.finish().unwrap().len(), 5 * BLOCK);
        assert!(write(&[file(1, None)]).is_err());
    }

    #[test]
    fn holes_are_written_as_zeros() {
        let mut writer = Writer::new(Vec::new());
        writer.write_change(&file(20_000, Some(vec![(5, 2), (10_000, 3)]))).unwrap();
        writer.write_all(b"abcde").unwrap();
        writer.write_change(&file(700, Some(Vec::new()))).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let contents = archive.entries().unwrap().map(|entry| {
            let mut content = Vec::new();
            entry.unwrap().read_to_end(&mut content).unwrap();
            content
        });
        let contents: Vec<_> = contents.collect();
        assert_eq!(&contents[0][..8], b"\0\0\0\0\0ab\0");
        assert_eq!(&contents[0][9_999..10_004], b"\0cde\0");
        assert_eq!((contents[0].len(), &contents[1]), (20_000, &vec![0; 700]));
    }

    #[test]
    fn a_comment_is_a_global_header() {
        let mut writer = Writer::new(Vec::new());
        writer.write_comment(b"hi").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(
            tar::Header::from_byte_slice(&bytes[..BLOCK]).entry_type(),
            tar::EntryType::XGlobalHeader
        );
        assert!(bytes[BLOCK..].starts_with(b"14 comment=hi\n\0"));
    }

    #[test]
    fn what_would_read_back_as_something_else_is_refused() {
        let path = |name: &[u8]| EntryPath::parse(name).unwrap();
        let link = |target: &[u8]| entry("a", EntryKind::Hardlink { target: path(target) });
        let mut cases = vec![
            entry(".wh.a", EntryKind::Fifo),
            entry("a/.wh..wh.x/b", EntryKind::Fifo),
            entry("", EntryKind::Fifo),
            entry("a", EntryKind::Symlink { target: Vec::new() }),
            entry("a", EntryKind::Symlink { target: b"a\0b".to_vec() }),
            link(b"a"),
            link(b""),
            link(b".wh.b"),
            Entry { mode: 0o10_0644, ..entry("a", EntryKind::Fifo) },
            entry("a", EntryKind::File { size: u64::MAX, data: None }),
            entry("a", EntryKind::File { size: 1, data: Some(vec![(0, 2)]) }),
        ];
        for name in [b"" as &[u8], b"user.a=b", b"user.\0"] {
            cases.push(Entry {
                xattrs: vec![(name.to_vec(), Vec::new())],
                ..entry("a", EntryKind::Fifo)
            });
        }
        for case in cases {
            assert!(write(&[Change::Add(case.clone())]).is_err(), "{case:?}");
        }
        assert!(write(&[Change::Remove(EntryPath::root())]).is_err());
    }
}
