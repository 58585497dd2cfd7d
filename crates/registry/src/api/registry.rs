//! A registry as a whole: whether it takes a login, and which repositories it has.

use std::fmt;

use http::StatusCode;
use layer_format::null_is_default;
use serde::Deserialize;

use super::pages::{PagedList, Presence};
use super::tags::{BYTES_LIMIT, PAGE, PAGES_LIMIT};
use crate::auth::Scope;
use crate::base::Error;
use crate::http::headers;
use crate::session::{Call, Remote, Target};

/// A registry as a whole; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub struct Registry {
    /// The registry with an empty path as its repository.
    remote: Remote,
    /// Its host as it stands in names.
    host: String,
}

/// What is known of a login after it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginCheck {
    /// The registry wanted to see it, and took it.
    Accepted,
    /// The registry wanted to see none.
    NotWanted,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default, deserialize_with = "null_is_default")]
    repositories: Vec<String>,
}

impl Registry {
    pub(super) fn new(remote: Remote, host: &str) -> Self {
        Self { remote, host: host.to_owned() }
    }

    /// Tries the login that counts for the registry.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorised`] if it is refused; [`Error::NotARegistry`] or [`Error::NotFound`] if something else answers
    /// there; the errors of connections.
    pub fn check_login(&self) -> Result<LoginCheck, Error> {
        let what = &self.host;
        let call = Call::get(what, Target::ApiRoot);
        self.remote.attempts().run(what, || {
            let answer = self.remote.attempt(Scope::Login, &call)?;
            if headers::is_html(&answer.exchange.headers) {
                let media_type = headers::media_type(&answer.exchange.headers);
                return Err(Error::NotARegistry { what: what.clone(), media_type }.into());
            }
            let is_presented = self.remote.has_presented_login(Scope::Login, what)?;
            Ok(if is_presented { LoginCheck::Accepted } else { LoginCheck::NotWanted })
        })
    }

    /// The paths of all repositories, as far as the registry lists them; none if it has no such list.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses: many keep the list from all but their administrators.
    pub fn repositories(&self) -> Result<Option<Vec<String>>, Error> {
        match self.repositories_by(&[("n", PAGE)]) {
            Err(Error::Refused { status: 400..=499, .. }) => self.repositories_by(&[]),
            listed => listed,
        }
    }

    fn repositories_by(&self, query: &[(&str, &str)]) -> Result<Option<Vec<String>>, Error> {
        let list = PagedList {
            remote: &self.remote,
            scope: Scope::Catalog,
            what: &self.host,
            accept: "application/json",
            absent: &[StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED],
            bytes_limit: BYTES_LIMIT,
            pages_limit: PAGES_LIMIT,
        };
        let mut paths = vec![];
        let presence = list.read(Target::Catalog(query), |raw| {
            let reason = "no list of repositories";
            let malformed = |_| Error::Protocol { what: self.host.clone(), reason };
            paths.extend(serde_json::from_slice::<Catalog>(&raw).map_err(malformed)?.repositories);
            Ok(())
        })?;
        Ok((presence == Presence::There).then_some(paths))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.host).finish()
    }
}
