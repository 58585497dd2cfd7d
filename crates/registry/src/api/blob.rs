//! A blob's bytes, read across broken connections and from mirrors.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::StatusCode;
use http::header::{CONTENT_ENCODING, RANGE};
use layer_format::{DOCUMENT_LIMIT, Descriptor};

use super::document::{DocumentQuery, Kind, check_digest};
use super::repository::Repository;
use crate::auth::Scope;
use crate::base::{Error, Failure};
use crate::http::{Body, Exchange, headers};
use crate::session::{Answer, Attempts, Call, Target, transport_failure};

/// The largest blob, in bytes, that is verified before any of it is given out. Only blobs that mirrors may have are.
const VERIFIED_FIRST: u64 = 1 << 20;

/// The reason why a document is to be asked for once more, as a whole.
const ENCODED: &str = "it comes compressed";

impl Repository {
    /// A blob's bytes from `offset` to its end. They are not hashed here.
    ///
    /// # Errors
    ///
    /// The first bytes are waited for, so that a blob that isn't there is known at once: [`Error::NotFound`]. The
    /// others are those of a connection, and [`Error::SizeMismatch`].
    pub fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Blob, Error> {
        Blob::open(self.clone(), descriptor, offset)
    }

    /// A part of a blob's bytes. They are not hashed here. If the server gives no parts, this is the blob from the part's
    /// beginning to its end: [`Blob::is_part`] tells.
    ///
    /// `lane` names the connections that are used: over HTTP/2, requests in different lanes don't share one. Whoever sets
    /// `given_up` ends every wait for the part.
    ///
    /// # Errors
    ///
    /// Those of [`blob`](Self::blob), and [`Error::Interrupted`] once it is given up.
    pub fn blob_part(
        &self,
        descriptor: &Descriptor,
        part: Range<u64>,
        lane: u8,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Blob, Error> {
        let mut blob = Blob::new(self.clone(), descriptor, part.start)?;
        blob.end = part.end.min(descriptor.size);
        blob.lane = lane;
        blob.given_up = Some(Arc::clone(given_up));
        blob.attempts.give_up_when(given_up);
        blob.fill()?;
        Ok(blob)
    }

    /// All bytes of a blob that memory has room for, checked against size and digest. Wrong ones of a mirror are asked
    /// for elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`blob`](Self::blob), and [`Error::DigestMismatch`].
    pub fn whole_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = descriptor.digest;
        match Blob::new(self.clone(), descriptor, 0).and_then(|mut blob| blob.read_verified()) {
            // quay#1310: a config that the server compresses on its way.
            Err(Error::Protocol { reason: ENCODED, .. }) => {
                let name = &digest.to_string();
                let what = &self.name_of(&digest);
                let pinned = Some(&digest);
                self.read_document(DocumentQuery { kind: Kind::Blob, name, pinned, what }, Ok)
            }
            read => read,
        }
    }
}

/// A reader of a blob's bytes, from an offset to the end.
///
/// If a connection breaks, ends early or stalls, it asks again from the very byte that it has reached, after a pause.
/// It never gives more bytes than the descriptor promises, and never fewer without an error. Errors travel inside the
/// `io::Error`; [`Error::inside`] takes them out. The bytes are not hashed here, except those of a small blob that a
/// mirror may have: if they are wrong, the next mirror is asked before any of them is given out.
///
/// It is a [`BufRead`] too, which spares a reader that only looks at the bytes a copy.
#[derive(Debug)]
pub struct Blob {
    repository: Repository,
    descriptor: Descriptor,
    /// The blob in errors.
    what: String,
    /// The next byte to be given out.
    offset: u64,
    /// The byte after the last to be given out.
    end: u64,
    /// The connections that are used.
    lane: u8,
    /// What ends every wait for it.
    given_up: Option<Arc<AtomicBool>>,
    attempts: Attempts,
    ranges: RangeSupport,
    /// The source that is asked now.
    source: BlobSource,
    body: Option<Open>,
    /// The mirrors that some of the bytes came from, by position.
    mirrors_read: BTreeSet<usize>,
    /// All bytes of a small blob, verified.
    held: Option<Vec<u8>>,
}

