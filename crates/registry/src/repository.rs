//! One repository of one registry: manifests, documents and blobs.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use layer_format::{
    DOCUMENT_LIMIT, Decoder, Descriptor, Digest, Document, ErrorKind, HasKind as _, Hasher,
    Reference, media_type,
};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName};

use crate::attempt::{Answer, Call, Place};
use crate::auth::Gate;
use crate::blob::{Blob, ENCODED};
use crate::client::Shared;
use crate::credentials::Wanted;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::mirrors::{By, Site};
use crate::retry::{Attempts, Failure};
use crate::traffic::Meter;
use crate::verdict;

/// What we can read, and the order in which we like it.
pub(crate) const MANIFEST_TYPES: [&str; 4] = [
    media_type::OCI_INDEX,
    media_type::OCI_MANIFEST,
    media_type::DOCKER_INDEX,
    media_type::DOCKER_MANIFEST,
];
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One repository of one registry; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    gate: Arc<Gate>,
    site: Arc<Site>,
    /// Its name as people write it.
    shown: String,
    /// Other repositories with the same content, to be asked first.
    mirrors: Arc<[(Self, By)]>,
}

impl Repository {
    pub(crate) fn new(
        shared: Arc<Shared>,
        endpoint: Arc<Endpoint>,
        gate: Arc<Gate>,
        site: &Site,
    ) -> Self {
        let shown = format!("{}/{}", site.host, site.path);
        let site = Arc::new(site.clone());
        Self { shared, endpoint, gate, site, shown, mirrors: Arc::default() }
    }

    /// The same, shown as people write its name.
    pub(crate) fn shown_as(self, reference: &Reference) -> Self {
        let pinned = reference.at(Digest::of(b"")).to_string();
        let shown = pinned.split('@').next().unwrap_or_default().to_owned();
        Self { shown, ..self }
    }

    pub(crate) fn with_mirrors(self, mirrors: Vec<(Self, By)>) -> Self {
        Self { mirrors: mirrors.into(), ..self }
    }

