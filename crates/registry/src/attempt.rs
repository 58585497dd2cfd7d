//! One attempt at one thing: the request, its redirects, and a login if the registry asks for one.

use reqwest::header::{AUTHORIZATION, HeaderName};
use reqwest::{Method, StatusCode, Url};

use crate::auth::{Access, Gate, Renewed, Shown};
use crate::client::Shared;
use crate::credentials::Secret;
use crate::error::Error;
use crate::reach::{NOT_FOR_STRANGERS, Reach};
use crate::redirect::{self, ANOTHER_HOST, DOWNGRADE, Trail};
use crate::repository::Repository;
use crate::retry::Failure;
use crate::transport::{Answering, Exchange, Payload, Request};
use crate::verdict::{self, Refusal, Standing, Subject};

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// The image or blob, for errors.
    pub(crate) what: &'a str,
    pub(crate) method: Method,
    /// Where to.
    pub(crate) place: Place<'a>,
    /// More headers: `Accept`, `Range`.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// What goes with it.
    pub(crate) payload: Option<Payload>,
    pub(crate) answer: Answering,
    /// Statuses that are an answer to the caller, besides those of success.
    pub(crate) accepted: &'a [StatusCode],
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// To the repository itself: `manifests` or `blobs`, and the name there.
    Repository(&'static str, &'a str),
    /// To where uploads begin, with a query.
    Uploads(&'a [(&'a str, &'a str)]),
    /// To an address that the registry gave, an upload's or the next page's; shown a login if that is the registry's own.
    Given(&'a Url),
    /// To anywhere else, without a login.
    Elsewhere(&'a str),
}

impl<'a> Call<'a> {
    /// A plain `GET`.
    pub(crate) fn get(what: &'a str, place: Place<'a>) -> Self {
        let (method, answer) = (Method::GET, Answering::Soon);
        Self { what, method, place, headers: vec![], payload: None, answer, accepted: &[] }
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
            ..Request::get(url)
        }
    }
}

/// An answer that is a success, or that the caller wanted to have.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exchange: Exchange,
    /// Who answered in the end.
    pub(crate) host: String,
    /// Where that was.
    pub(crate) url: Url,
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
        self.attempt_at(self.gate(), call)
    }

    /// The same for something else than reading.
    pub(crate) fn attempt_for(&self, access: &Access, call: &Call<'_>) -> Result<Answer, Failure> {
        let gate = self.shared().gate(self.registry(), self.path(), access.clone());
        self.attempt_at(&gate, call)
    }

    fn attempt_at(&self, gate: &Gate, call: &Call<'_>) -> Result<Answer, Failure> {
        match call.place {
            Place::Elsewhere(address) => {
                let malformed = |_| call.protocol("malformed address of a layer").into();
                address.parse().map_err(malformed).and_then(|url| self.ask_elsewhere(call, &url))
            }
            Place::Given(url) if !self.endpoint().is_at(url) => self.ask_elsewhere(call, url),
            _ => self.ask_registry(gate, call),
        }
    }

    fn ask_registry(&self, gate: &Gate, call: &Call<'_>) -> Result<Answer, Failure> {
        let host = self.endpoint().host();
        let login = Standing::Unknown;
        let subject = Subject { what: call.what, registry: self.registry(), host, login };
        let mut asked = self.ask_once(gate, call)?;
        if asked.exchange.status == StatusCode::UNAUTHORIZED {
            let challenge = (&asked.request.url, &asked.exchange.headers);
            let renewed = gate.renew(self.shared(), subject, &asked.shown, challenge)?;
            if renewed == Renewed::Yes {
                asked = self.ask_once(gate, call)?;
            }
        }
        if may_hide(asked.exchange.status) && self.knock(gate, call.what, &asked.shown)? {
            asked = self.ask_once(gate, call)?;
        }
        let Asked { shown, request, exchange } = asked;
        let unasked = if shown.login.is_none() && exchange.status == StatusCode::FORBIDDEN {
            gate.known(self.shared())
        } else {
            None
        };
        let login = unasked.as_deref().map_or_else(|| shown.standing(), Standing::Accepted);
        let (url, exchange) = self.shared().follow(call.what, &request, exchange)?;
        judge(call, Subject { login, ..subject }, &url, exchange)
    }

    /// Asks for `/v2/` what it wants to be shown: some registries say so there alone, and of what only their users may see
    /// that it isn't there (containerd#3291). Says whether there is something to be shown now.
    fn knock(&self, gate: &Gate, what: &str, shown: &Shown) -> Result<bool, Failure> {
        let (shared, host) = (self.shared(), self.endpoint().host());
        if !gate.may_knock(shared)? {
            return Ok(false);
        }
        let login = Standing::Unknown;
        let subject = Subject { what, registry: self.registry(), host, login };
        let build = |mut root: Url| {
            if let Ok(mut segments) = root.path_segments_mut() {
                segments.pop_if_empty().extend(self.site().root.split('/')).push("");
            }
            Request { private: shared.private_headers(&root), ..Request::get(root) }
        };
        // What was answered about the image counts, if this isn't answered.
        let Ok((request, exchange)) = self.endpoint().send(&shared.transport, &build) else {
            return Ok(false);
        };
        if exchange.status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        let challenge = (&request.url, &exchange.headers);
        Ok(gate.renew(shared, subject, shown, challenge)? == Renewed::Yes)
    }

    /// Asks the registry, showing what it is known to want.
    fn ask_once(&self, gate: &Gate, call: &Call<'_>) -> Result<Asked, Failure> {
        let (shared, host) = (self.shared(), self.endpoint().host());
        let login = Standing::Unknown;
        let subject = Subject { what: call.what, registry: self.registry(), host, login };
        let shown = gate.show(shared, subject)?;
        let build = |root| Request {
            authorization: shown.authorization.clone(),
            private: shared.private_headers(&root),
            ..call.request(self.address(root, call.place))
        };
        let (request, exchange) = (self.endpoint())
            .send(&shared.transport, &build)
            .map_err(|fault| verdict::fault(fault, call.what, host))?;
        shared.note_warnings(self.registry(), &exchange.headers);
        Ok(Asked { shown, request, exchange })
    }

    fn ask_elsewhere(&self, call: &Call<'_>, url: &Url) -> Result<Answer, Failure> {
        let shared = self.shared();
        let host = url.host_str().unwrap_or_default().to_owned();
        let is_plain = url.scheme() != "https" && !self.endpoint().is_plain();
        if is_plain || !url.username().is_empty() || url.password().is_some() {
            return Err(call
                .protocol("the registry names another address, which is not safe")
                .into());
        }
        let from = self.endpoint().secure_root()?;
        let is_guarded = shared.lead(&from, url).map_err(|reason| call.protocol(reason))?;
        let request = Request { is_guarded, ..call.request(url.clone()) };
        let fault = |fault| verdict::fault(fault, call.what, &host);
        let exchange = shared.transport.send(&request).map_err(fault)?;
        let (url, exchange) = shared.follow(call.what, &request, exchange)?;
        let login = Standing::Unknown;
        let subject = Subject { what: call.what, registry: &host, host: &host, login };
        judge(call, subject, &url, exchange)
    }

    /// `…/v2/library/nginx/manifests/latest`.
    fn address(&self, mut root: Url, place: Place<'_>) -> Url {
        if let Place::Given(url) = place {
            return url.clone();
        }
        let site = self.site();
        if let Ok(mut segments) = root.path_segments_mut() {
            let names = site.root.split('/').chain(site.path.split('/'));
            segments.pop_if_empty().extend(names.filter(|name| !name.is_empty()));
            match place {
                Place::Repository(kind, name) => drop(segments.push(kind).push(name)),
                Place::Uploads(_) => drop(segments.push("blobs").push("uploads").push("")),
                Place::Given(_) | Place::Elsewhere(_) => {}
            }
        }
        let query = if let Place::Uploads(query) = place { query } else { &[] };
        let namespace = site.namespace.as_deref().map(|it| ("ns", it));
        for (key, value) in query.iter().copied().chain(namespace) {
            root.query_pairs_mut().append_pair(key, value);
        }
        root
    }
}

