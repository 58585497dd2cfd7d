//! Members that came before they were wanted, kept. Those of a file stay in the file. Those of a stream are kept
//! in memory if they are small, and in a spool otherwise.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use layer_format::layer::{EntryPath, Reader};
use layer_format::{DOCUMENT_LIMIT, Decoder, DiffId, Error};

use super::input::Input;
use super::{PREAMBLE_LIMIT, Spool, read_plain};
use crate::inspect::inspect;
use crate::section::Section;

/// The most links that may lead to one another. Docker's archives have one.
const LINK_LIMIT: usize = 8;
/// The most bytes for the names of remembered members, together with the data about each.
const NAMES_LIMIT: u64 = 32 << 20;
/// The size of the data about a member, in bytes.
const MEMBER_COST: u64 = 256;
/// The most bytes of a stream's small members in memory: manifests and configs of hundreds of images.
const MEMORY_LIMIT: u64 = 4 * DOCUMENT_LIMIT;

pub(super) struct Kept {
    places: HashMap<Vec<u8>, Place>,
    file: Option<Arc<File>>,
    /// The spool; `None` if the archive is a file, whose content stays in its place.
    spool: Option<Spool>,
    spooled: u64,
    in_memory: u64,
    /// The number of bytes that the names take so far.
    names: u64,
}

enum Place {
    Memory(Arc<[u8]>),
    At { offset: u64, size: u64 },
    Link(Vec<u8>),
}

/// The content of a kept member.
#[derive(Clone, Debug)]
pub(super) enum Member {
    Memory(Cursor<Arc<[u8]>>),
    File(Section<Arc<File>>),
}

impl Kept {
    pub(super) fn spooled(spool: Spool) -> Self {
        Self::new(None, Some(spool))
    }

    pub(super) fn in_place(file: File) -> Self {
        Self::new(Some(Arc::new(file)), None)
    }

    fn new(file: Option<Arc<File>>, spool: Option<Spool>) -> Self {
        Self { places: HashMap::new(), file, spool, spooled: 0, in_memory: 0, names: 0 }
    }

    pub(super) fn is_in_place(&self) -> bool {
        self.spool.is_none()
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.places.contains_key(path)
    }

    /// The size of a kept member, in bytes.
    pub(super) fn size_of(&self, path: &[u8]) -> Option<u64> {
        match self.places.get(self.follow(path))? {
            Place::Memory(content) => Some(content.len() as u64),
            Place::At { size, .. } => Some(*size),
            Place::Link(_) => None,
        }
    }

