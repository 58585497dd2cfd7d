//! What refers to a manifest: the referrers API of the distribution-spec.

use layer_format::{DOCUMENT_LIMIT, Descriptor, Digest, Index};
use reqwest::header::{ACCEPT, HeaderMap, LINK};
use reqwest::{StatusCode, Url};

use crate::attempt::{Answer, Call, Place};
use crate::error::Error;
use crate::repository::Repository;
use crate::retry::Attempts;
use crate::verdict;

/// No image has more pages of them.
const PAGES_LIMIT: usize = 64;

/// What a registry says of what refers to a manifest.
#[derive(Debug)]
pub enum Referrers {
    /// All of it.
    Listed(Vec<Descriptor>),
    /// It lacks the API for it, so that the tag `sha256-…` is to be asked for.
    Unsupported,
    /// The same, where it says so in words of its own: with another status than 404, or with a web page.
    Refused(Box<Error>),
}

/// A part of the list, and where the next is.
struct Page {
    entries: Vec<Descriptor>,
    next: Option<Url>,
}

impl Repository {
    /// What refers to this manifest or index.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or has no end of it.
    pub fn referrers(&self, subject: &Digest) -> Result<Referrers, Error> {
        let what = self.name_of(subject);
        let name = subject.to_string();
        let mut referrers = vec![];
        let mut next: Option<Url> = None;
        let mut left = DOCUMENT_LIMIT;
        for _ in 0..PAGES_LIMIT {
            let place = next.as_ref().map_or(Place::Repository("referrers", &name), Place::Given);
            let page = match self.page(&what, place, &mut left) {
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

    /// One page; `left` is how many bytes all further pages may have.
    fn page(&self, what: &str, place: Place<'_>, left: &mut u64) -> Result<Option<Page>, Error> {
        let headers = vec![(ACCEPT, layer_format::media_type::OCI_INDEX.to_owned())];
        let accepted = &[StatusCode::NOT_FOUND];
        let call = Call { headers, accepted, ..Call::get(what, place) };
        let too_large = || Error::TooLarge { what: what.to_owned(), limit: DOCUMENT_LIMIT };
        let attempts = Attempts::new(&self.shared().options);
        let read = attempts.run(what, || {
            let Answer { mut exchange, host, url } = self.attempt(&call)?;
            if !exchange.status.is_success() {
                return Ok(None);
            }
            let raw = exchange.body.read_all(*left);
            let raw = raw.map_err(|fault| verdict::fault(fault, what, &host))?;
            if raw.len() as u64 > *left {
                return Err(too_large().into());
            }
            if verdict::is_html(&exchange.headers) {
                let media_type = verdict::media_type(&exchange.headers);
                return Err(Error::NotARegistry { what: what.to_owned(), media_type }.into());
            }
            Ok(Some((raw, next_page(&url, &exchange.headers))))
        })?;
        let Some((raw, next)) = read else { return Ok(None) };
        *left = left.saturating_sub(raw.len() as u64);
        let index = Index::parse(raw)
            .map_err(|source| Error::Malformed { what: what.to_owned(), source })?;
        let next = next.map(|url| self.endpoint().at_home(url));
        Ok(Some(Page { entries: index.manifests, next }))
    }
}

/// Whether a registry without the API may fail so: Artifactory answers 406, Quay 400, others 401, 403, 405 or 501, GHCR sends
/// to a page (oras-go#1396 and others).
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

/// `Link: <…>; rel="next"`, relative to what was asked (RFC 8288).
fn next_page(asked: &Url, headers: &HeaderMap) -> Option<Url> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|text| text.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |text: &str| {
            let text = text.trim().to_ascii_lowercase();
            matches!(&text[..], "rel=next" | "rel=\"next\"")
        };
        parameters.split(';').any(is_next).then(|| asked.join(target).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(link: &str, expected: Option<&str>) {
        let asked = "https://r.test/v2/a/referrers/x".parse().unwrap();
        let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
        assert_eq!(next_page(&asked, &headers).as_ref().map(Url::as_str), expected, "{link}");
    }

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        check("</v2/b?n=1>; rel=\"next\"", Some("https://r.test/v2/b?n=1"));
        check("<https://o.test/c>; title=x; rel=next", Some("https://o.test/c"));
        check("</a>; rel=\"prev\", </b>; rel=\"next\"", Some("https://r.test/b"));
        check("</a>; rel=\"prev\"", None);
        check("no link", None);
    }
}
