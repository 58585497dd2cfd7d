//! What logging in needs of a session: logins from the files, and requests to token servers.

use super::response::{ErrorResponse, RequestContext, transport_failure};
use super::state::Session;
use crate::auth::{Backend, TokenAnswer, TokenRequest};
use crate::base::{Error, Failure, InsecureHosts, authority};
use crate::config::{FoundLogin, LoginQuery, LoginSearch};
use crate::http::{Request, headers};

/// The longest answer of a token server that is read, in bytes.
const LIMIT: u64 = 1 << 20;

impl Backend for Session {
    fn insecure(&self) -> &InsecureHosts {
        &self.insecure
    }

    fn find_login(&self, registry: &str, repository: &str) -> Result<Option<FoundLogin>, Failure> {
        let cancelled = self.options().cancelled;
        let query = LoginQuery { registry, repository, cancelled };
        let LoginSearch { found, problems } = self.options().credentials.find(&query)?;
        for problem in problems {
            self.warn(problem);
        }
        Ok(found)
    }

    fn fetch_token(&self, token: TokenRequest<'_>) -> Result<TokenAnswer, Failure> {
        let TokenRequest { what, registry, registry_url, login, request } = token;
        let is_guarded = self
            .may_lead(registry_url, &request.url)
            .map_err(|reason| Error::Protocol { what: what.to_owned(), reason })?;
        let is_at_registry = request.url.origin() == registry_url.origin();
        let private = if is_at_registry { self.private_headers(registry_url) } else { vec![] };
        let request = Request { private, is_guarded, ..request };
        let host = authority(&request.url);
        let exchange =
            self.send(&request).map_err(|error| transport_failure(error, what, &host))?;
        let (url, mut exchange) = self.follow(what, &request, exchange)?;
        let host = authority(&url);
        if !exchange.status.is_success() {
            let is_elsewhere = false;
            let context = RequestContext { what, registry, host: &host, is_elsewhere, login };
            return Err(ErrorResponse::read(exchange).of_token_server(context));
        }
        let is_html = headers::is_html(&exchange.headers);
        let html = is_html.then(|| headers::media_type(&exchange.headers));
        let body = exchange.body.read_all(LIMIT);
        let body = body.map_err(|error| transport_failure(error, what, &host))?;
        Ok(TokenAnswer { host, html, body })
    }
}