    /// The content of the first member with these uncompressed bytes. This is a last resort, because all members are
    /// read.
    pub(super) fn holding(&self, diff_id: &DiffId) -> Result<Option<Member>, Error> {
        let reading = |source| Error::io("reading the archive", source);
        let mut paths: Vec<_> = self.places.keys().collect();
        paths.sort();
        for path in paths {
            let is_link = matches!(self.places.get(path), Some(Place::Link(_)));
            let member = if is_link { None } else { self.open(path)? };
            let member = member.map(io::BufReader::new);
            // A member that can't be decompressed is no layer.
            let Some(Ok(content)) = member.map(Decoder::new) else { continue };
            let content = io::BufReader::with_capacity(64 << 10, content);
            match inspect(content, &[diff_id.0.algorithm()], None) {
                Ok(found) if found == [diff_id.0] => return self.open(path),
                Err(error) if error.raw_os_error().is_some() => return Err(reading(error)),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Keeps the member whose content comes next. If two members have one name, the later one counts, which is tar's
    /// rule.
    pub(super) fn keep(
        &mut self,
        path: &[u8],
        size: u64,
        members: &mut Reader<Input>,
    ) -> Result<(), Error> {
        let keeping = |source| Error::io("keeping what comes early", source);
        let offset = if self.is_in_place() {
            let offset = members.inner_mut().position().map_err(keeping)?;
            members.skip_with(Input::skip)?;
            offset
        } else if size <= DOCUMENT_LIMIT.min(MEMORY_LIMIT - self.in_memory) {
            let mut content = Vec::new();
            self.in_memory += copy(members, &mut content)?;
            return self.place(path.to_vec(), Place::Memory(content.into()));
        } else {
            let offset = self.spooled;
            let mut file = self.spool_file().map_err(keeping)?;
            let written = copy(members, &mut file)?;
            self.spooled += written;
            offset
        };
        self.place(path.to_vec(), Place::At { offset, size })
    }

    /// Keeps `index.json` or another head. If it comes twice, both must be the same: a reader of a pipe has used the
    /// first one before it sees the second.
    pub(super) fn keep_head(
        &mut self,
        path: &[u8],
        size: u64,
        members: &mut Reader<Input>,
    ) -> Result<(), Error> {
        let what = || layer_format::layer::escape_short(path);
        let earlier = self.read(path, &what(), PREAMBLE_LIMIT)?;
        self.keep(path, size, members)?;
        if earlier.is_some() && earlier != self.read(path, &what(), PREAMBLE_LIMIT)? {
            return Err(differs(path));
        }
        Ok(())
    }

    /// Notes that `path` is a link to `target`. A link that leads out of the archive is ignored.
    pub(super) fn link(&mut self, path: Vec<u8>, target: Option<Vec<u8>>) -> Result<(), Error> {
        let Some(target) = target else { return Ok(()) };
        self.remember(&target)?;
        self.place(path, Place::Link(target))
    }

    /// Counts a name that is remembered, here or elsewhere. An archive of nothing but members must not fill the memory.
    pub(super) fn remember(&mut self, name: &[u8]) -> Result<(), Error> {
        self.names += name.len() as u64 + MEMBER_COST;
        if self.names > NAMES_LIMIT {
            let what = "the list of the archive's members".to_owned();
            return Err(Error::TooLarge { what, limit: NAMES_LIMIT });
        }
        Ok(())
    }

    fn place(&mut self, path: Vec<u8>, place: Place) -> Result<(), Error> {
        if !self.has(&path) {
            self.remember(&path)?;
        }
        self.places.insert(path, place);
        Ok(())
    }

    /// The path at which the links from `path` end. It need not exist.
    pub(super) fn follow<'a>(&'a self, path: &'a [u8]) -> &'a [u8] {
        let mut path = path;
        for _ in 0..LINK_LIMIT {
            let Some(Place::Link(target)) = self.places.get(path) else { break };
            path = target;
        }
        path
    }

    /// The text for a missing member in an error. It includes the path at which the links from it end.
    pub(super) fn name_of_missing(&self, path: &[u8]) -> String {
        name_of_missing(path, self.follow(path))
    }

    /// The content of a kept member, under its own name or under a link to it.
    pub(super) fn open(&self, path: &[u8]) -> Result<Option<Member>, Error> {
        let mut path = path;
        for _ in 0..LINK_LIMIT {
            match self.places.get(path) {
                None => return Ok(None),
                Some(Place::Link(target)) => path = target,
                Some(Place::Memory(content)) => {
                    return Ok(Some(Member::Memory(Cursor::new(content.clone()))));
                }
                Some(Place::At { offset, size }) => {
                    let file = self.file.clone();
                    let part = *offset..offset.saturating_add(*size);
                    return Ok(file.map(|file| Member::File(Section::new(file, part))));
                }
            }
        }
        let what = layer_format::layer::escape_short(path);
        Err(Error::Malformed { what, reason: "links lead in a circle" })
    }

    /// The content of a kept document.
    pub(super) fn read(
        &self,
        path: &[u8],
        what: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.open(path)?.map(|member| read_plain(member, what, limit)).transpose()
    }

    fn spool_file(&mut self) -> io::Result<Arc<File>> {
        let file = match (&self.file, &self.spool) {
            (Some(file), _) => file.clone(),
            (None, Some(spool)) => Arc::new(spool()?),
            (None, None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.file = Some(file.clone());
        Ok(file)
    }
}

fn copy(members: &mut Reader<Input>, file: &mut impl Write) -> Result<u64, Error> {
    let mut written = 0;
    loop {
        let content = io::BufRead::fill_buf(members)
            .map_err(|source| Error::io("reading the archive", source))?;
        let n = content.len();
        if n == 0 {
            return Ok(written);
        }
        file.write_all(content).map_err(|source| Error::io("keeping what comes early", source))?;
        io::BufRead::consume(members, n);
        written += n as u64;
    }
}

impl Read for Member {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let section = match self {
            Self::Memory(content) => return content.read(buffer),
            Self::File(section) => section,
        };
        match section.read(buffer)? {
            0 if section.n_left() > 0 && !buffer.is_empty() => {
                Err(Error::Truncated { what: "the archive".to_owned() }.into())
            }
            n => Ok(n),
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("n_places", &self.places.len())
            .field("spooled", &self.spooled)
            .finish_non_exhaustive()
    }
}

/// Whether the path is that of a head: a member at the archive's root that describes the contents.
pub(super) fn is_head(path: &[u8]) -> bool {
    matches!(path, b"oci-layout" | b"index.json" | b"manifest.json" | b"strata.json")
}

/// The error for two different documents of the preamble with one name.
pub(super) fn differs(head: &[u8]) -> Error {
    let reason = "is there twice, with different content";
    Error::Contradiction { what: layer_format::layer::escape(head), reason }
}

/// The path that a symbolic link leads to from its place; `None` if it leads out of the archive.
pub(super) fn beside(link: &EntryPath, target: &[u8]) -> Option<Vec<u8>> {
    let mut place: Vec<&[u8]> = link.components().collect();
    place.pop();
    if target.starts_with(b"/") {
        place.clear();
    }
    for component in target.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                place.pop()?;
            }
            name => place.push(name),
        }
    }
    Some(place.join(&b'/'))
}

/// The text for a missing member in an error. The links from it end at `end`.
pub(super) fn name_of_missing(path: &[u8], end: &[u8]) -> String {
    if path.is_empty() {
        return "manifest.json: a member with an empty name".to_owned();
    }
    let what = layer_format::layer::escape_short(path);
    if path == end {
        return what;
    }
    format!("{}, to which {what} is a link", layer_format::layer::escape_short(end))
}

#[cfg(test)]
mod tests {
    use layer_format::Digest;

    use super::*;

    #[test]
    fn names_are_remembered_up_to_their_limit_with_what_is_known_of_each() {
        let kept = || Kept::spooled(Box::new(|| Err(io::ErrorKind::Unsupported.into())));
        // So many of these fill it to the byte.
        let name = [b'x'; 256];
        let n_names = NAMES_LIMIT / (256 + MEMBER_COST);
        let mut full = kept();
        (0..n_names).for_each(|_| full.remember(&name).unwrap());
        assert!(matches!(full.remember(b""), Err(Error::TooLarge { .. })));
        let mut under = kept();
        (1..n_names).for_each(|_| under.remember(&name).unwrap());
        under.remember(&name[1..]).unwrap();
        assert!(matches!(under.remember(b""), Err(Error::TooLarge { .. })));
        let mut over = kept();
        (1..n_names).for_each(|_| over.remember(&name).unwrap());
        assert!(matches!(over.remember(&[b'x'; 257]), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn links_lead_within_the_archive() {
        let check = |link: &str, target: &str, expected: Option<&str>| {
            let found = beside(&EntryPath::parse(link.as_bytes()).unwrap(), target.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes));
        };
        check("b/layer.tar", "../a/layer.tar", Some("a/layer.tar"));
        check("x", "./y//z", Some("y/z"));
        check("a/b", "/c", Some("c"));
        check("a/b", "../../etc/passwd", None);
    }

    #[test]
    fn a_file_that_was_cut_short_is_noticed() {
        let mut kept = Kept::in_place(File::open("/dev/null").unwrap());
        kept.place("a".into(), Place::At { offset: 0, size: 3 }).unwrap();
        let mut member = kept.open(b"a").unwrap().unwrap();
        assert_eq!(member.read(&mut []).unwrap(), 0);
        let error = member.read(&mut [0; 3]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    // containerd#12890
    #[test]
    fn what_holds_a_layer_is_told_by_what_it_decompresses_to() {
        let mut kept = Kept::spooled(Box::new(|| Err(io::ErrorKind::Unsupported.into())));
        for (path, content) in [("a", &b"one"[..]), ("b", b"two"), ("c", b"three")] {
            kept.place(path.into(), Place::Memory(content.into())).unwrap();
        }
        let holding = |content: &[u8]| {
            let mut member = kept.holding(&DiffId(Digest::of(content))).unwrap()?;
            let mut found = Vec::new();
            member.read_to_end(&mut found).unwrap();
            Some(found)
        };
        assert_eq!(holding(b"two").as_deref(), Some(&b"two"[..]));
        assert_eq!(holding(b"four"), None);
    }
}
