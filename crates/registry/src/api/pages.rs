//! Lists that come in pages: tags, repositories, referrers.
//!
//! A page's `Link` leads to the next one. Its address is taken for one of the registry itself, whatever host it names: that
//! is where the login belongs, and registries behind a proxy often don't know their own name.

use std::collections::HashSet;

use http::StatusCode;
use http::header::ACCEPT;
use url::Url;

use crate::auth::Scope;
use crate::base::Error;
use crate::http::headers;
use crate::session::{Answer, Call, Remote, Target, transport_failure};

/// A list that is read page by page.
pub(super) struct PagedList<'a> {
    pub(super) remote: &'a Remote,
    pub(super) scope: Scope,
    /// The list in errors.
    pub(super) what: &'a str,
    /// The media type that is asked for.
    pub(super) accept: &'static str,
    /// The statuses by which a registry says that it has no such list.
    pub(super) absent: &'static [StatusCode],
    /// How many bytes all pages may have together.
    pub(super) bytes_limit: u64,
    pub(super) pages_limit: usize,
}

/// Whether a registry has a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has, and all of it was read.
    There,
    /// It says that it has none.
    Absent,
}

/// A page's bytes, and the address of the next page.
struct Page {
    raw: Vec<u8>,
    next: Option<Url>,
}

impl PagedList<'_> {
    /// Reads all pages, beginning at `first`, and gives each to `take`.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached or refuses, [`Error::TooLarge`], [`Error::NotARegistry`], [`Error::Protocol`] if
    /// the list has no end, and those of `take`.
    pub(super) fn read(
        &self,
        first: Target<'_>,
        mut take: impl FnMut(Vec<u8>) -> Result<(), Error>,
    ) -> Result<Presence, Error> {
        let mut left = self.bytes_limit;
        let mut asked: HashSet<Url> = HashSet::new();
        let mut next: Option<Url> = None;
        for _ in 0..self.pages_limit {
            let target = next.as_ref().map_or(first, Target::Given);
            let Some(page) = self.page(target, left)? else { return Ok(Presence::Absent) };
            left = left.saturating_sub(page.raw.len() as u64);
            take(page.raw)?;
            let Some(address) = page.next else { return Ok(Presence::There) };
            let address = self.remote.endpoint().at_home(address);
            if !asked.insert(address.clone()) {
                return Err(self.endless());
            }
            next = Some(address);
        }
        Err(self.endless())
    }

    /// One page of at most `left` bytes; none if the registry has no such list.
    fn page(&self, target: Target<'_>, left: u64) -> Result<Option<Page>, Error> {
        let what = self.what;
        let headers = vec![(ACCEPT, self.accept.to_owned())];
        let call = Call { headers, accepted: self.absent, ..Call::get(what, target) };
        self.remote.attempts().run(what, || {
            let answer = self.remote.attempt(self.scope.clone(), &call)?;
            let Answer { mut exchange, host, url } = answer;
            if !exchange.status.is_success() {
                return Ok(None);
            }
            let raw = exchange.body.read_all(left);
            let raw = raw.map_err(|error| transport_failure(error, what, &host))?;
            if raw.len() as u64 > left {
                let limit = self.bytes_limit;
                return Err(Error::TooLarge { what: what.to_owned(), limit }.into());
            }
            if headers::is_html(&exchange.headers) {
                let media_type = headers::media_type(&exchange.headers);
                return Err(Error::NotARegistry { what: what.to_owned(), media_type }.into());
            }
            Ok(Some(Page { raw, next: headers::next_page(&url, &exchange.headers) }))
        })
    }

    fn endless(&self) -> Error {
        Error::Protocol { what: self.what.to_owned(), reason: "a list without an end" }
    }
}
