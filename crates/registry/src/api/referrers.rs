//! The referrers of a manifest: the referrers API of the distribution-spec.

use http::StatusCode;
use http::header::ACCEPT;
use layer_format::{DOCUMENT_LIMIT, Descriptor, Digest, Index};
use url::Url;

use super::repository::Repository;
use crate::auth::Scope;
use crate::base::Error;
use crate::http::headers;
use crate::session::{Answer, Call, Target, transport_failure};

/// How many pages of a list are read at most.
const PAGES_LIMIT: usize = 64;

/// A registry's answer to the question for the referrers of a manifest.
#[derive(Debug)]
pub enum Referrers {
    /// All referrers.
    Listed(Vec<Descriptor>),
    /// The registry lacks the API. The tag `sha256-…` may list them.
    Unsupported,
    /// The same, said in another way than by a 404: by another status, or by a web page.
    Refused(Box<Error>),
}

/// A page of the list, and the address of the next.
struct Page {
    entries: Vec<Descriptor>,
    next: Option<Url>,
}

impl Repository {
    /// The referrers of this manifest or index.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or its list has no end.
    pub fn referrers(&self, subject: &Digest) -> Result<Referrers, Error> {
        let what = self.name_of(subject);
        let name = subject.to_string();
        let mut referrers = vec![];
        let mut next: Option<Url> = None;
        let mut left = DOCUMENT_LIMIT;
        for _ in 0..PAGES_LIMIT {
            let target =
                next.as_ref().map_or(Target::Repository("referrers", &name), Target::Given);
            let page = match self.page(&what, target, &mut left) {
                Err(error) if is_refusal(&error) => {
                    return Ok(Referrers::Refused(Box::new(error)));
                }
                page => page?,
            };
            let Some(page) = page else { return Ok(Referrers::Unsupported) };
            referrers.extend(page.entries);
            next = page.next;
            if next.is_none() {
                return Ok(Referrers::Listed(referrers));
            }
        }
        Err(Error::Protocol { what, reason: "too many pages of referrers" })
    }

    /// One page. `left` is the number of bytes that all further pages may have together.
    fn page(&self, what: &str, target: Target<'_>, left: &mut u64) -> Result<Option<Page>, Error> {
        let headers = vec![(ACCEPT, layer_format::media_type::OCI_INDEX.to_owned())];
        let accepted = &[StatusCode::NOT_FOUND];
        let call = Call { headers, accepted, ..Call::get(what, target) };
        let too_large = || Error::TooLarge { what: what.to_owned(), limit: DOCUMENT_LIMIT };
        let read = self.remote.attempts().run(what, || {
            let Answer { mut exchange, host, url } = self.remote.attempt(Scope::Pull, &call)?;
            if !exchange.status.is_success() {
                return Ok(None);
            }
            let raw = exchange.body.read_all(*left);
            let raw = raw.map_err(|error| transport_failure(error, what, &host))?;
            if raw.len() as u64 > *left {
                return Err(too_large().into());
            }
            if headers::is_html(&exchange.headers) {
                let media_type = headers::media_type(&exchange.headers);
                return Err(Error::NotARegistry { what: what.to_owned(), media_type }.into());
            }
            Ok(Some((raw, headers::next_page(&url, &exchange.headers))))
        })?;
        let Some((raw, next)) = read else { return Ok(None) };
        *left = left.saturating_sub(raw.len() as u64);
        let index = Index::parse(raw)
            .map_err(|source| Error::Malformed { what: what.to_owned(), source })?;
        let next = next.map(|url| self.remote.endpoint().at_home(url));
        Ok(Some(Page { entries: index.manifests, next }))
    }
}

/// Whether a registry without the API may fail in this way: Artifactory answers 406, Quay 400, others 401, 403, 405 or
/// 501, and GHCR redirects to a page (oras-go#1396 and others).
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused { .. }
            | Error::Unauthorised { .. }
            | Error::NotFound { .. }
            | Error::NotARegistry { .. }
            | Error::Malformed { .. }
            | Error::Redirect { .. }
    )
}