/// Whether a registry may answer so to somebody of whom it wants a login.
fn may_hide(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}

/// Tells success from refusal.
fn judge(
    call: &Call<'_>,
    subject: Subject<'_>,
    url: &Url,
    exchange: Exchange,
) -> Result<Answer, Failure> {
    let host = authority(url);
    if exchange.status.is_success() || call.accepted.contains(&exchange.status) {
        return Ok(Answer { exchange, host, url: url.clone() });
    }
    Err(Refusal::read(exchange).failure(Subject { host: &host, ..subject }))
}

/// `host:port` as it stands in the address.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Shared {
    /// The headers that containerd's files want to be sent to the host of an address, and to no other.
    pub(crate) fn private_headers(&self, url: &Url) -> Vec<(HeaderName, Secret)> {
        self.options.mirrors.terms(url).map(|terms| terms.headers.clone()).unwrap_or_default()
    }

    /// Checks that somebody at one address may send us to another, and says whether a name there is to be looked up with
    /// care. On one and the same host there is nothing to be checked.
    pub(crate) fn lead(&self, from: &Url, to: &Url) -> Result<bool, &'static str> {
        if from.host_str() == to.host_str() {
            return Ok(false);
        }
        let reach = self.transport.reach(from);
        if reach.may_name(Reach::of(to)) {
            Ok(reach != Reach::Machine)
        } else {
            Err(NOT_FOR_STRANGERS)
        }
    }

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
        while let Some(location) = redirect::location(&request.method, &exchange) {
            let refused = |reason| refused_redirect(what, reason);
            let next = trail.next(&location, &self.insecure).map_err(refused)?;
            request.is_guarded |= self.lead(&request.url, &next).map_err(refused)?;
            if next.origin() != request.url.origin() {
                if request.form.is_some() {
                    return Err(refused(ANOTHER_HOST).into());
                }
                request.authorization = None;
                request.private.clear();
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
        DOWNGRADE | NOT_FOR_STRANGERS | ANOTHER_HOST => Error::Protocol { what, reason },
        _ => Error::Redirect { what, reason },
    }
}
