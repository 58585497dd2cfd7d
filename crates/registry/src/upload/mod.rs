//! Uploads: a blob to a registry, whatever happens to the connection that takes it.
//!
//! ```text
//! POST uploads/ ──► 202 Location ──► PUT ?digest=                      what fits into one request
//!        │                       ├─► PATCH … PATCH ──► PUT ?digest=    in chunks, each answer's Location followed
//!        │                       └─► PATCH ──► PUT ?digest=            the whole, where a PUT may not carry anything
//!        └── ?mount=&from= ──► 201: the registry had it elsewhere
//! ```
//!
//! The digest that the last PUT is checked against is the proof that the registry has the blob. What it says about ranges
//! before is a hint: registries answer chunks with old ranges, with those of the last chunk alone, or with none. After a
//! break the registry is asked how far it has come (`GET` of the upload) and the upload goes on there; if it has forgotten
//! the upload, it begins anew. A registry that refuses a chunk gets smaller ones, or the whole in one request; what was
//! found out about it holds for the blobs that follow.

mod content;
mod habits;
mod place;
mod refused;
mod requests;

use std::sync::Arc;

use layer_format::Descriptor;
use reqwest::{StatusCode, Url};

use crate::auth::Access;
use crate::error::Error;
use crate::repository::Repository;
use crate::retry::{Again, Attempts, Failure};

pub use content::{Content, Window};
pub(crate) use habits::Habits;
use habits::Manner;

/// Answers to a part of a blob that tell what to do instead.
const TELLING: [StatusCode; 13] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::CONFLICT,
    StatusCode::GONE,
    StatusCode::LENGTH_REQUIRED,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::RANGE_NOT_SATISFIABLE,
    StatusCode::UNPROCESSABLE_ENTITY,
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
    /// Whether what the registry says about ranges is of no use.
    is_blind: bool,
    manner: Manner,
    /// Whether it holds for other blobs too that the manner had to change.
    is_lesson: bool,
    /// How many bytes go into one request at most.
    chunk: u64,
    /// How many bytes were sent in requests that the registry has answered, from wherever.
    spent: u64,
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

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The registry has taken something, or there is nothing to send yet.
    Sent,
    /// Another way is to be tried at once.
    Again,
}

impl Upload {
    pub(crate) fn new(repository: Repository, descriptor: &Descriptor) -> Self {
        let what = repository.name_of(&descriptor.digest);
        let options = &repository.shared().options;
        let (attempts, chunk) = (Attempts::new(options), options.chunk.max(1));
        let habits = repository.endpoint().habits();
        let chunk = habits.chunk.map_or(chunk, |largest| chunk.min(largest));
        Self {
            repository,
            descriptor: descriptor.clone(),
            what,
            place: None,
            offset: 0,
            knowledge: Knowledge::Sure,
            is_astray: false,
            is_blind: habits.is_blind,
            manner: habits.manner,
            is_lesson: false,
            chunk,
            spent: 0,
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

    /// Whether the registry has named an address for the upload.
    pub fn has_begun(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the registry has the whole blob.
    pub fn is_done(&self) -> bool {
        self.knowledge == Knowledge::Done
    }

    /// How many bytes one request carries, if there are so many.
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
        self.cancel();
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
    ///
    /// # Errors
    ///
    /// [`Error::Rewound`] where the registry must have bytes again that `content` has no more; [`Error::DigestRefused`]
    /// where it has got the whole in one request and finds it to be something else.
    pub fn send(&mut self, content: &Arc<dyn Content>) -> Result<(), Error> {
        loop {
            let before = self.offset;
            let failure = match self.step(content) {
                Ok(Step::Again) => continue,
                Ok(Step::Sent) => {
                    self.note_progress(before);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let may_pass = failure.again != Again::Never;
            if let Err(error) = self.attempts.after(failure, &self.what)
                && !(may_pass && self.goes_another_way(&error, content))
            {
                return Err(error);
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
        match self.manner {
            Manner::Streamed if self.offset < size => self.patch_whole(content),
            Manner::Streamed => self.put(None, content),
            _ if fits || self.manner == Manner::Whole => self.put(Some(content), content),
            _ if self.offset < end => self.patch(content, (end - self.offset).min(self.chunk)),
            _ if self.offset == size => self.put(None, content),
            _ => Ok(Step::Sent),
        }
    }

    fn protocol(&self, reason: &'static str) -> Error {
        Error::Protocol { what: self.what.clone(), reason }
    }
}
