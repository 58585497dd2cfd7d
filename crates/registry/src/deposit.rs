//! Writing into a repository: what is there already, blobs, manifests.

use std::sync::Arc;

use layer_format::{Descriptor, Digest};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use reqwest::{Method, StatusCode};

use crate::attempt::{Answer, Call, Place};
use crate::auth::Access;
use crate::error::Error;
use crate::repository::{CONTENT_DIGEST, MANIFEST_TYPES, Repository};
use crate::retry::{Attempts, Failure};
use crate::transport::{Answering, Payload};
use crate::upload::{Upload, Window};
use crate::verdict::text_of;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Repository {
    /// Whether the repository has a blob.
    pub fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let what = self.name_of(&blob.digest);
        let attempts = Attempts::new(&self.shared().options);
        attempts.run(&what, || self.ask_for(blob, &what))
    }

    pub(crate) fn ask_for(&self, blob: &Descriptor, what: &str) -> Result<bool, Failure> {
        let digest = blob.digest.to_string();
        let mut call = Call::get(what, Place::Repository("blobs", &digest));
        call.method = Method::HEAD;
        call.accepted = &[StatusCode::NOT_FOUND];
        Ok(self.attempt_for(&Access::Push, &call)?.exchange.status.is_success())
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

    /// Puts a manifest or an index under a tag or its digest, byte for byte. All that it names must be there before.
    ///
    /// Says whether the registry lists it by itself among what refers to its `subject`.
    pub fn put_manifest(&self, name: &str, media_type: &str, raw: &[u8]) -> Result<bool, Error> {
        let pinned = self.pinned(name)?;
        let what = self.manifest_name(name, pinned.as_ref());
        let (content, length) = (Arc::new(Window::new(0, raw)), raw.len() as u64);
        let mut call = Call::get(&what, Place::Repository("manifests", name));
        call.method = Method::PUT;
        call.headers = vec![(CONTENT_TYPE, media_type.to_owned())];
        call.payload = Some(Payload { content, offset: 0, length });
        call.answer = Answering::Late;
        let attempts = Attempts::new(&self.shared().options);
        let answer = attempts.run(&what, || self.attempt_for(&Access::Push, &call))?;
        if let Some(digest) = content_digest(&answer) {
            crate::repository::check_digest(&what, &digest, raw)?;
        }
        Ok(text_of(&answer.exchange.headers, &SUBJECT).is_some())
    }
}

/// What the registry says that the manifest's digest is, as far as it is one.
fn content_digest(answer: &Answer) -> Option<Digest> {
    text_of(&answer.exchange.headers, &CONTENT_DIGEST)?.trim().parse().ok()
}
