//! The tags of a repository.

use layer_format::null_is_default;
use serde::Deserialize;

use super::pages::PagedList;
use super::repository::Repository;
use crate::auth::Scope;
use crate::base::Error;
use crate::session::Target;

/// How many entries a page is asked to have: the most that ECR gives, and distribution 3.
pub(super) const PAGE: &str = "1000";
/// How many pages are read at most.
pub(super) const PAGES_LIMIT: usize = 20_000;
/// How many bytes all pages may have together.
pub(super) const BYTES_LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
struct TagList {
    /// Null where there are none.
    #[serde(default, deserialize_with = "null_is_default")]
    tags: Vec<String>,
}

impl Repository {
    /// All tags, as the registry itself lists them; mirrors are not asked.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached or refuses; [`Error::NotFound`] if it has no such repository.
    pub fn tags(&self) -> Result<Vec<String>, Error> {
        match self.tags_by(&[("n", PAGE)]) {
            // Some have a lower limit, or don't know pages.
            Err(Error::Refused { status: 400..=499, .. }) => self.tags_by(&[]),
            listed => listed,
        }
    }

    fn tags_by(&self, query: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let what = self.shown().to_owned();
        let list = PagedList {
            remote: &self.remote,
            scope: Scope::Pull,
            what: &what,
            accept: "application/json",
            absent: &[],
            bytes_limit: BYTES_LIMIT,
            pages_limit: PAGES_LIMIT,
        };
        let mut tags = vec![];
        list.read(Target::Tags(query), |raw| {
            let malformed = |_| Error::Protocol { what: what.clone(), reason: "no list of tags" };
            tags.extend(serde_json::from_slice::<TagList>(&raw).map_err(malformed)?.tags);
            Ok(())
        })?;
        Ok(tags)
    }
}
