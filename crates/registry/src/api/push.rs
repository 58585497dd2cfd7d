//! Manifests and tags, written; and what they stand for before.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, ETAG, HeaderName, IF_MATCH};
use http::{Method, StatusCode};
use layer_format::{Digest, Document};

use super::document::{accept_manifests, check_digest, read_checked, sent_digest};
use super::repository::Repository;
use crate::auth::Scope;
use crate::base::{Error, Window};
use crate::http::headers::text_of;
use crate::http::{AnswerTime, Payload};
use crate::session::{Answer, Call, Target};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// The manifest that a tag stands for at some moment.
#[derive(Debug)]
pub struct Current {
    /// The manifest or index.
    pub document: Document,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The registry's `ETag` for this content, if it sends one.
    pub version: Option<String>,
}

impl Repository {
    /// The digest of the manifest or index that this tag or digest stands for; none if there is none.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses to say.
    pub fn manifest_digest(&self, wanted: &str) -> Result<Option<Digest>, Error> {
        let pinned = self.pinned(wanted)?;
        let what = self.manifest_name(wanted, pinned.as_ref());
        let mut call = Call::get(&what, Target::Repository("manifests", wanted));
        call.method = Method::HEAD;
        call.headers = vec![accept_manifests()];
        call.accepted = &[StatusCode::NOT_FOUND];
        let answer =
            self.remote.attempts().run(&what, || self.remote.attempt(Scope::Push, &call))?;
        if !answer.exchange.status.is_success() {
            return Ok(None);
        }
        Ok(sent_digest(&answer.exchange.headers).or(pinned))
    }

    /// The manifest that a tag stands for now at the registry itself, without mirrors; none if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`manifest`](Self::manifest), except [`Error::NotFound`].
    pub fn current(&self, tag: &str) -> Result<Option<Current>, Error> {
        let what = self.manifest_name(tag, None);
        let mut call = Call::get(&what, Target::Repository("manifests", tag));
        call.headers = vec![accept_manifests()];
        call.accepted = &[StatusCode::NOT_FOUND];
        self.remote.attempts().run(&what, || {
            let answer = self.remote.attempt(Scope::Push, &call)?;
            if !answer.exchange.status.is_success() {
                return Ok(None);
            }
            let version = text_of(&answer.exchange.headers, &ETAG).map(str::to_owned);
            let raw = read_checked(&what, None, answer)?;
            let digest = Digest::of(&raw);
            let malformed = |source| Error::Malformed { what: what.clone(), source };
            let document = Document::parse(raw).map_err(malformed)?;
            Ok(Some(Current { document, digest, version }))
        })
    }

    /// Puts an index under a tag as [`put_manifest`](Self::put_manifest) does, in place of the `version` that was
    /// [there](Self::current). Gives back whether it was done: a registry that compares versions may find another one
    /// there.
    ///
    /// # Errors
    ///
    /// Those of [`put_manifest`](Self::put_manifest).
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
    /// Gives back whether the registry lists it by itself among the referrers of its `subject`.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses it; [`Error::DigestMismatch`] if the registry names another digest.
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
        let mut call = Call::get(&what, Target::Repository("manifests", name));
        call.method = Method::PUT;
        call.headers = vec![(CONTENT_TYPE, media_type.to_owned())];
        if let Some(condition) = condition {
            call.headers.push(condition);
            call.accepted = &[StatusCode::PRECONDITION_FAILED];
        }
        let content = Arc::new(Window::new(0, raw));
        call.payload = Some(Payload { content, offset: 0, length: raw.len() as u64 });
        call.answer = AnswerTime::Late;
        let answer =
            self.remote.attempts().run(&what, || self.remote.attempt(Scope::Push, &call))?;
        if answer.exchange.status.is_success()
            && let Some(digest) = sent_digest(&answer.exchange.headers)
        {
            check_digest(&what, &digest, raw)?;
        }
        Ok(answer)
    }
}