/// A place that may have the blob. They are asked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlobSource {
    /// A mirror, by position.
    Mirror(usize),
    /// The registry itself.
    Registry,
    /// An address that the descriptor of a foreign layer names, by position.
    Address(usize),
}

/// Whether the server can be asked for a part of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeSupport {
    /// Yes, as far as is known.
    Usable,
    /// No: it gave another part than the one that was asked for. Now the whole is asked for, and its beginning skipped.
    Wrong,
}

/// A body on its way.
#[derive(Debug)]
struct Open {
    body: Body,
    host: String,
    /// How many bytes come first that were given out already.
    skip: u64,
    /// Whether HTTP itself knows where the body ends.
    has_length: bool,
}

impl Blob {
    /// Asks for the first bytes.
    fn open(repository: Repository, descriptor: &Descriptor, offset: u64) -> Result<Self, Error> {
        let mut blob = Self::new(repository, descriptor, offset)?;
        if offset == 0 && descriptor.size <= VERIFIED_FIRST && blob.mirror().is_some() {
            blob.held = Some(blob.read_verified()?);
            blob.offset = 0;
        }
        blob.fill()?;
        Ok(blob)
    }

    /// A blob that nothing was asked for yet.
    fn new(repository: Repository, descriptor: &Descriptor, offset: u64) -> Result<Self, Error> {
        let what = repository.name_of(&descriptor.digest);
        if offset > descriptor.size {
            return Err(Error::SizeMismatch { what, expected: descriptor.size, found: offset });
        }
        Ok(Self {
            attempts: repository.remote.attempts(),
            source: first_source(&repository),
            repository,
            descriptor: descriptor.clone(),
            what,
            offset,
            end: descriptor.size,
            lane: 0,
            given_up: None,
            ranges: RangeSupport::Usable,
            body: None,
            mirrors_read: BTreeSet::new(),
            held: None,
        })
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up the answer that is under way. A later read asks anew.
    pub fn hang_up(&mut self) {
        self.body = None;
    }

    /// Notes that the bytes that were read have another digest.
    ///
    /// Gives back whether reading the blob anew may give others, because some of these came from mirrors. Those mirrors
    /// are not asked for anything any more, and a warning names them.
    pub fn distrust(&self) -> bool {
        for mirror in
            self.mirrors_read.iter().filter_map(|&n| self.repository.mirrors_by_digest().nth(n))
        {
            mirror.distrust(&format!("{}: wrong bytes", self.what));
        }
        !self.mirrors_read.is_empty()
    }

    /// Reads everything and checks its digest. If it is wrong and mirrors had a part in it, it is read anew without
    /// them.
    fn read_verified(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let content = self.read_whole()?;
            match check_digest(&self.what, &self.descriptor.digest, &content) {
                Err(_) if self.distrust() => {
                    self.offset = 0;
                    self.source = first_source(&self.repository);
                    self.body = None;
                    self.mirrors_read.clear();
                }
                checked => return checked.map(|()| content),
            }
        }
    }

