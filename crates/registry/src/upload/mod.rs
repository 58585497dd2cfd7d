//! Uploads: a blob to a registry, whatever happens to the connection that takes it.
//!
//! ```text
//! POST uploads/ ──► 202 Location ──► PUT ?digest=                      small: in one request
//!        │                       └─► PATCH … PATCH ──► PUT ?digest=    in chunks, each answer's Location followed
//!        └── ?mount=&from= ──► 201: the registry had it elsewhere
//! ```
//!
//! After a break the registry is asked how far it has come (`GET` of the upload) and the upload goes on there; if it has
//! forgotten the upload, it begins anew. A registry that takes no chunks gets the whole in one request.

mod content;
mod place;

use std::sync::Arc;

use layer_format::Descriptor;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName};
use reqwest::{Method, StatusCode, Url};

use crate::attempt::{Answer, Call, Place};
use crate::auth::Access;
use crate::error::Error;
use crate::repository::Repository;
use crate::retry::{Attempts, Failure};
use crate::transport::{Answering, Payload};
use crate::verdict::{Refusal, Standing, Subject, text_of};

pub use content::{Content, Window};

/// `OCI-Chunk-Min-Length`.
const LEAST: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// A registry that finds chunks too large gets smaller ones, down to this.
const SMALLEST: u64 = 512 << 10;
/// Answers to a part of a blob that tell what to do instead.
const TELLING: [StatusCode; 7] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::LENGTH_REQUIRED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::RANGE_NOT_SATISFIABLE,
    StatusCode::NOT_IMPLEMENTED,
];

/// A blob on its way to a registry.
#[derive(Debug)]
pub struct Upload {
    repository: Repository,
    descriptor: Descriptor,
    /// How errors name it.
    what: String,
    /// Where it goes on; nowhere before it has begun, and when it must begin anew.
    place: Option<Url>,
    /// How many bytes the registry has.
    offset: u64,
    knowledge: Knowledge,
    /// Whether it has refused what comes next, though it had said that this was it.
    is_astray: bool,
    /// Whether it may have been pieced together of what doesn't belong together.
    is_pieced: bool,
    manner: Manner,
    /// How many bytes go into one request at most.
    chunk: u64,
    attempts: Attempts,
}

/// What is known of the registry's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It has as much as we think.
    Sure,
    /// It must be asked.
    Unsure,
    /// It must be asked, and may have the whole blob.
    MayBeDone,
    /// It has the whole blob.
    Done,
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// In chunks, if there is more than one.
    Chunks,
    /// In one request, because the registry takes no chunks.
    Whole,
}

impl Upload {
    pub(crate) fn new(repository: Repository, descriptor: &Descriptor) -> Self {
        let what = repository.name_of(&descriptor.digest);
        let options = &repository.shared().options;
        let (attempts, chunk) = (Attempts::new(options), options.chunk.max(1));
        Self {
            repository,
            descriptor: descriptor.clone(),
            what,
            place: None,
            offset: 0,
            knowledge: Knowledge::Sure,
            is_astray: false,
            is_pieced: false,
            manner: Manner::Chunks,
            chunk,
            attempts,
        }
    }

    /// Takes up an upload that an earlier process left off, at the [`address`](Self::address) that it kept.
    pub(crate) fn resumed(repository: Repository, descriptor: &Descriptor, address: &str) -> Self {
        let upload = Self::new(repository, descriptor);
        // Whatever is kept on a disk, a login only goes to the registry's own host.
        let place: Option<Url> = address.parse().ok();
        let place = place.filter(|url| upload.repository.endpoint().is_at(url));
        let knowledge = if place.is_some() { Knowledge::Unsure } else { Knowledge::Sure };
        Self { place, knowledge, ..upload }
    }

    /// How many bytes the registry has, as far as is known.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the registry has the whole blob.
    pub fn is_done(&self) -> bool {
        self.knowledge == Knowledge::Done
    }

    /// How many bytes one request carries, if there are so many: what a stream should have at hand at a time.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// The address at which a later process may go on. None where there is nothing to go on with, and where the address
    /// itself would be a secret.
    pub fn address(&self) -> Option<&str> {
        let place = self.place.as_ref().filter(|_| self.offset > 0 && !self.is_done())?;
        let is_ours = self.repository.endpoint().is_at(place) && place::may_be_kept(place);
        is_ours.then_some(place.as_str())
    }

