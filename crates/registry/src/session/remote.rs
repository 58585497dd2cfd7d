//! One repository on one host, and one request to it: with its login, its redirects and the judgement of its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, StatusCode};
use url::Url;

use super::endpoint::{Endpoint, Schemes};
use super::response::{ErrorResponse, RequestContext, transport_failure};
use super::retry::Attempts;
use super::state::Session;
use crate::auth::{Authenticator, LoginStatus, Presented, Scope, Unauthorized};
use crate::base::{Error, Failure, RetryPolicy, Scheme, authority};
use crate::config::{LoginQuery, RepositoryLocation};
use crate::http::{AnswerTime, Authorization, Exchange, Meter, Payload, Request, TransportError};

/// A request to a repository.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// The image or blob, for errors.
    pub(crate) what: &'a str,
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    /// More headers: `Accept`, `Range`.
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) payload: Option<Payload>,
    pub(crate) answer: AnswerTime,
    /// The pool of connections that is used.
    pub(crate) lane: u8,
    /// What gives this request up, and no other one.
    pub(crate) given_up: Option<Arc<AtomicBool>>,
    /// Statuses that are an answer to the caller, besides those of success.
    pub(crate) accepted: &'a [StatusCode],
}

/// The address of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// `/v2/` of the registry.
    ApiRoot,
    /// The repository itself: `manifests` or `blobs`, and the name there.
    Repository(&'static str, &'a str),
    /// The place where uploads begin, with a query.
    Uploads(&'a [(&'a str, &'a str)]),
    /// The repository's list of tags, with a query.
    Tags(&'a [(&'a str, &'a str)]),
    /// The registry's list of repositories, with a query.
    Catalog(&'a [(&'a str, &'a str)]),
    /// An address that the registry gave, an upload's or the next page's. A login is presented if it is the registry's
    /// own.
    Given(&'a Url),
    /// Any other address, without a login.
    Elsewhere(&'a str),
}

impl<'a> Call<'a> {
    /// A plain `GET`.
    pub(crate) fn get(what: &'a str, target: Target<'a>) -> Self {
        Self {
            what,
            method: Method::GET,
            target,
            headers: vec![],
            payload: None,
            answer: AnswerTime::Soon,
            lane: 0,
            given_up: None,
            accepted: &[],
        }
    }

    fn protocol(&self, reason: &'static str) -> Error {
        Error::Protocol { what: self.what.to_owned(), reason }
    }

    fn request(&self, url: Url) -> Request {
        Request {
            method: self.method.clone(),
            headers: self.headers.clone(),
            payload: self.payload.clone(),
            answer: self.answer,
            lane: self.lane,
            given_up: self.given_up.clone(),
            ..Request::get(url)
        }
    }
}

/// An answer that is a success, or that the caller wanted to have.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exchange: Exchange,
    /// The host that answered in the end.
    pub(crate) host: String,
    /// The address that answered in the end.
    pub(crate) url: Url,
}

/// A request that was sent to the registry, and its answer.
struct Sent {
    request: Request,
    exchange: Exchange,
}

/// The same, with the credential that was presented.
struct Asked {
    presented: Presented,
    sent: Sent,
}

/// One repository on one host; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub(crate) struct Remote {
    session: Arc<Session>,
    endpoint: Arc<Endpoint>,
    location: Arc<RepositoryLocation>,
}

impl Remote {
    /// The repository at a location.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(crate) fn new(
        session: &Arc<Session>,
        location: &RepositoryLocation,
    ) -> Result<Self, Error> {
        Ok(Self {
            session: Arc::clone(session),
            endpoint: session.endpoint(location)?,
            location: Arc::new(location.clone()),
        })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Attempts at one thing, of which none was made yet.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.session.options())
    }

    /// The login that counts here.
    pub(crate) fn login_query(&self) -> LoginQuery<'_> {
        LoginQuery {
            registry: self.registry(),
            repository: self.path(),
            cancelled: self.session.options().cancelled,
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The registry, as it stands in names.
    pub(crate) fn registry(&self) -> &str {
        &self.location.host
    }

    /// The part of the repository's name below the registry.
    fn path(&self) -> &str {
        &self.location.path
    }

    /// Whether a login was presented in requests with this scope.
    ///
    /// # Errors
    ///
    /// Those of a request for a token.
    pub(crate) fn has_presented_login(&self, scope: Scope, what: &str) -> Result<bool, Failure> {
        let authenticator = self.session.authenticator(self.registry(), self.path(), scope);
        Ok(authenticator.present(&*self.session, what)?.has_login())
    }

    /// The counts for the host.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        self.session.transport().meter(self.endpoint.host())
    }

    /// Makes one attempt at a request, with a login for `scope` where the registry wants one. A login that the registry
    /// refuses is renewed once.
    ///
    /// # Errors
    ///
    /// A failed exchange, a redirect that isn't followed, or an answer that is neither a success nor accepted by the
    /// call.
    pub(crate) fn attempt(&self, scope: Scope, call: &Call<'_>) -> Result<Answer, Failure> {
        match call.target {
            Target::Elsewhere(address) => match address.parse() {
                Ok(url) => self.ask_elsewhere(call, &url),
                Err(_) => Err(call.protocol("malformed address of a layer").into()),
            },
            Target::Given(url) if !self.endpoint.is_at(url) => self.ask_elsewhere(call, url),
            _ => self.ask_registry(scope, call),
        }
    }

    fn ask_registry(&self, scope: Scope, call: &Call<'_>) -> Result<Answer, Failure> {
        let gate = self.endpoint.gate();
        let pass = gate.enter(call.payload.is_none(), self.session.options().cancelled);
        let answered = self.ask_inside(scope, call);
        match &answered {
            Err(failure) if failure.is_of_too_many_requests() => {
                let longest = self.session.options().retries.longest_asked;
                gate.slow_down(match failure.retry {
                    RetryPolicy::After(pause) if pause <= longest => pause,
                    // Nobody waits for that long: the request has failed.
                    RetryPolicy::After(_) | RetryPolicy::Later | RetryPolicy::Never => {
                        Duration::ZERO
                    }
                });
            }
            Err(_) => {}
            Ok(_) => gate.speed_up(),
        }
        drop(pass);
        answered
    }

    fn ask_inside(&self, scope: Scope, call: &Call<'_>) -> Result<Answer, Failure> {
        let session = &*self.session;
        let authenticator = &session.authenticator(self.registry(), self.path(), scope);
        let mut asked = self.ask_once(authenticator, call)?;
        if asked.sent.exchange.status == StatusCode::UNAUTHORIZED {
            let Asked { presented, sent } = &asked;
            if authenticator.renew(session, call.what, presented, unauthorized(sent))? {
                asked = self.ask_once(authenticator, call)?;
            }
        }
        if may_hide(asked.sent.exchange.status)
            && self.probe_login(authenticator, call.what, &asked.presented)?
        {
            asked = self.ask_once(authenticator, call)?;
        }
        let Asked { presented, sent: Sent { request, exchange } } = asked;
        let is_forbidden = exchange.status == StatusCode::FORBIDDEN;
        let unasked = if is_forbidden && !presented.has_login() {
            authenticator.known_login(session)
        } else {
            None
        };
        let login = match &unasked {
            Some(source) => LoginStatus::Accepted(source),
            None => presented.status(),
        };
        let (url, exchange) = session.follow(call.what, &request, exchange)?;
        let registry = self.registry();
        let host = &authority(&url);
        let is_elsewhere = host != self.endpoint.host();
        let context = RequestContext { what: call.what, registry, host, is_elsewhere, login };
        judge(call, context, &url, exchange)
    }

    /// Asks the registry once, presenting what it is known to want.
    fn ask_once(&self, authenticator: &Authenticator, call: &Call<'_>) -> Result<Asked, Failure> {
        let presented = authenticator.present(&*self.session, call.what)?;
        let sent = self
            .send(call, presented.authorization.as_ref())
            .map_err(|error| transport_failure(error, call.what, self.endpoint.host()))?;
        self.session.note_warnings(self.registry(), &sent.exchange.headers);
        Ok(Asked { presented, sent })
    }

    /// Asks `/v2/` for a challenge: some registries send one there alone, and say of what only their users may see that
    /// it isn't there (containerd#3291). Gives back whether there is something to present now.
    fn probe_login(
        &self,
        authenticator: &Authenticator,
        what: &str,
        presented: &Presented,
    ) -> Result<bool, Failure> {
        let session = &*self.session;
        if !authenticator.may_probe(session)? {
            return Ok(false);
        }
        // What was answered about the image counts, if this isn't answered.
        let Ok(sent) = self.send(&Call::get(what, Target::ApiRoot), None) else {
            return Ok(false);
        };
        if sent.exchange.status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        authenticator.renew(session, what, presented, unauthorized(&sent))
    }

    /// Sends a request in the scheme that the registry speaks, and finds out which one that is if it isn't known.
    fn send(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Sent, TransportError> {
        let (first, second) = match self.endpoint.schemes() {
            Schemes::Known(scheme) => return self.send_by(scheme, call, authorization),
            Schemes::Only(scheme) => {
                let outcome = self.send_by(scheme, call, authorization);
                return self.endpoint.settle(scheme, outcome);
            }
            Schemes::Either(first, second) => (first, second),
        };
        let outcome = self.send_by(first, call, authorization);
        let exchange = outcome.as_ref().map(|sent| &sent.exchange);
        if !self.endpoint.suggests_other_scheme(exchange) {
            return self.endpoint.settle(first, outcome);
        }
        let other = self.send_by(second, call, authorization);
        match self.endpoint.settle(second, other) {
            Err(_) if self.endpoint.prefers_first_error(outcome.as_ref().err()) => outcome,
            other => other,
        }
    }

    fn send_by(
        &self,
        scheme: Scheme,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Sent, TransportError> {
        let root = self.endpoint.root(scheme)?;
        let request = Request {
            authorization: authorization.cloned(),
            private: self.session.private_headers(&root),
            ..call.request(self.address(root, call.target))
        };
        let exchange = self.session.send(&request)?;
        Ok(Sent { request, exchange })
    }

    /// Asks an address that isn't the registry's own.
    fn ask_elsewhere(&self, call: &Call<'_>, url: &Url) -> Result<Answer, Failure> {
        let session = &*self.session;
        let host = url.host_str().unwrap_or_default();
        let is_plain = url.scheme() != "https" && !self.endpoint.is_plain();
        if is_plain || !url.username().is_empty() || url.password().is_some() {
            return Err(call
                .protocol("the registry names another address, which is not safe")
                .into());
        }
        let from = self.endpoint.secure_root()?;
        let is_guarded = session.may_lead(&from, url).map_err(|reason| call.protocol(reason))?;
        let request = Request { is_guarded, ..call.request(url.clone()) };
        let exchange =
            session.send(&request).map_err(|error| transport_failure(error, call.what, host))?;
        let (url, exchange) = session.follow(call.what, &request, exchange)?;
        let context = RequestContext {
            what: call.what,
            registry: host,
            host: &authority(&url),
            is_elsewhere: false,
            login: LoginStatus::Unknown,
        };
        judge(call, context, &url, exchange)
    }

    /// The address of a target, for example `…/v2/library/nginx/manifests/latest`.
    fn address(&self, mut root: Url, target: Target<'_>) -> Url {
        let RepositoryLocation { root: api, path, namespace, .. } = &*self.location;
        if let Target::Given(url) = target {
            return url.clone();
        }
        if let Ok(mut segments) = root.path_segments_mut() {
            segments.pop_if_empty();
            if matches!(target, Target::ApiRoot) {
                segments.extend(api.split('/')).push("");
            } else if matches!(target, Target::Catalog(_)) {
                segments.extend(api.split('/'));
            } else {
                let names = api.split('/').chain(path.split('/'));
                segments.extend(names.filter(|name| !name.is_empty()));
            }
            segments.extend(match target {
                Target::Repository(kind, name) => vec![kind, name],
                Target::Uploads(_) => vec!["blobs", "uploads", ""],
                Target::Tags(_) => vec!["tags", "list"],
                Target::Catalog(_) => vec!["_catalog"],
                Target::ApiRoot | Target::Given(_) | Target::Elsewhere(_) => vec![],
            });
        }
        let (query, namespace) = match target {
            Target::ApiRoot => (&[][..], None),
            Target::Catalog(query) => (query, None),
            Target::Uploads(query) | Target::Tags(query) => (query, namespace.as_deref()),
            _ => (&[][..], namespace.as_deref()),
        };
        for (key, value) in query.iter().copied().chain(namespace.map(|it| ("ns", it))) {
            root.query_pairs_mut().append_pair(key, value);
        }
        root
    }
}

/// A 401 as an authenticator takes it.
fn unauthorized(sent: &Sent) -> Unauthorized<'_> {
    Unauthorized { url: &sent.request.url, headers: &sent.exchange.headers }
}

/// Whether a registry may answer so where it wants a login.
fn may_hide(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}

/// Tells success from refusal.
fn judge(
    call: &Call<'_>,
    context: RequestContext<'_>,
    url: &Url,
    exchange: Exchange,
) -> Result<Answer, Failure> {
    if exchange.status.is_success() || call.accepted.contains(&exchange.status) {
        return Ok(Answer { exchange, host: context.host.to_owned(), url: url.clone() });
    }
    Err(ErrorResponse::read(exchange).failure(context))
}
