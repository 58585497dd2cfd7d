//! The referrers of a manifest: the referrers API of the distribution-spec.

use http::StatusCode;
use layer_format::{DOCUMENT_LIMIT, Descriptor, Digest, Document, Index};

use super::pages::{PagedList, Presence};
use super::repository::Repository;
use crate::auth::Scope;
use crate::base::Error;
use crate::session::Target;

/// How many pages are read at most.
const PAGES_LIMIT: usize = 64;

/// A registry's answer to the question for the referrers of a manifest.
#[derive(Debug)]
pub enum Referrers {
    /// All referrers.
    Listed(Vec<Descriptor>),
    /// The registry lacks the API. [`Repository::referrers_by_tag`] may list them.
    Unsupported,
    /// The same, said in another way than by a 404: by another status, or by a web page.
    Refused(Box<Error>),
}

/// What the tag has that stands for the API at a registry without it (distribution-spec, "referrers tag schema").
#[derive(Debug)]
pub enum ReferrersTag {
    /// All referrers.
    Listed(Vec<Descriptor>),
    /// There is no such tag.
    Absent,
    /// The tag has something else than a list.
    NoList,
}

impl Repository {
    /// The referrers of this manifest or index by the tag `sha256-…`, for a registry without the API.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or gives something that is no document.
    pub fn referrers_by_tag(&self, subject: &Digest) -> Result<ReferrersTag, Error> {
        match self.manifest(&subject.referrers_tag()) {
            // GitLab takes such a tag for the digest that it is made of (oras-go#1396).
            Ok((_, digest)) if digest == *subject => Ok(ReferrersTag::Absent),
            Ok((Document::Index(index), _)) => Ok(ReferrersTag::Listed(index.manifests)),
            Ok((Document::Manifest(_), _)) => Ok(ReferrersTag::NoList),
            Err(Error::NotFound { .. }) => Ok(ReferrersTag::Absent),
            Err(error) => Err(error),
        }
    }

    /// The referrers of this manifest or index.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or its list has no end.
    pub fn referrers(&self, subject: &Digest) -> Result<Referrers, Error> {
        let what = self.name_of(subject);
        let name = subject.to_string();
        let list = PagedList {
            remote: &self.remote,
            scope: Scope::Pull,
            what: &what,
            accept: layer_format::media_type::OCI_INDEX,
            absent: &[StatusCode::NOT_FOUND],
            bytes_limit: DOCUMENT_LIMIT,
            pages_limit: PAGES_LIMIT,
        };
        let mut referrers = vec![];
        let read = list.read(Target::Repository("referrers", &name), |raw| {
            let malformed = |source| Error::Malformed { what: what.clone(), source };
            referrers.extend(Index::parse(raw).map_err(malformed)?.manifests);
            Ok(())
        });
        match read {
            Ok(Presence::There) => Ok(Referrers::Listed(referrers)),
            Ok(Presence::Absent) => Ok(Referrers::Unsupported),
            Err(error) if is_refusal(&error) => Ok(Referrers::Refused(Box::new(error))),
            Err(error) => Err(error),
        }
    }
}

/// Whether a registry without the API may fail in this way: Artifactory answers 406, Quay 400, others 401, 403, 405 or
/// 501, and GHCR redirects to a page (oras-go#1396 and others).
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused { .. }
            | Error::RateLimited { .. }
            | Error::Unauthorised { .. }
            | Error::NotFound { .. }
            | Error::NotARegistry { .. }
            | Error::Malformed { .. }
            | Error::Redirect { .. }
    )
}