    /// Asks the registry to take the blob from another of its repositories, given by its path. If it doesn't, nothing is
    /// lost: its answer is the beginning of an upload.
    pub fn mount(&mut self, from: &str) -> Result<bool, Error> {
        let digest = self.descriptor.digest.to_string();
        let query = [("mount", &digest[..]), ("from", from)];
        let attempts = Attempts::new(&self.repository.shared().options);
        let what = self.what.clone();
        let started = attempts.run(&what, || self.start(&query, &Access::Mount(from.to_owned())));
        match started {
            Ok(()) => Ok(self.is_done()),
            // Not every token server gives a token for two repositories, and not everybody may read the other.
            Err(Error::Unauthorised { .. } | Error::NotFound { .. } | Error::Refused { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the next part of the blob, as much as one request may carry or as `content` has. At the blob's end the
    /// registry checks its digest, and the upload [is done](Self::is_done).
    pub fn send(&mut self, content: &Arc<dyn Content>) -> Result<(), Error> {
        loop {
            let before = self.offset;
            match self.step(content) {
                Ok(Step::Again) => {}
                Ok(Step::Sent) => {
                    self.note_progress(before);
                    return Ok(());
                }
                Err(failure) => self.attempts.after(failure, &self.what)?,
            }
        }
    }

    fn note_progress(&mut self, before: u64) {
        if self.offset > before {
            self.attempts.progress();
            self.is_astray = false;
        }
    }

    fn step(&mut self, content: &Arc<dyn Content>) -> Result<Step, Failure> {
        if self.knowledge != Knowledge::Sure {
            self.find_out()?;
        }
        if self.is_done() {
            return Ok(Step::Sent);
        }
        if self.place.is_none() {
            self.start(&[], &Access::Push)?;
        }
        let size = self.descriptor.size;
        let end = content.range().end.min(size);
        let fits = self.offset == 0 && end == size && size <= self.chunk;
        if fits || self.manner == Manner::Whole {
            self.put(Some(content))
        } else if self.offset < end {
            self.patch(content, (end - self.offset).min(self.chunk))
        } else if self.offset == size {
            self.put(None)
        } else {
            Ok(Step::Sent)
        }
    }

    /// Begins the upload, or mounts the blob.
    fn start(&mut self, query: &[(&str, &str)], access: &Access) -> Result<(), Failure> {
        let mut call = Call::get(&self.what, Place::Uploads(query));
        call.method = Method::POST;
        let Answer { exchange, url, .. } = self.repository.attempt_for(access, &call)?;
        self.offset = 0;
        if exchange.status == StatusCode::CREATED && !query.is_empty() {
            self.knowledge = Knowledge::Done;
            return Ok(());
        }
        let place = place::location(&url, &exchange.headers)
            .unwrap_or(Err("no Location of an upload"))
            .map_err(|reason| self.protocol(reason))?;
        self.place = Some(self.repository.endpoint().in_scheme(place));
        let least = text_of(&exchange.headers, &LEAST).and_then(|text| text.trim().parse().ok());
        self.chunk = self.chunk.max(least.unwrap_or_default());
        Ok(())
    }

    /// Asks the registry how far it has come.
    fn find_out(&mut self) -> Result<(), Failure> {
        let Some(place) = self.place.clone().filter(|_| self.manner == Manner::Chunks) else {
            return self.begin_anew();
        };
        let call = Call { accepted: &TELLING, ..Call::get(&self.what, Place::Given(&place)) };
        let Answer { exchange, url, .. } = self.repository.attempt_for(&Access::Push, &call)?;
        let received = place::received(&exchange.headers);
        match received.filter(|&n| n <= self.descriptor.size && exchange.status.is_success()) {
            Some(received) => {
                self.offset = received;
                self.is_pieced |= received > 0;
                self.knowledge = Knowledge::Sure;
                self.go_on(&url, &exchange.headers)
            }
            None => self.begin_anew(),
        }
    }

    /// Gives the upload up, unless it was done before its answer was lost.
    fn begin_anew(&mut self) -> Result<(), Failure> {
        let may_be_done = self.knowledge == Knowledge::MayBeDone;
        (self.place, self.offset) = (None, 0);
        let is_done = may_be_done && self.repository.ask_for(&self.descriptor, &self.what)?;
        self.knowledge = if is_done { Knowledge::Done } else { Knowledge::Sure };
        Ok(())
    }

    /// Sends a chunk.
    fn patch(&mut self, content: &Arc<dyn Content>, length: u64) -> Result<Step, Failure> {
        let Some(place) = self.place.clone() else { return Ok(Step::Again) };
        self.knowledge = Knowledge::Unsure;
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        let mut call = self.call(Method::PATCH, Place::Given(&place));
        call.headers.push((CONTENT_RANGE, range));
        call.payload = Some(self.payload(content, self.offset, length)?);
        let Answer { exchange, host, url } = self.repository.attempt_for(&Access::Push, &call)?;
        if !exchange.status.is_success() {
            let has_all = content.range() == (0..self.descriptor.size);
            return self.refused(Refusal::read(exchange), &host, has_all && self.offset == 0);
        }
        let sent = self.offset + length;
        let received = place::received(&exchange.headers).unwrap_or(sent);
        self.go_on(&url, &exchange.headers)?;
        if received > sent {
            return Err(self.protocol("claims more bytes than were sent").into());
        }
        if received <= self.offset {
            return Err(Failure::passing(self.protocol("takes no bytes")));
        }
        self.offset = received;
        self.knowledge = Knowledge::Sure;
        Ok(Step::Sent)
    }

    /// Ends the upload, with the whole content if there is only one request.
    fn put(&mut self, whole: Option<&Arc<dyn Content>>) -> Result<Step, Failure> {
        let Some(place) = &self.place else { return Ok(Step::Again) };
        let place = place::finished(place, &self.descriptor.digest.to_string());
        self.knowledge = Knowledge::MayBeDone;
        let mut call = self.call(Method::PUT, Place::Given(&place));
        call.answer = Answering::Late;
        call.payload = match whole {
            Some(content) => Some(self.payload(content, 0, self.descriptor.size)?),
            None => None,
        };
        let Answer { exchange, host, .. } = self.repository.attempt_for(&Access::Push, &call)?;
        if exchange.status.is_success() {
            self.knowledge = Knowledge::Done;
            return Ok(Step::Sent);
        }
        self.refused(Refusal::read(exchange), &host, false)
    }

    /// What to do about a part that the registry didn't take.
    fn refused(
        &mut self,
        refusal: Refusal,
        host: &str,
        whole_is_possible: bool,
    ) -> Result<Step, Failure> {
        let (what, host) = (self.what.clone(), host.to_owned());
        let is_unknown = matches!(&refusal.code[..], "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID");
        match refusal.status {
            _ if refusal.code == "DIGEST_INVALID" && self.is_pieced => {
                (self.place, self.is_pieced) = (None, false);
                Err(self.later(refusal, &host))
            }
            _ if refusal.code == "DIGEST_INVALID" => {
                Err(Error::DigestRefused { what, host, said: refusal.said }.into())
            }
            StatusCode::RANGE_NOT_SATISFIABLE if !self.is_astray => {
                self.is_astray = true;
                Err(self.later(refusal, &host))
            }
            // Asking how far it has come has not helped, or the upload is forgotten.
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND => {
                self.place = None;
                Err(self.later(refusal, &host))
            }
            StatusCode::BAD_REQUEST if is_unknown => {
                self.place = None;
                Err(self.later(refusal, &host))
            }
            StatusCode::PAYLOAD_TOO_LARGE if self.can_shrink() => {
                self.chunk = (self.chunk.min(self.descriptor.size) / 4).max(SMALLEST);
                self.knowledge = Knowledge::Unsure;
                Ok(Step::Again)
            }
            _ if whole_is_possible && self.manner == Manner::Chunks => {
                (self.manner, self.place) = (Manner::Whole, None);
                Ok(Step::Again)
            }
            _ => Err(refusal.failure(self.subject(&host))),
        }
    }

    /// Whether smaller chunks than those that were too large can be tried.
    fn can_shrink(&self) -> bool {
        self.manner == Manner::Chunks && self.chunk.min(self.descriptor.size) > SMALLEST
    }

    /// A refusal that may pass when the upload goes on in another way.
    fn later(&self, refusal: Refusal, host: &str) -> Failure {
        let error = refusal.failure(self.subject(host)).error;
        Failure::passing(*error)
    }

    fn subject<'a>(&'a self, host: &'a str) -> Subject<'a> {
        let login = Standing::Unknown;
        Subject { what: &self.what, registry: self.repository.registry(), host, login }
    }

    fn call<'a>(&'a self, method: Method, place: Place<'a>) -> Call<'a> {
        let headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
        Call { method, headers, accepted: &TELLING, ..Call::get(&self.what, place) }
    }

    fn payload(
        &self,
        content: &Arc<dyn Content>,
        offset: u64,
        length: u64,
    ) -> Result<Payload, Failure> {
        if offset < content.range().start {
            return Err(Error::Rewound { what: self.what.clone() }.into());
        }
        Ok(Payload { content: Arc::clone(content), offset, length })
    }

    /// Follows an answer to where the upload goes on; it stays where it is if the answer doesn't say.
    fn go_on(&mut self, asked: &Url, headers: &reqwest::header::HeaderMap) -> Result<(), Failure> {
        if let Some(location) = place::location(asked, headers) {
            let place = location.map_err(|reason| self.protocol(reason))?;
            self.place = Some(self.repository.endpoint().in_scheme(place));
        }
        Ok(())
    }

    fn protocol(&self, reason: &'static str) -> Error {
        Error::Protocol { what: self.what.clone(), reason }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The registry has taken something, or there is nothing to send yet.
    Sent,
    /// Another way is to be tried at once.
    Again,
}
