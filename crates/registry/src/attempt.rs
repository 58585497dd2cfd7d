//! One attempt at one thing: the request, its redirects, and a login if the registry asks for one.

use reqwest::header::{AUTHORIZATION, HeaderName, RANGE};
use reqwest::{StatusCode, Url};

use crate::auth::{Renewed, Shown};
use crate::client::Shared;
use crate::endpoint::is_loopback;
use crate::error::Error;
use crate::redirect::{self, DOWNGRADE, Trail};
use crate::repository::Repository;
use crate::retry::Failure;
use crate::transport::{Exchange, Request};
use crate::verdict::{self, Refusal, Subject};

/// What to ask for.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// The image or blob, for errors.
    pub(crate) what: &'a str,
    /// Where it is to be had.
    pub(crate) from: From<'a>,
    /// More headers: `Accept`, `Range`.
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Where something is to be had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From<'a> {
    /// From the repository itself: `manifests` or `blobs`, and the name there.
    Repository(&'static str, &'a str),
    /// From anywhere else, without a login.
    Elsewhere(&'a str),
}

/// An answer that is a success, or says that the range asked for isn't there.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exchange: Exchange,
    /// Who answered in the end.
    pub(crate) host: String,
}

/// A request to the registry, and its answer.
struct Asked {
    shown: Shown,
    request: Request,
    exchange: Exchange,
}

impl Repository {
    /// Asks once. A login that the registry refuses is renewed once.
    pub(crate) fn attempt(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        match call.from {
            From::Repository(kind, name) => self.ask_registry(call, kind, name),
            From::Elsewhere(address) => self.ask_elsewhere(call, address),
        }
    }

    fn ask_registry(&self, call: &Call<'_>, kind: &str, name: &str) -> Result<Answer, Failure> {
        let host = self.endpoint().host();
        let subject = Subject { what: call.what, registry: self.registry(), host, login: None };
        let mut asked = self.ask_once(call, kind, name)?;
        if asked.exchange.status == StatusCode::UNAUTHORIZED {
            let challenge = (&asked.request.url, &asked.exchange.headers);
            let renewed = self.gate().renew(self.shared(), subject, &asked.shown, challenge)?;
            if renewed == Renewed::Yes {
                asked = self.ask_once(call, kind, name)?;
            }
        }
        let Asked { shown, request, exchange } = asked;
        let subject = Subject { login: shown.login.as_deref(), ..subject };
        let (url, exchange) = self.shared().follow(call.what, &request, exchange)?;
        judge(call, subject, &url, exchange)
    }

    /// Asks the registry, showing what it is known to want.
    fn ask_once(&self, call: &Call<'_>, kind: &str, name: &str) -> Result<Asked, Failure> {
        let (shared, host) = (self.shared(), self.endpoint().host());
        let subject = Subject { what: call.what, registry: self.registry(), host, login: None };
        let shown = self.gate().show(shared, subject)?;
        let build = |root| Request {
            headers: call.headers.clone(),
            authorization: shown.authorization.clone(),
            ..Request::get(self.address(root, kind, name))
        };
        let (request, exchange) = (self.endpoint())
            .send(&shared.transport, &build)
            .map_err(|fault| verdict::fault(fault, call.what, host))?;
        shared.note_warnings(self.registry(), &exchange.headers);
        Ok(Asked { shown, request, exchange })
    }

    fn ask_elsewhere(&self, call: &Call<'_>, address: &str) -> Result<Answer, Failure> {
        let shared = self.shared();
        let malformed = |reason| Error::Protocol { what: call.what.to_owned(), reason };
        let url: Url = address.parse().map_err(|_| malformed("malformed address of a layer"))?;
        // Such an address is a stranger's word; it shall not reach for what only this machine can.
        let host = url.host_str().unwrap_or_default().to_owned();
        let is_local = is_loopback(&host) && !self.endpoint().is_local();
        let is_plain = url.scheme() != "https" && !self.endpoint().is_plain();
        if is_local || is_plain || !url.username().is_empty() {
            return Err(malformed("the layer's other address is not safe").into());
        }
        let request = Request { headers: call.headers.clone(), ..Request::get(url) };
        let fault = |fault| verdict::fault(fault, call.what, &host);
        let exchange = shared.transport.send(&request).map_err(fault)?;
        let (url, exchange) = shared.follow(call.what, &request, exchange)?;
        let subject = Subject { what: call.what, registry: &host, host: &host, login: None };
        judge(call, subject, &url, exchange)
    }

    /// `…/v2/library/nginx/manifests/latest`.
    fn address(&self, mut root: Url, kind: &str, name: &str) -> Url {
        if let Ok(mut segments) = root.path_segments_mut() {
            let path = self.path().split('/');
            segments.pop_if_empty().push("v2").extend(path).push(kind).push(name);
        }
        root
    }
}

/// Tells success from refusal.
fn judge(
    call: &Call<'_>,
    subject: Subject<'_>,
    url: &Url,
    exchange: Exchange,
) -> Result<Answer, Failure> {
    let host = authority(url);
    let has_range = call.headers.iter().any(|(name, _)| *name == RANGE);
    let is_for_caller = has_range && exchange.status == StatusCode::RANGE_NOT_SATISFIABLE;
    if exchange.status.is_success() || is_for_caller {
        return Ok(Answer { exchange, host });
    }
    Err(Refusal::read(exchange).failure(Subject { host: &host, ..subject }))
}

/// `host:port` as it stands in the address.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Shared {
    /// Follows redirects. A login is left behind where the origin (scheme, host or port) changes, for good.
    pub(crate) fn follow(
        &self,
        what: &str,
        request: &Request,
        mut exchange: Exchange,
    ) -> Result<(Url, Exchange), Failure> {
        let mut request = request.clone();
        request.headers.retain(|(name, _)| *name != AUTHORIZATION);
        let mut trail = Trail::new(&request.url);
        while let Some(location) = redirect::location(&exchange) {
            let next = trail
                .next(&location, &self.insecure)
                .map_err(|reason| refused_redirect(what, reason))?;
            if next.origin() != request.url.origin() {
                request.authorization = None;
            }
            request.url = next;
            let host = authority(&request.url);
            exchange = self
                .transport
                .send(&request)
                .map_err(|fault| verdict::fault(fault, what, &host))?;
        }
        Ok((request.url, exchange))
    }
}

fn refused_redirect(what: &str, reason: &'static str) -> Error {
    let what = what.to_owned();
    match reason {
        DOWNGRADE => Error::Protocol { what, reason },
        _ => Error::Redirect { what, reason },
    }
}
