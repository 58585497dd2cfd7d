//! Uploads: a blob sent to a registry across broken connections.
//!
//! ```text
//! POST uploads/ ──► 202 Location ──► PUT ?digest=                      what fits into one request
//!        │                       ├─► PATCH … PATCH ──► PUT ?digest=    in chunks, each answer's Location followed
//!        │                       └─► PATCH ──► PUT ?digest=            the whole, where a PUT may not carry anything
//!        └── ?mount=&from= ──► 201: the registry had it elsewhere
//! ```
//!
//! The digest that the last PUT is checked against is the proof that the registry has the blob. What it says about
//! ranges before is a hint: registries answer chunks with old ranges, with those of the last chunk alone, or with none.
//! After a break the registry is asked how far it has come (`GET` of the upload) and the upload goes on there; if it
//! has forgotten the upload, it begins anew. A registry that refuses a chunk gets smaller ones, or the whole in one
//! request; what was found out about it holds for the blobs that follow.

mod location;
mod refused;
mod requests;

use std::sync::Arc;

use http::StatusCode;
use layer_format::Descriptor;
use url::Url;

use super::repository::Repository;
use crate::auth::Scope;
use crate::base::{Content, Error, Failure, RetryPolicy};
use crate::session::{Attempts, UploadMode};

/// Statuses of answers to a part of a blob that tell how to send it instead.
const INSTRUCTIVE: [StatusCode; 13] = [
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
    /// The blob in errors.
    what: String,
    /// The address at which it goes on; none before it has begun, and when it must begin anew.
    location: Option<Url>,
    /// How many bytes the registry has.
    offset: u64,
    state: RemoteState,
    /// Whether the registry has refused the next part, though it had named that offset itself.
    offset_refused: bool,
    /// Whether the ranges that the registry answers are of no use.
    ignores_ranges: bool,
    mode: UploadMode,
    /// Whether a change of the mode holds for other blobs too.
    is_habit: bool,
    /// How many bytes one request carries at most.
    chunk: u64,
    /// How many bytes were sent in requests that the registry has answered, at any offset.
    spent: u64,
    attempts: Attempts,
}

/// What is known of how much the registry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RemoteState {
    /// It has as much as we think.
    Known,
    /// It must be asked.
    Unknown,
    /// It must be asked, and may have the whole blob.
    MayBeDone,
    /// It has the whole blob.
    Done,
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The registry has taken something, or there is nothing to send yet.
    Sent,
    /// Another way is to be tried at once.
    Again,
}

impl Repository {
    /// Begins to upload a blob; nothing is asked for yet.
    pub fn upload(&self, blob: &Descriptor) -> Upload {
        Upload::new(self.clone(), blob)
    }

    /// Takes up an upload at the address that an earlier process kept. It begins anew if that is of no use any more.
    ///
    /// The registry must have been [asked](Self::has) for something before: its scheme is not taken from the address.
    pub fn resume(&self, blob: &Descriptor, address: &str) -> Upload {
        Upload::resumed(self.clone(), blob, address)
    }
}

impl Upload {
    fn new(repository: Repository, descriptor: &Descriptor) -> Self {
        let what = repository.name_of(&descriptor.digest);
        let chunk = repository.remote.session().options().chunk.max(1);
        let attempts = repository.remote.attempts();
        let habits = repository.remote.endpoint().habits();
        let chunk = habits.chunk.map_or(chunk, |largest| chunk.min(largest));
        Self {
            repository,
            descriptor: descriptor.clone(),
            what,
            location: None,
            offset: 0,
            state: RemoteState::Known,
            offset_refused: false,
            ignores_ranges: habits.has_useless_ranges,
            mode: habits.mode,
            is_habit: false,
            chunk,
            spent: 0,
            attempts,
        }
    }

    /// Takes up an upload that an earlier process left off, at the [`address`](Self::address) that it kept.
    fn resumed(repository: Repository, descriptor: &Descriptor, address: &str) -> Self {
        let upload = Self::new(repository, descriptor);
        // Whatever is kept on a disk, a login only goes to the registry's own host.
        let location: Option<Url> = address.parse().ok();
        let location = location.filter(|url| upload.repository.remote.endpoint().is_at(url));
        let state = if location.is_some() { RemoteState::Unknown } else { RemoteState::Known };
        Self { location, state, ..upload }
    }

    /// How many bytes the registry has, as far as is known.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the registry has named an address for the upload.
    pub fn has_begun(&self) -> bool {
        self.location.is_some()
    }

    /// Whether the registry has the whole blob.
    pub fn is_done(&self) -> bool {
        self.state == RemoteState::Done
    }

    /// How many bytes one request carries, if there are so many.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// The address at which a later process may go on; none if there is nothing to go on with, or if the address itself
    /// is a secret.
    pub fn address(&self) -> Option<&str> {
        let location = self.location.as_ref().filter(|_| self.offset > 0 && !self.is_done())?;
        let is_ours =
            self.repository.remote.endpoint().is_at(location) && location::may_be_kept(location);
        is_ours.then_some(location.as_str())
    }

    /// Asks the registry to take the blob from another of its repositories, given by its path. Gives back whether it
    /// did. If it didn't, nothing is lost: its answer is the beginning of an upload.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached.
    pub fn mount(&mut self, from: &str) -> Result<bool, Error> {
        self.cancel();
        let digest = self.descriptor.digest.to_string();
        let query = [("mount", &digest[..]), ("from", from)];
        let attempts = self.repository.remote.attempts();
        let what = self.what.clone();
        let started = attempts.run(&what, || self.start(&query, Scope::Mount(from.to_owned())));
        match started {
            Ok(()) => Ok(self.is_done()),
            // Not every token server gives a token for two repositories, and not everybody may read the other.
            Err(
                Error::Unauthorised { .. }
                | Error::NotFound { .. }
                | Error::Refused { .. }
                | Error::RateLimited { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends the next part of the blob, as much as one request may carry or as `content` has. At the blob's end the
    /// registry checks its digest, and the upload [is done](Self::is_done).
    ///
    /// # Errors
    ///
    /// [`Error::Rewound`] if the registry must have bytes again that `content` has no more; [`Error::DigestRefused`] if
    /// it has got the whole in one request and finds another digest; [`Error::Unreadable`] if `content` can't be read;
    /// the errors of connections.
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
            let may_pass = failure.retry != RetryPolicy::Never;
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
            self.offset_refused = false;
        }
    }

    fn step(&mut self, content: &Arc<dyn Content>) -> Result<Step, Failure> {
        if self.state != RemoteState::Known {
            self.find_out()?;
        }
        if self.is_done() {
            return Ok(Step::Sent);
        }
        if self.location.is_none() {
            self.start(&[], Scope::Push)?;
        }
        let size = self.descriptor.size;
        let end = content.range().end.min(size);
        let fits = self.offset == 0 && end == size && size <= self.chunk;
        match self.mode {
            UploadMode::Streamed if self.offset < size => self.patch_whole(content),
            UploadMode::Streamed => self.put(None, content),
            _ if fits || self.mode == UploadMode::Whole => self.put(Some(content), content),
            _ if self.offset < end => self.patch(content, (end - self.offset).min(self.chunk)),
            _ if self.offset == size => self.put(None, content),
            _ => Ok(Step::Sent),
        }
    }

    fn protocol(&self, reason: &'static str) -> Error {
        Error::Protocol { what: self.what.clone(), reason }
    }
}