    /// Reads everything from here to the end.
    fn read_whole(&mut self) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        loop {
            self.fill()?;
            let chunk = self.at_hand();
            let n = chunk.len();
            if n == 0 {
                return Ok(content);
            }
            content.extend_from_slice(chunk);
            self.consume(n);
        }
    }

    /// Whether the bytes end before the blob does.
    pub fn is_part(&self) -> bool {
        self.end < self.descriptor.size
    }

    fn left(&self) -> u64 {
        self.end - self.offset
    }

    fn at_hand(&self) -> &[u8] {
        if let Some(content) = &self.held {
            return usize::try_from(self.offset).map_or(&[], |offset| &content[offset..]);
        }
        let chunk = self.body.as_ref().map_or(&[][..], |open| open.body.at_hand());
        // A server may give more than the part.
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        &chunk[..chunk.len().min(left)]
    }

    /// Waits until bytes are at hand, or there are no more.
    fn fill(&mut self) -> Result<(), Error> {
        while self.held.is_none() && self.at_hand().is_empty() {
            let step = if self.left() == 0 {
                self.check_end().map_err(Failure::from)
            } else {
                self.advance()
            };
            match step {
                Ok(()) if self.left() == 0 => break,
                Ok(()) => {}
                Err(failure) => {
                    self.body = None;
                    self.go_on_after(failure)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on to the next source after a mirror, or waits before the registry is asked again.
    fn go_on_after(&mut self, failure: Failure) -> Result<(), Error> {
        if let Some(mirror) = self.mirror() {
            mirror.leave(failure)?;
            self.source = self.next_source().unwrap_or(BlobSource::Registry);
        } else {
            self.attempts.after(failure, &self.what)?;
            self.repository.remote.meter().retried();
        }
        Ok(())
    }

    /// The mirror that is asked now, if one is.
    fn mirror(&self) -> Option<&Repository> {
        match self.source {
            BlobSource::Mirror(n) => self.repository.mirrors_by_digest().nth(n),
            BlobSource::Registry | BlobSource::Address(_) => None,
        }
    }

    /// The source after the present one.
    fn next_source(&self) -> Option<BlobSource> {
        let has_mirror = |n| self.repository.mirrors_by_digest().nth(n).is_some();
        let has_address = |n| self.descriptor.is_foreign() && n < self.descriptor.urls.len();
        match self.source {
            BlobSource::Mirror(n) if has_mirror(n + 1) => Some(BlobSource::Mirror(n + 1)),
            BlobSource::Mirror(_) => Some(BlobSource::Registry),
            BlobSource::Registry => has_address(0).then_some(BlobSource::Address(0)),
            BlobSource::Address(n) => has_address(n + 1).then_some(BlobSource::Address(n + 1)),
        }
    }

    /// Waits for the next bytes of the body, which is opened if need be.
    fn advance(&mut self) -> Result<(), Failure> {
        let left = self.left();
        let mut open = match self.body.take() {
            Some(open) => open,
            None => self.ask()?,
        };
        let filled = open.body.fill().map(<[u8]>::len);
        let n = filled.map_err(|error| transport_failure(error, &self.what, &open.host))?;
        if n == 0 {
            return Err(Failure::transient(self.size_mismatch(self.offset)));
        }
        let skipped = open.skip.min(n as u64);
        open.skip -= skipped;
        open.body.consume(usize::try_from(skipped).unwrap_or(n));
        let n_new = n as u64 - skipped;
        if n_new > left && !self.is_part() {
            return Err(self.too_long().into());
        }
        if n_new > 0 {
            self.attempts.progress();
        }
        self.body = Some(open);
        Ok(())
    }

    /// Checks that nothing comes after the last byte. A connection that breaks there does no harm.
    fn check_end(&mut self) -> Result<(), Error> {
        let Some(mut open) = self.body.take() else { return Ok(()) };
        match open.body.fill() {
            Ok(chunk) if !chunk.is_empty() && !open.has_length && !self.is_part() => {
                Err(self.too_long())
            }
            _ => Ok(()),
        }
    }

    /// Asks for the rest: the present source, or the next one if that is a mirror that was given up. If the registry
    /// doesn't have the blob, the addresses of a foreign layer are asked.
    fn ask(&mut self) -> Result<Open, Failure> {
        while self.mirror().is_some_and(|mirror| mirror.remote.endpoint().is_given_up()) {
            self.source = self.next_source().unwrap_or(BlobSource::Registry);
        }
        loop {
            let outcome = self.ask_source();
            let is_missing = match &outcome {
                Err(failure) => matches!(*failure.error, Error::NotFound { .. }),
                Ok(_) => false,
            };
            match self.next_source() {
                Some(next @ BlobSource::Address(_)) if is_missing => self.source = next,
                _ => return outcome,
            }
        }
    }

    fn ask_source(&mut self) -> Result<Open, Failure> {
        let digest = self.descriptor.digest.to_string();
        let target = match self.source {
            BlobSource::Mirror(_) | BlobSource::Registry => Target::Repository("blobs", &digest),
            BlobSource::Address(n) => Target::Elsewhere(&self.descriptor.urls[n]),
        };
        let is_whole = self.offset == 0 && !self.is_part();
        let mut call = Call::get(&self.what, target);
        call.lane = self.lane;
        call.given_up.clone_from(&self.given_up);
        if !is_whole && self.ranges == RangeSupport::Usable {
            let last = if self.is_part() { (self.end - 1).to_string() } else { String::new() };
            call.headers.push((RANGE, format!("bytes={}-{last}", self.offset)));
            call.accepted = &[StatusCode::RANGE_NOT_SATISFIABLE];
        }
        let Answer { exchange, host, .. } =
            self.mirror().unwrap_or(&self.repository).remote.attempt(Scope::Pull, &call)?;
        let start = self.start_of(&exchange)?;
        let is_whole = exchange.status == StatusCode::OK;
        if is_whole && self.is_part() {
            self.end = self.descriptor.size;
        }
        let promised = if is_whole { self.descriptor.size } else { self.end - start };
        let length = headers::content_length(&exchange.headers);
        if headers::is_html(&exchange.headers) && length != Some(promised) {
            let media_type = headers::media_type(&exchange.headers);
            return Err(Error::NotARegistry { what: self.what.clone(), media_type }.into());
        }
        if is_encoded(&exchange) && is_json(&self.descriptor) && length != Some(promised) {
            return Err(self.protocol(ENCODED).into());
        }
        if let Some(length) = length.filter(|&length| length > promised && !self.is_part()) {
            return Err(self.size_mismatch(start.saturating_add(length)).into());
        }
        Ok(Open {
            body: exchange.body,
            host,
            skip: self.offset - start,
            has_length: length.is_some(),
        })
    }

    /// The offset at which an answer's body begins, which is ours or 0.
    fn start_of(&mut self, exchange: &Exchange) -> Result<u64, Failure> {
        let range = headers::content_range(&exchange.headers);
        let total = range.and_then(|range| range.total);
        match (exchange.status, range.and_then(|range| range.start)) {
            (StatusCode::OK, _) => Ok(0),
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _)
                if total.is_some_and(|total| total != self.descriptor.size) =>
            {
                Err(self.size_mismatch(total.unwrap_or_default()).into())
            }
            (StatusCode::PARTIAL_CONTENT, Some(start)) if start == self.offset => Ok(start),
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                self.ranges = RangeSupport::Wrong;
                Err(Failure::transient(self.protocol("wrong Content-Range")))
            }
            _ => Err(self.protocol("neither the blob nor a part of it").into()),
        }
    }

    fn size_mismatch(&self, found: u64) -> Error {
        Error::SizeMismatch { what: self.what.clone(), expected: self.descriptor.size, found }
    }

    fn too_long(&self) -> Error {
        self.size_mismatch(self.descriptor.size.saturating_add(1))
    }

    fn protocol(&self, reason: &'static str) -> Error {
        Error::Protocol { what: self.what.clone(), reason }
    }
}

/// The source that is asked first.
fn first_source(repository: &Repository) -> BlobSource {
    match repository.mirrors_by_digest().next() {
        Some(_) => BlobSource::Mirror(0),
        None => BlobSource::Registry,
    }
}

/// Whether an answer claims to be compressed on its way only.
fn is_encoded(exchange: &Exchange) -> bool {
    headers::text_of(&exchange.headers, &CONTENT_ENCODING).is_some()
}

/// Whether a blob is a config or the like: where a layer is said to be encoded, that is its own compression
/// (moby#17595).
fn is_json(blob: &Descriptor) -> bool {
    blob.media_type.ends_with("json") && blob.size <= DOCUMENT_LIMIT
}

impl BufRead for Blob {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()?;
        Ok(self.at_hand())
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.at_hand().len());
        if let Some(open) = self.body.as_mut().filter(|_| self.held.is_none()) {
            open.body.consume(n);
            if let BlobSource::Mirror(position) = self.source
                && n > 0
            {
                self.mirrors_read.insert(position);
            }
        }
        self.offset += n as u64;
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let chunk = self.fill_buf()?;
        let n = chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use layer_format::{Digest, media_type};

    use super::*;

    #[test]
    fn a_config_is_json_and_no_longer_than_a_document_may_be() {
        let is = |media_type: &str, size: u64| {
            is_json(&Descriptor::new(media_type, Digest::of(b""), size))
        };
        assert!(is(media_type::OCI_CONFIG, 2) && is(media_type::OCI_CONFIG, DOCUMENT_LIMIT));
        assert!(!is(media_type::OCI_CONFIG, DOCUMENT_LIMIT + 1));
        assert!(!is(media_type::OCI_LAYER, 2));
    }
}
