//! What logging in needs from the floor above: logins, and requests to token servers.

use url::Url;

use crate::base::{Failure, InsecureHosts};
use crate::config::FoundLogin;
use crate::http::Request;

/// What an [`Authenticator`](super::Authenticator) needs from the floor above.
pub(crate) trait Backend {
    /// The hosts that may be insecure.
    fn insecure(&self) -> &InsecureHosts;

    /// The login for a repository of a registry, if one is known.
    ///
    /// # Errors
    ///
    /// If a file that may have it can't be read.
    fn find_login(&self, registry: &str, repository: &str) -> Result<Option<FoundLogin>, Failure>;

    /// Sends a request to a token server, follows its redirects, and reads the answer.
    ///
    /// # Errors
    ///
    /// If the token server can't be reached, refuses, or may not be named by the registry.
    fn fetch_token(&self, request: TokenRequest<'_>) -> Result<TokenAnswer, Failure>;
}

/// A request to a token server.
#[derive(Debug)]
pub(crate) struct TokenRequest<'a> {
    /// The image or blob that a token is wanted for, for errors.
    pub(crate) what: &'a str,
    /// The registry, as it stands in names.
    pub(crate) registry: &'a str,
    /// The address at which the registry has named the token server.
    pub(crate) registry_url: &'a Url,
    pub(crate) login: LoginStatus<'a>,
    pub(crate) request: Request,
}

/// The answer of a token server.
#[derive(Debug)]
pub(crate) struct TokenAnswer {
    /// The host that answered in the end.
    pub(crate) host: String,
    /// The media type, if a web page came.
    pub(crate) html: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What is known of a login when a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginStatus<'a> {
    /// There is none.
    Unknown,
    /// The one from this place was presented to the host that refuses, or no host wanted to see it.
    Presented(&'a str),
    /// The one from this place was good enough for a token.
    Accepted(&'a str),
}

impl<'a> LoginStatus<'a> {
    /// Of a login that was presented, if there is one.
    pub(super) fn presented(source: Option<&'a str>) -> Self {
        source.map_or(Self::Unknown, Self::Presented)
    }
}
