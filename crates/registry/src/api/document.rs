//! Small things that are read whole and checked: manifests, and configs that a server compresses on its way.

use std::io::Read as _;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_ENCODING, HeaderName};
use layer_format::{DOCUMENT_LIMIT, Decoder, Digest, Document, Hasher, media_type};

use super::repository::Repository;
use crate::auth::Scope;
use crate::base::{Error, Failure};
use crate::http::headers;
use crate::session::{Answer, Call, Target, transport_failure};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The media types of manifests that can be read, the preferred first.
const MANIFEST_TYPES: [&str; 4] = [
    media_type::OCI_INDEX,
    media_type::OCI_MANIFEST,
    media_type::DOCKER_INDEX,
    media_type::DOCKER_MANIFEST,
];

/// Where a registry keeps a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// The header that asks for a manifest.
pub(super) fn accept_manifests() -> (HeaderName, String) {
    (ACCEPT, MANIFEST_TYPES.join(", "))
}

/// A document that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct DocumentQuery<'a> {
    pub(super) kind: Kind,
    /// The tag or digest.
    pub(super) name: &'a str,
    /// The digest, if the name is one.
    pub(super) pinned: Option<&'a Digest>,
    /// The document in errors.
    pub(super) what: &'a str,
}

impl DocumentQuery<'_> {
    pub(super) fn call(&self) -> Call<'_> {
        match self.kind {
            Kind::Manifest => {
                let target = Target::Repository("manifests", self.name);
                Call { headers: vec![accept_manifests()], ..Call::get(self.what, target) }
            }
            Kind::Blob => Call::get(self.what, Target::Repository("blobs", self.name)),
        }
    }
}

impl Repository {
    /// Asks mirrors and the registry for a document, until one gives bytes that `read` understands.
    ///
    /// # Errors
    ///
    /// That of the last attempt at the registry itself, or [`Error::Interrupted`].
    pub(super) fn read_document<T>(
        &self,
        wanted: DocumentQuery<'_>,
        read: impl Fn(Vec<u8>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let call = wanted.call();
        self.ask_all(wanted, |repository: &Self| {
            let answer = repository.remote.attempt(Scope::Pull, &call)?;
            let raw = read_checked(wanted.what, wanted.pinned, answer)?;
            Ok(read(raw)?)
        })
    }

    /// Asks the mirrors that may have a document, then the registry, until one answers.
    ///
    /// # Errors
    ///
    /// That of the last attempt at the registry itself, or [`Error::Interrupted`].
    pub(super) fn ask_all<T>(
        &self,
        wanted: DocumentQuery<'_>,
        ask: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mirrors: Vec<_> = match wanted.pinned {
            Some(_) => self.mirrors_by_digest().collect(),
            None => self.mirrors_by_tag().collect(),
        };
        for mirror in mirrors.into_iter().filter(|mirror| !mirror.remote.endpoint().is_given_up()) {
            match ask(mirror) {
                Ok(document) => return Ok(document),
                Err(failure) => mirror.leave(failure)?,
            }
        }
        let mut n_asked = 0;
        self.remote.attempts().run(wanted.what, || {
            if n_asked > 0 {
                self.remote.meter().retried();
            }
            n_asked += 1;
            ask(self)
        })
    }
}

/// Reads a document's bytes and checks them against the digest that was asked for, and the one that the registry says
/// it sent.
pub(super) fn read_checked(
    what: &str,
    pinned: Option<&Digest>,
    answer: Answer,
) -> Result<Vec<u8>, Failure> {
    let Answer { mut exchange, host, .. } = answer;
    let too_large = || Error::TooLarge { what: what.to_owned(), limit: DOCUMENT_LIMIT };
    if headers::content_length(&exchange.headers).is_some_and(|length| length > DOCUMENT_LIMIT) {
        return Err(too_large().into());
    }
    let raw = exchange.body.read_all(DOCUMENT_LIMIT);
    let raw = raw.map_err(|error| transport_failure(error, what, &host))?;
    let raw = decoded(what, &exchange.headers, raw)?;
    if raw.len() as u64 > DOCUMENT_LIMIT {
        return Err(too_large().into());
    }
    if headers::is_html(&exchange.headers) && !raw.trim_ascii_start().starts_with(b"{") {
        let media_type = headers::media_type(&exchange.headers);
        return Err(Error::NotARegistry { what: what.to_owned(), media_type }.into());
    }
    // Its digest is that of a part of it, the rest are signatures; it can't be read anyway.
    if is_schema_1(&raw)
        && let Err(source) = Document::parse(raw.clone())
    {
        return Err(Error::Malformed { what: what.to_owned(), source }.into());
    }
    for digest in sent_digest(&exchange.headers).iter().chain(pinned) {
        check_digest(what, digest, &raw)?;
    }
    Ok(raw)
}

/// The digest that the registry says its document has. A header that isn't a digest, or one of a kind that isn't
/// computed here, says nothing.
pub(super) fn sent_digest(headers: &HeaderMap) -> Option<Digest> {
    headers::text_of(headers, &CONTENT_DIGEST)?.trim().parse().ok()
}

/// Whether a manifest is of Docker's first kind, signed or not.
fn is_schema_1(raw: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u64,
    }
    serde_json::from_slice(raw).is_ok_and(|it: Version| it.schema_version == 1)
}

/// Undoes `Content-Encoding: gzip`, which was not asked for. What isn't really compressed stays as it is.
fn decoded(what: &str, headers: &HeaderMap, raw: Vec<u8>) -> Result<Vec<u8>, Error> {
    let encoding = headers::text_of(headers, &CONTENT_ENCODING).unwrap_or_default();
    let names = ["gzip", "x-gzip"];
    let is_named = names.iter().any(|name| encoding.trim().eq_ignore_ascii_case(name));
    let is_gzip = is_named && raw.starts_with(&[0x1f, 0x8b]);
    if !is_gzip {
        return Ok(raw);
    }
    let mut plain = vec![];
    let decoder = Decoder::new(&raw[..])
        .and_then(|decoder| decoder.take(DOCUMENT_LIMIT + 1).read_to_end(&mut plain));
    let reason = "the answer says that it is gzip, and is not";
    decoder.map_err(|_| Error::Protocol { what: what.to_owned(), reason })?;
    Ok(plain)
}

/// Checks that some content has the expected digest.
///
/// # Errors
///
/// [`Error::DigestMismatch`].
pub(super) fn check_digest(what: &str, expected: &Digest, content: &[u8]) -> Result<(), Error> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(content);
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        what: what.to_owned(),
        expected: Box::new(*expected),
        found: Box::new(found),
    })
}
