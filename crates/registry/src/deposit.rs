//! Writing into a repository: what is there already, blobs, manifests.

use std::sync::Arc;

use layer_format::{Descriptor, Digest, Document};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH};
use reqwest::{Method, StatusCode};

use crate::attempt::{Answer, Call, Place};
use crate::auth::Access;
use crate::error::Error;
use crate::repository::{CONTENT_DIGEST, MANIFEST_TYPES, Repository, check_digest, check_manifest};
use crate::retry::{Attempts, Failure};
use crate::transport::{Answering, Payload};
use crate::upload::{Upload, Window};
use crate::verdict::text_of;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// What a tag stands for at some moment.
#[derive(Debug)]
pub struct Current {
    /// The manifest or index.
    pub document: Document,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The registry's word for this very content (`ETag`), if it has one.
    pub version: Option<String>,
}

impl Repository {
    /// Whether the repository has a blob.
    pub fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let what = self.name_of(&blob.digest);
        let attempts = Attempts::new(&self.shared().options);
        attempts.run(&what, || self.ask_for(blob, &what))
    }

    /// Whether the repository has a blob, as far as it lets itself be asked. Registries whose storage refuses such questions, or
    /// fails over a blob that it has lost (500), take blobs all the same.
    pub fn is_known_to_have(&self, blob: &Descriptor) -> Result<bool, Error> {
        match self.has(blob) {
            Err(error) if is_no_answer(&error) => Ok(false),
            // skopeo#1639: otherwise what is lost could never be replaced.
            Err(Error::Refused { status: 500, .. }) => Ok(false),
            asked => asked,
        }
    }

    pub(crate) fn ask_for(&self, blob: &Descriptor, what: &str) -> Result<bool, Failure> {
        let digest = blob.digest.to_string();
        let mut call = Call::get(what, Place::Repository("blobs", &digest));
        call.method = Method::HEAD;
        call.accepted = &[StatusCode::NOT_FOUND];
        Ok(self.attempt_for(&Access::Push, &call)?.exchange.status.is_success())
    }

    /// Keeps something about the registry for [`Client::warnings`](crate::Client::warnings).
    pub fn note(&self, text: &str) {
        self.shared().warn(format!("{}: {text}", self.registry()));
    }

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

    /// The digest of the manifest or index that this tag or digest stands for; none if there is none.
    pub fn manifest_digest(&self, wanted: &str) -> Result<Option<Digest>, Error> {
        let pinned = self.pinned(wanted)?;
        let what = self.manifest_name(wanted, pinned.as_ref());
        let mut call = Call::get(&what, Place::Repository("manifests", wanted));
        call.method = Method::HEAD;
        call.headers = vec![(ACCEPT, MANIFEST_TYPES.join(", "))];
        call.accepted = &[StatusCode::NOT_FOUND];
        let attempts = Attempts::new(&self.shared().options);
        let answer = attempts.run(&what, || self.attempt_for(&Access::Push, &call))?;
        if !answer.exchange.status.is_success() {
            return Ok(None);
        }
        Ok(content_digest(&answer).or(pinned))
    }

    /// What a tag stands for now, as the registry itself has it, whatever mirrors there are; none if there is nothing.
    pub fn current(&self, tag: &str) -> Result<Option<Current>, Error> {
        let what = self.manifest_name(tag, None);
        let mut call = Call::get(&what, Place::Repository("manifests", tag));
        call.headers = vec![(ACCEPT, MANIFEST_TYPES.join(", "))];
        call.accepted = &[StatusCode::NOT_FOUND];
        let attempts = Attempts::new(&self.shared().options);
        attempts.run(&what, || {
            let answer = self.attempt_for(&Access::Push, &call)?;
            if !answer.exchange.status.is_success() {
                return Ok(None);
            }
            let version = text_of(&answer.exchange.headers, &ETAG).map(str::to_owned);
            let raw = check_manifest(&what, None, answer)?;
            let digest = Digest::of(&raw);
            let malformed = |source| Error::Malformed { what: what.clone(), source };
            let document = Document::parse(raw).map_err(malformed)?;
            Ok(Some(Current { document, digest, version }))
        })
    }

    /// Puts an index under a tag as [`put_manifest`](Self::put_manifest) does, in place of the version that was
    /// [there](Self::current). Says whether it was done: a registry that compares versions may find another one there.
    pub fn replace_manifest(
        &self,
        tag: &str,
        media_type: &str,
        raw: &[u8],
        version: Option<&str>,
    ) -> Result<bool, Error> {
        let condition = version.map(|version| (IF_MATCH, version.to_owned()));
        let answer = self.put(tag, media_type, raw, condition)?;
        Ok(answer.exchange.status.is_success())
    }

    /// Puts a manifest or an index under a tag or its digest, byte for byte. All that it names must be there before.
    ///
    /// Says whether the registry lists it by itself among what refers to its `subject`.
    pub fn put_manifest(&self, name: &str, media_type: &str, raw: &[u8]) -> Result<bool, Error> {
        let answer = self.put(name, media_type, raw, None)?;
        Ok(text_of(&answer.exchange.headers, &SUBJECT).is_some())
    }

    /// Puts a manifest or an index, on a condition if there is one.
    fn put(
        &self,
        name: &str,
        media_type: &str,
        raw: &[u8],
        condition: Option<(HeaderName, String)>,
    ) -> Result<Answer, Error> {
        let pinned = self.pinned(name)?;
        let what = self.manifest_name(name, pinned.as_ref());
        let (content, length) = (Arc::new(Window::new(0, raw)), raw.len() as u64);
        let mut call = Call::get(&what, Place::Repository("manifests", name));
        call.method = Method::PUT;
        call.headers = vec![(CONTENT_TYPE, media_type.to_owned())];
        if let Some(condition) = condition {
            call.headers.push(condition);
            call.accepted = &[StatusCode::PRECONDITION_FAILED];
        }
        call.payload = Some(Payload { content, offset: 0, length });
        call.answer = Answering::Late;
        let attempts = Attempts::new(&self.shared().options);
        let answer = attempts.run(&what, || self.attempt_for(&Access::Push, &call))?;
        if let Some(digest) =
            content_digest(&answer).filter(|_| answer.exchange.status.is_success())
        {
            check_digest(&what, &digest, raw)?;
        }
        Ok(answer)
    }
}

/// Whether a registry only refused to say whether it has a blob. It may take one all the same.
pub(crate) fn is_no_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::Unauthorised { .. }
            | Error::NotFound { .. }
            | Error::Redirect { .. }
            | Error::Refused { status: 400..=428 | 430..=499, .. }
    )
}

/// What the registry says that the manifest's digest is, as far as it is one.
fn content_digest(answer: &Answer) -> Option<Digest> {
    text_of(&answer.exchange.headers, &CONTENT_DIGEST)?.trim().parse().ok()
}
