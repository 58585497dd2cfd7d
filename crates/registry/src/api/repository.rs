//! One repository of one registry: its names and its mirrors.

use std::fmt;
use std::sync::Arc;

use layer_format::{Digest, Reference};
use report::{ErrorKind, HasKind as _};

use crate::base::{Error, Failure, one_line};
use crate::config::{PullFrom, RepositoryLocation};
use crate::session::{Remote, Session};

/// One repository of one registry; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub struct Repository {
    pub(super) remote: Remote,
    /// Its name as people write it.
    shown: String,
    /// Other repositories with the same content, to be asked first.
    mirrors: Arc<[RepositoryMirror]>,
}

/// Another repository with the same content.
#[derive(Clone)]
pub(super) struct RepositoryMirror {
    pub(super) repository: Repository,
    pub(super) pull_from: PullFrom,
}

impl Repository {
    /// The repository at a location, without mirrors.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(super) fn new(
        session: &Arc<Session>,
        location: &RepositoryLocation,
    ) -> Result<Self, Error> {
        Ok(Self {
            remote: Remote::new(session, location)?,
            shown: format!("{}/{}", location.host, location.path),
            mirrors: Arc::default(),
        })
    }

    /// The same, shown as people write its name.
    pub(super) fn shown_as(self, reference: &Reference) -> Self {
        let pinned = reference.at(Digest::of(b"")).to_string();
        let shown = pinned.split('@').next().unwrap_or_default().to_owned();
        Self { shown, ..self }
    }

    /// The same with mirrors.
    pub(super) fn with_mirrors(self, mirrors: Vec<RepositoryMirror>) -> Self {
        Self { mirrors: mirrors.into(), ..self }
    }

    /// The same without mirrors: what is asked and changed is at the registry itself.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        self.clone().with_mirrors(vec![])
    }

    /// All mirrors.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &Self> {
        self.mirrors.iter().map(|mirror| &mirror.repository)
    }

    /// The mirrors that have content by digest.
    pub(super) fn mirrors_by_digest(&self) -> impl Iterator<Item = &Self> {
        self.mirrors_without(PullFrom::TagOnly)
    }

    /// The mirrors that have content by tag.
    pub(super) fn mirrors_by_tag(&self) -> impl Iterator<Item = &Self> {
        self.mirrors_without(PullFrom::DigestOnly)
    }

    fn mirrors_without(&self, unwanted: PullFrom) -> impl Iterator<Item = &Self> {
        let wanted = self.mirrors.iter().filter(move |mirror| mirror.pull_from != unwanted);
        wanted.map(|mirror| &mirror.repository)
    }

    /// Notes that something was not to be had from this mirror.
    ///
    /// # Errors
    ///
    /// The error of the failure, if it is no reason to go on to the next mirror.
    pub(super) fn leave(&self, failure: Failure) -> Result<(), Error> {
        match &*failure.error {
            Error::Interrupted { .. } => return Err(*failure.error),
            error if error.is_of_connection() => {
                self.remote.endpoint().give_up(self.remote.session().options().mirror_pause);
            }
            error @ Error::DigestMismatch { .. } => self.distrust(&error.to_string()),
            error if error.kind() == ErrorKind::Untrusted => self.warn(&error.to_string()),
            _ => {}
        }
        self.remote.meter().left_behind();
        Ok(())
    }

    /// Notes that this mirror sent something wrong: it is not asked any more.
    pub(super) fn distrust(&self, reason: &str) {
        self.remote.endpoint().give_up_for_good();
        self.warn(&format!("{reason}; it is not asked any more"));
    }

    fn warn(&self, reason: &str) {
        self.remote.session().warn(format!("mirror {}: {reason}", self.remote.endpoint().host()));
    }

    /// Keeps something about the registry for [`Client::warnings`](crate::Client::warnings).
    pub fn note(&self, text: &str) {
        self.remote.session().warn(format!("{}: {text}", self.remote.registry()));
    }

    /// The digest that `wanted` is, if it isn't a tag.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if it is neither.
    pub(super) fn pinned(&self, wanted: &str) -> Result<Option<Digest>, Error> {
        if !wanted.contains(':') {
            return Ok(None);
        }
        let what = self.shown.clone();
        wanted.parse().map(Some).map_err(|source| Error::Malformed { what, source })
    }

    /// Its name as people write it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The name of a manifest in errors.
    pub(super) fn manifest_name(&self, wanted: &str, pinned: Option<&Digest>) -> String {
        match pinned {
            Some(digest) => self.name_of(digest),
            None => format!("{}:{}", self.shown, one_line(wanted)),
        }
    }

    /// The name of a blob in errors.
    pub(super) fn name_of(&self, digest: &Digest) -> String {
        format!("{}@{}:{}", self.shown, digest.algorithm().name(), digest.short())
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repository").field(&self.shown).finish()
    }
}
