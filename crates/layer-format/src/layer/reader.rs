//! Reads a layer in one pass. It accepts the tars of all common tools.
//!
//! A PAX record takes precedence over a GNU long name, and that over the header. The limits in `pax` and `sparse` bound
//! the memory; a size that the archive claims is never allocated.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use super::blocks::Blocks;
use super::entry::{Change, EntryKind};
use super::header::{Header, text};
use super::limits::is_acl;
use super::path::{EntryPath, escape_short, refuse};
use super::pax::{self, Extended};
use super::shape::{Shape, build, shape_kind};
use super::sparse::{self, Map};
use super::whiteout::Mark;
use crate::error::Error;

/// Reader of a layer: it gives the changes one by one, and the content of each file after its change.
///
/// Its [`Read`] and [`BufRead`] give the content of the entry that [`read_change`](Self::read_change) returned last.
/// That is [`EntryKind::content_size`] bytes: the data of a sparse file comes without its holes. Content that isn't
/// read is skipped. The slices of [`fill_buf`](BufRead::fill_buf) are the input's own buffer.
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
    pending: Pending,
    comment: Option<Vec<u8>>,
    header: [u8; 512],
    /// The name of the entry whose content comes next, for errors.
    name: Vec<u8>,
    /// The content of the last PAX or long-name member. The buffer is used again.
    text: Vec<u8>,
    state: State,
    n_text_acls: u64,
}

/// The values that the members before an entry give to it.
#[derive(Debug, Default)]
struct Pending {
    name: Option<Vec<u8>>,
    link_name: Option<Vec<u8>>,
    extended: Option<Box<Extended>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link_name.is_none() && self.extended.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl<R: BufRead> Reader<R> {
    /// Reads the uncompressed tar in `inner`. An empty input is an empty layer.
    pub fn new(inner: R) -> Self {
        Self {
            blocks: Blocks::new(inner),
            pending: Pending::default(),
            comment: None,
            header: [0; 512],
            name: Vec::new(),
            text: Vec::new(),
            state: State::Reading,
            n_text_acls: 0,
        }
    }

    /// The number of entries so far with access control lists in text form (`SCHILY.acl.access`), which GNU tar's
    /// `--acls` and bsdtar write. They are ignored, because they name users of another machine.
    pub fn n_text_acls(&self) -> u64 {
        self.n_text_acls
    }

    /// The next change. The rest of the previous change's content is skipped.
    ///
    /// The result is `None` at the end of the archive. The input has been read to its end by then, so a hash below has
    /// seen all bytes.
    ///
    /// # Errors
    /// [`Error::MalformedHeader`] and [`Error::MalformedEntry`] if the tar is malformed; [`Error::Truncated`] if it
    /// ends early; [`Error::TooLarge`] beyond a limit; [`Error::Io`] and the errors inside it if the input can't be
    /// read. After an error, every further call fails.
    pub fn read_change(&mut self) -> Result<Option<Change>, Error> {
        match self.state {
            State::Ended => return Ok(None),
            State::Failed => {
                return Err(Error::MalformedHeader { reason: "reading on after an error" });
            }
            State::Reading => {}
        }
        self.state = State::Failed;
        let change = self.advance()?;
        self.state = if change.is_some() { State::Reading } else { State::Ended };
        Ok(change)
    }

    /// The offset in the input from which the next byte comes. After [`read_change`](Self::read_change), a file's content begins
    /// there.
    pub fn position(&self) -> u64 {
        self.blocks.position()
    }

    /// The comment in the PAX global headers that were read so far. The last one counts.
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref()
    }

    /// Whether both blocks of the archive's end were present.
    pub fn is_whole(&self) -> bool {
        self.blocks.is_whole()
    }

    /// Whether the padding and the bytes after the end were zeros.
    pub fn is_clean(&self) -> bool {
        self.blocks.is_clean()
    }

    /// The header of the last member that was read.
    pub fn header(&self) -> &[u8; 512] {
        &self.header
    }

    /// The input, whose position is in the middle of the archive.
    pub fn inner_mut(&mut self) -> &mut R {
        self.blocks.inner_mut()
    }

    /// Skips the rest of the current content with `skip`. It gets the input and a number of bytes to leave out, and
    /// returns the number that it has left out.
    ///
    /// # Errors
    /// [`Error::Truncated`] if `skip` left out fewer bytes, and the errors of `skip`.
    pub fn skip_with(
        &mut self,
        skip: impl FnOnce(&mut R, u64) -> io::Result<u64>,
    ) -> Result<(), Error> {
        self.state = State::Failed;
        if !self.blocks.skip_with(skip)? {
            return Err(self.truncated());
        }
        self.state = State::Reading;
        Ok(())
    }

    /// Gives the input back. It is at its end once [`read_change`](Self::read_change) has returned `None`.
    pub fn into_inner(self) -> R {
        self.blocks.into_inner()
    }

    fn advance(&mut self) -> Result<Option<Change>, Error> {
        loop {
            self.skip_content()?;
            let Some(header) = self.blocks.read_header()? else { return self.end().map(|()| None) };
            self.header = *header.as_bytes();
            let change = match header.typeflag() {
                b'x' => self.read_extended(&header).map(|()| None),
                b'g' => self.read_global(&header).map(|()| None),
                b'L' | b'K' => self.read_long_name(&header).map(|()| None),
                b'V' => self.pass_volume(&header).map(|()| None),
                _ => self.read_entry(&header),
            }?;
            if change.is_some() {
                return Ok(change);
            }
        }
    }