    /// All mirrors.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = &Self> {
        self.mirrors.iter().map(|(mirror, _)| mirror)
    }

    /// The mirrors that have content by digest.
    pub(crate) fn mirrors_by_digest(&self) -> impl Iterator<Item = &Self> {
        self.mirrors.iter().filter(|(_, by)| *by != By::Tag).map(|(mirror, _)| mirror)
    }

    /// Notes that something was not to be had from this mirror; gives the error back if that is no reason to go on.
    pub(crate) fn leave(&self, failure: Failure) -> Result<(), Failure> {
        match &*failure.error {
            Error::Interrupted { .. } => return Err(failure),
            Error::Connection { .. }
            | Error::Stalled { .. }
            | Error::Certificate { .. }
            | Error::Handshake { .. }
            | Error::ClientCertificate { .. } => {
                self.endpoint.give_up(self.shared.options.mirror_pause);
            }
            error @ Error::DigestMismatch { .. } => self.distrust(&error.to_string()),
            error if error.kind() == ErrorKind::Untrusted => self.warn(&error.to_string()),
            _ => {}
        }
        Ok(())
    }

    /// The counts for its host.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        self.shared.transport.meters.of(self.endpoint.host())
    }

    /// Notes that this mirror sent something wrong: it is not asked any more.
    pub(crate) fn distrust(&self, reason: &str) {
        self.endpoint.give_up_for_good();
        self.warn(&format!("{reason}; it is not asked any more"));
    }

    fn warn(&self, reason: &str) {
        self.shared.warn(format!("mirror {}: {reason}", self.endpoint.host()));
    }

    /// The manifest or index of this tag or digest, and the digest of its bytes.
    ///
    /// The bytes are checked against the digest that was asked for, and against the one that the registry says it sent.
    pub fn manifest(&self, wanted: &str) -> Result<(Document, Digest), Error> {
        let pinned = self.pinned(wanted)?;
        let what = self.manifest_name(wanted, pinned.as_ref());
        self.ask_for_manifest(wanted, pinned.as_ref(), &what, |raw| {
            let digest = pinned.unwrap_or_else(|| Digest::of(&raw));
            let malformed = |source| Error::Malformed { what: what.clone(), source };
            Ok((Document::parse(raw).map_err(malformed)?, digest))
        })
    }

    /// The bytes of a config, or of a manifest that an index names, checked against size and digest.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let (digest, expected) = (descriptor.digest, descriptor.size);
        let what = self.name_of(&digest);
        if expected > DOCUMENT_LIMIT {
            return Err(Error::TooLarge { what, limit: DOCUMENT_LIMIT });
        }
        let raw = if is_manifest(&descriptor.media_type) {
            self.ask_for_manifest(&digest.to_string(), Some(&digest), &what, Ok)?
        } else {
            self.whole_blob(descriptor)?
        };
        if raw.len() as u64 != expected {
            return Err(Error::SizeMismatch { what, expected, found: raw.len() as u64 });
        }
        Ok(raw)
    }

    /// A blob's bytes from `offset` to its end. They are not hashed here.
    ///
    /// # Errors
    ///
    /// The first bytes are waited for, so that a blob that isn't there is known at once.
    pub fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Blob, Error> {
        Blob::open(self.clone(), descriptor, offset)
    }

    /// All bytes of a blob that memory has room for, checked against size and digest. Wrong ones of a mirror are asked for
    /// elsewhere.
    pub fn whole_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = descriptor.digest;
        match Blob::whole(self.clone(), descriptor) {
            // quay#1310: a config that the server compresses on its way.
            Err(Error::Protocol { reason: ENCODED, .. }) => {
                let (wanted, what) = (digest.to_string(), self.name_of(&digest));
                self.ask_for_document("blobs", &wanted, Some(&digest), &what, Ok)
            }
            read => read,
        }
    }

    pub(crate) fn pinned(&self, wanted: &str) -> Result<Option<Digest>, Error> {
        if !wanted.contains(':') {
            return Ok(None);
        }
        let what = self.shown.clone();
        wanted.parse().map(Some).map_err(|source| Error::Malformed { what, source })
    }

    /// How errors name a manifest.
    pub(crate) fn manifest_name(&self, wanted: &str, pinned: Option<&Digest>) -> String {
        match pinned {
            Some(digest) => self.name_of(digest),
            None => format!("{}:{}", self.shown, crate::text::one_line(wanted)),
        }
    }

    /// How errors name a blob.
    pub(crate) fn name_of(&self, digest: &Digest) -> String {
        format!("{}@{}:{}", self.shown, digest.algorithm().name(), digest.short())
    }

    /// Asks mirrors and the registry for a manifest, until one gives bytes that `read` understands.
    fn ask_for_manifest<T>(
        &self,
        wanted: &str,
        pinned: Option<&Digest>,
        what: &str,
        read: impl Fn(Vec<u8>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.ask_for_document("manifests", wanted, pinned, what, read)
    }

    /// The same for what is found among `manifests` or `blobs`.
    fn ask_for_document<T>(
        &self,
        kind: &'static str,
        wanted: &str,
        pinned: Option<&Digest>,
        what: &str,
        read: impl Fn(Vec<u8>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let headers = match kind {
            "manifests" => vec![(ACCEPT, MANIFEST_TYPES.join(", "))],
            _ => vec![],
        };
        let call = Call { headers, ..Call::get(what, Place::Repository(kind, wanted)) };
        let ask = |repository: &Self| {
            let raw = check_manifest(what, pinned, repository.attempt(&call)?)?;
            Ok(read(raw)?)
        };
        let unwanted = if pinned.is_some() { By::Tag } else { By::Digest };
        let mirrors = self.mirrors.iter().filter(|(_, by)| *by != unwanted);
        for (mirror, _) in mirrors.filter(|(mirror, _)| !mirror.endpoint.is_given_up()) {
            match ask(mirror) {
                Ok(read) => return Ok(read),
                Err(failure) => {
                    mirror.leave(failure).map_err(|failure| *failure.error)?;
                    mirror.meter().left();
                }
            }
        }
        let mut n_asked = 0;
        Attempts::new(&self.shared.options).run(what, || {
            if n_asked > 0 {
                self.meter().retried();
            }
            n_asked += 1;
            ask(self)
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn registry(&self) -> &str {
        &self.site.host
    }

    /// Whose login counts here.
    pub(crate) fn login_wanted(&self) -> Wanted<'_> {
        let cancelled = self.shared.options.cancelled;
        Wanted { registry: self.registry(), repository: self.path(), cancelled }
    }

    /// The part of the name below the registry.
    pub(crate) fn path(&self) -> &str {
        &self.site.path
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repository").field(&self.shown).finish()
    }
}

/// Whether this is asked for where manifests are; whatever else a document claims to be, it is a blob.
fn is_manifest(media_type: &str) -> bool {
    media_type.contains("manifest") || media_type.contains("index")
}

/// Reads a manifest's bytes and checks them.
pub(crate) fn check_manifest(
    what: &str,
    pinned: Option<&Digest>,
    answer: Answer,
) -> Result<Vec<u8>, Failure> {
    let Answer { mut exchange, host, .. } = answer;
    let too_large = || Error::TooLarge { what: what.to_owned(), limit: DOCUMENT_LIMIT };
    let length = verdict::text_of(&exchange.headers, &CONTENT_LENGTH);
    if length.and_then(|text| text.parse().ok()).is_some_and(|length: u64| length > DOCUMENT_LIMIT)
    {
        return Err(too_large().into());
    }
    let raw = exchange.body.read_all(DOCUMENT_LIMIT);
    let raw = raw.map_err(|fault| verdict::fault(fault, what, &host))?;
    let raw = decoded(what, &exchange.headers, raw)?;
    if raw.len() as u64 > DOCUMENT_LIMIT {
        return Err(too_large().into());
    }
    if verdict::is_html(&exchange.headers) && !raw.trim_ascii_start().starts_with(b"{") {
        let media_type = verdict::media_type(&exchange.headers);
        return Err(Error::NotARegistry { what: what.to_owned(), media_type }.into());
    }
    // Its digest is that of a part of it, the rest are signatures; nobody reads it anyway.
    if is_schema_1(&raw)
        && let Err(source) = Document::parse(raw.clone())
    {
        return Err(Error::Malformed { what: what.to_owned(), source }.into());
    }
    // A header that isn't a digest, or one of a kind that nobody here computes, says nothing.
    let said = verdict::text_of(&exchange.headers, &CONTENT_DIGEST);
    let said = said.and_then(|text| text.trim().parse::<Digest>().ok());
    for digest in said.iter().chain(pinned) {
        check_digest(what, digest, &raw)?;
    }
    Ok(raw)
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

/// Undoes `Content-Encoding: gzip`, which nobody was asked for; what isn't really compressed stays as it is.
fn decoded(what: &str, headers: &HeaderMap, raw: Vec<u8>) -> Result<Vec<u8>, Error> {
    let encoding = verdict::text_of(headers, &CONTENT_ENCODING).unwrap_or_default();
    let names = ["gzip", "x-gzip"];
    let is_named = names.iter().any(|name| encoding.trim().eq_ignore_ascii_case(name));
    let is_gzip = is_named && raw.starts_with(&[0x1f, 0x8b]);
    if !is_gzip {
        return Ok(raw);
    }
    let mut plain = vec![];
    let decoder = Decoder::new(&raw[..])
        .and_then(|decoder| decoder.take(DOCUMENT_LIMIT + 1).read_to_end(&mut plain));
    let reason = "what came as gzip is none";
    decoder.map_err(|_| Error::Protocol { what: what.to_owned(), reason })?;
    Ok(plain)
}

pub(crate) fn check_digest(what: &str, expected: &Digest, content: &[u8]) -> Result<(), Error> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(content);
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    let (expected, found) = (Box::new(*expected), Box::new(found));
    Err(Error::DigestMismatch { what: what.to_owned(), expected, found })
}