    fn end(&self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Error::MalformedHeader { reason: "an extended header without an entry" })
    }

    fn read_extended(&mut self, header: &Header) -> Result<(), Error> {
        self.read_text(header, pax::LIMIT)?;
        self.pending.extended = Some(Box::new(Extended::parse(&self.text)?));
        Ok(())
    }

    fn read_global(&mut self, header: &Header) -> Result<(), Error> {
        if !self.pending.is_empty() {
            return Err(Error::MalformedHeader {
                reason: "a global header between an entry and its extended header",
            });
        }
        self.read_text(header, pax::LIMIT)?;
        if let Some(comment) = pax::comment(&self.text)? {
            self.comment = Some(comment).filter(|comment| !comment.is_empty()).map(<[u8]>::to_vec);
        }
        Ok(())
    }

    fn read_long_name(&mut self, header: &Header) -> Result<(), Error> {
        // The limit has one more byte for the NUL at the end.
        self.read_text(header, pax::NAME_LIMIT + 1)?;
        let name = pax::name(text(&self.text), "a long name")?;
        if header.typeflag() == b'L' {
            self.pending.name = name;
        } else {
            self.pending.link_name = name;
        }
        Ok(())
    }

    /// Passes over a volume's name. GNU tar treats it as an entry, so the members before it describe it and are
    /// forgotten.
    fn pass_volume(&mut self, header: &Header) -> Result<(), Error> {
        self.pending = Pending::default();
        let size = header.size().map_err(|reason| refuse(&header.name(), reason))?;
        self.begin_content(&header.name(), size);
        Ok(())
    }

    /// Reads the content of a member that describes the next entry.
    fn read_text(&mut self, header: &Header, limit: u64) -> Result<(), Error> {
        let size = header.size().map_err(|reason| Error::MalformedHeader { reason })?;
        if size > limit {
            return Err(Error::TooLarge { what: "an extended header".to_owned(), limit });
        }
        self.text.clear();
        self.blocks.begin_content(size);
        if !self.blocks.read_content(&mut self.text)? {
            return Err(Error::Truncated { what: "an extended header".to_owned() });
        }
        Ok(())
    }

    /// Reads the entry with this header; `None` if it is ignored.
    fn read_entry(&mut self, header: &Header) -> Result<Option<Change>, Error> {
        let Pending { name, link_name, extended } = std::mem::take(&mut self.pending);
        let mut extended = extended.map_or_else(Extended::default, |extended| *extended);
        // GNU tar writes access control lists in both forms if it is told to write them.
        let is_in_words =
            extended.has_text_acl && !extended.xattrs.iter().any(|(name, _)| is_acl(name));
        self.n_text_acls += u64::from(is_in_words);
        let name = extended.sparse.name.take().or(extended.path.take()).or(name);
        let name = name.map_or_else(|| header.name(), Cow::Owned);
        let link_name = extended.link_path.take().or(link_name);
        let link_name = link_name.map_or(Cow::Borrowed(header.link_name()), Cow::Owned);

        let size = extended
            .size
            .map_or_else(|| header.size(), Ok)
            .map_err(|reason| refuse(&name, reason))?;
        let shape = Shape::of(header.typeflag(), &name, size)
            .ok_or_else(|| refuse(&name, "an unknown type"))?;
        self.begin_content(&name, if shape.has_content(header.typeflag()) { size } else { 0 });
        let map = sparse::read_map(
            header,
            std::mem::take(&mut extended.sparse),
            &name,
            &mut self.blocks,
        )?;
        if map.is_some() && shape != Shape::File {
            return Err(refuse(&name, "a sparse file that is no file"));
        }

        let path = EntryPath::parse(&name)?;
        let placed = match Mark::of(&path)? {
            Mark::Plain => shape_kind(header, shape, &path, &link_name)?,
            Mark::Leftover => None,
            Mark::Remove(path) => return self.without_content(Some(Change::Remove(path))),
            Mark::Opaque(path) => return self.without_content(Some(Change::Opaque(path))),
        };
        let Some(kind) = placed else { return self.without_content(None) };
        let entry = build(header, path, self.measure(kind, map), extended)?;
        if matches!(entry.kind, EntryKind::File { .. }) {
            return Ok(Some(Change::Add(entry)));
        }
        self.without_content(Some(Change::Add(entry)))
    }

    /// Puts the size and the map into a file's kind, after the content has begun and the map was read.
    fn measure(&self, kind: EntryKind, map: Option<Map>) -> EntryKind {
        match (kind, map) {
            (EntryKind::File { .. }, Some(map)) => {
                EntryKind::File { size: map.size, data: Some(map.pieces) }
            }
            (EntryKind::File { .. }, None) => {
                EntryKind::File { size: self.blocks.content(), data: None }
            }
            (kind, _) => kind,
        }
    }

    fn without_content(&mut self, change: Option<Change>) -> Result<Option<Change>, Error> {
        self.skip_content()?;
        Ok(change)
    }

    fn begin_content(&mut self, name: &[u8], size: u64) {
        self.blocks.begin_content(size);
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn skip_content(&mut self) -> Result<(), Error> {
        if self.blocks.skip_content()? { Ok(()) } else { Err(self.truncated()) }
    }

    fn truncated(&self) -> Error {
        Error::Truncated { what: format!("entry {}", escape_short(&self.name)) }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.blocks.read_some(buffer)?;
        if n == 0 && !buffer.is_empty() && self.blocks.content() > 0 {
            self.state = State::Failed;
            return Err(self.truncated().into());
        }
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.blocks.content() > 0 && self.blocks.fill_content()?.is_empty() {
            self.state = State::Failed;
            return Err(self.truncated().into());
        }
        self.blocks.fill_content()
    }

    fn consume(&mut self, n: usize) {
        self.blocks.consume(n);
    }
}
