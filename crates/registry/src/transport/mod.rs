//! HTTP and TLS, a hop at a time: no redirects, no logins of its own accord, no retries.

mod certs;
mod engine;
mod exchange;
mod payload;
mod probe;
mod proxy;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue};
use reqwest::{Body as RequestBody, Client, Method, Proxy, RequestBuilder, Url};

use crate::attempt::authority;
use crate::credentials::Secret;
use crate::endpoint::Insecure;
use crate::error::Cause;
use crate::mirrors::Mirrors;
use crate::options::Options;
use crate::reach::{Guard, Reach};
use crate::throttle::Throttle;
use crate::traffic::Meters;

use certs::Own;
use engine::{Engine, Resolver};
pub(crate) use exchange::{Body, Exchange, Fault, Patience};
use payload::Departure;
pub(crate) use payload::Payload;
pub(crate) use probe::speaks_tls;
pub use proxy::Proxies;
use tls::Trust;

/// So much longer may a late answer take.
const LATE: u32 = 10;
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Whoever is more impatient makes no more pings.
const SHORTEST_PING: Duration = Duration::from_millis(100);
/// How many bytes of one answer, and of all answers on a connection, may be under way over HTTP/2. At a round trip of 50 ms
/// one answer comes at 300 MB a second; for a reader that is slower, so much waits in memory.
const WINDOWS: (u32, u32) = (16 << 20, 32 << 20);
/// How long a last request may take, whose answer doesn't matter.
const FAREWELL: Duration = Duration::from_secs(1);
/// Larger payloads go by HTTP/1.1: over HTTP/2 many servers let so much come before they have answered that it was read
/// (Go's do), which at a round trip of 50 ms is 20 MB a second and no more.
const LARGE: u64 = 1 << 20;
/// The largest frame of HTTP/2 that a server may send.
const FRAME: u32 = 256 << 10;

/// Bytes as the HTTP client has them.
type Bytes = <RequestBody as http_body::Body>::Data;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) authorization: Option<Authorization>,
    /// More headers, which are for this host only. A login comes before one that they hold.
    pub(crate) private: Vec<(HeaderName, Secret)>,
    /// A form, as `application/x-www-form-urlencoded`.
    pub(crate) form: Option<Secret>,
    /// A part of a blob, or a manifest.
    pub(crate) payload: Option<Payload>,
    /// When the answer may be expected.
    pub(crate) answer: Answering,
    /// Whether a stranger gave the address: a name there must not mean this machine or its link.
    pub(crate) is_guarded: bool,
}

/// When an answer may be expected, once everything was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// Soon.
    Soon,
    /// When the registry has put what it got where it belongs, which takes some of them minutes.
    Late,
    /// At once or never: it is the last thing that is said, even when we were told to stop.
    Farewell,
}

impl Request {
    /// A request without a login.
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: vec![],
            authorization: None,
            private: vec![],
            form: None,
            payload: None,
            answer: Answering::Soon,
            is_guarded: false,
        }
    }
}

/// What is shown to be let in.
#[derive(Clone, Debug)]
pub(crate) enum Authorization {
    /// A user and a password.
    Basic(String, Secret),
    /// A token.
    Bearer(Secret),
}

/// Connections to everywhere. Made when first needed: each kind has a pool of its own, and all share a thread.
#[derive(Debug)]
pub(crate) struct Transport {
    engine: Engine,
    user_agent: String,
    insecure: Insecure,
    mirrors: Mirrors,
    proxies: Proxies,
    patience: Patience,
    /// Where registries have certificates of their own, and what they have.
    certificates: Vec<PathBuf>,
    own: Mutex<HashMap<String, Option<Arc<Own>>>>,
    clients: Mutex<HashMap<Route, Client>>,
    /// The hosts that have answered somebody, or didn't, and what they have against all of us.
    tried: Mutex<HashMap<String, Arc<OnceLock<Option<Fault>>>>>,
    /// What passed.
    pub(crate) meters: Meters,
    /// What lets only so many bytes pass: in, and out.
    throttles: Option<(Arc<Throttle>, Arc<Throttle>)>,
    /// How far the hosts lie that were asked by name.
    reaches: Mutex<HashMap<String, Reach>>,
}

/// What connections differ in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Route {
    proxy: Option<Url>,
    trust: Trust,
    protocols: Protocols,
    connect: Duration,
    /// The registry, if it has certificates of its own.
    own: Option<String>,
    is_guarded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocols {
    /// HTTP/2 where the server speaks it.
    Both,
    /// HTTP/1.1 alone.
    Old,
}

impl Transport {
    pub(crate) fn new(options: &Options, insecure: Insecure) -> Self {
        let Options { connect, stall, cancelled, .. } = options;
        let patience = Patience { connect: *connect, stall: *stall, cancelled: *cancelled };
        Self {
            engine: Engine::default(),
            user_agent: options.user_agent.clone(),
            insecure,
            mirrors: options.mirrors.clone(),
            proxies: options.proxies.clone(),
            patience,
            certificates: options.certificates.clone(),
            own: Mutex::default(),
            clients: Mutex::default(),
            tried: Mutex::default(),
            meters: Meters::default(),
            throttles: options.limit_rate.map(|rate| {
                let throttle = || Arc::new(Throttle::new(rate, *cancelled));
                (throttle(), throttle())
            }),
            reaches: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn send(&self, request: &Request) -> Result<Exchange, Fault> {
        let handle = self.engine.handle().map_err(Fault::SetUp)?;
        let is_large = request.payload.as_ref().is_some_and(|payload| payload.length > LARGE);
        let protocols = if is_large { Protocols::Old } else { Protocols::Both };
        let route = Route { protocols, ..self.route(&request.url).map_err(Fault::SetUp)? };
        let is_direct = route.proxy.is_none();
        // A proxy looks names up by itself; its own may be of this machine.
        let route = Route { is_guarded: request.is_guarded && is_direct, ..route };
        let client = self.client(&request.url, route).map_err(Fault::SetUp)?;
        let builder = client.request(request.method.clone(), request.url.clone());
        let mut builder = with_headers(builder, request).map_err(Fault::SetUp)?;
        let mut patience = Patience { connect: self.connect(&request.url), ..self.patience };
        match request.answer {
            Answering::Soon => {}
            Answering::Late => patience.stall *= LATE,
            Answering::Farewell => {
                (patience.connect, patience.stall) = (FAREWELL / 2, FAREWELL / 2);
                patience.cancelled = || false;
            }
        }
        let departure = Arc::new(Departure::default());
        if let Some(payload) = &request.payload {
            let throttle = self.throttles.as_ref().map(|(_, out)| Arc::clone(out));
            let body = payload.open(&departure, throttle).map_err(Fault::Content)?;
            builder = builder.body(RequestBody::wrap(body));
        } else if request.form.is_none() && !request.method.is_safe() {
            // Some servers want to be told that there is nothing.
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        let url = &request.url;
        let may_wait = request.payload.is_none() && url.scheme() == "https";
        let host = may_wait.then(|| url.authority().to_owned());
        let request = builder.build().map_err(|error| Fault::SetUp(Cause::of(&error)))?;
        let ask = || exchange::exchange(handle, (client, request), patience, &departure);
        let mut outcome = match host {
            Some(host) => self.first_alone(host, url, ask),
            None => ask(),
        };
        let meter = self.meters.of(&authority(url));
        meter.sent(departure.taken());
        if let Ok(exchange) = &mut outcome {
            meter.answered();
            exchange.body.meter = Some(meter);
            exchange.body.throttle = self.throttles.as_ref().map(|(incoming, _)| incoming.clone());
        }
        if let Ok(Exchange { peer: Some(peer), .. }) = &outcome
            && is_direct
        {
            self.note_reach(url, *peer);
        }
        outcome
    }

    /// How far the host of an address lies, as far as is known.
    pub(crate) fn reach(&self, url: &Url) -> Reach {
        let known = self.reaches.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name = known.get(url.host_str().unwrap_or_default()).copied();
        by_name.unwrap_or_else(|| Reach::of(url))
    }

    fn note_reach(&self, url: &Url, peer: IpAddr) {
        let mut known = self.reaches.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(url.host_str().unwrap_or_default().to_owned(), Reach::of_address(peer));
    }

    /// Lets the first request to a host go alone until it is answered, or fails: only then is it known whether the others
    /// can share its connection.
    fn first_alone(
        &self,
        host: String,
        url: &Url,
        ask: impl FnOnce() -> Result<Exchange, Fault>,
    ) -> Result<Exchange, Fault> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let once = Arc::clone(tried.entry(host).or_default());
        drop(tried);
        let (mut ask, mut answer) = (Some(ask), None);
        let complaint = once.get_or_init(|| {
            answer = ask.take().map(|ask| ask());
            matches!(answer, Some(Err(Fault::Broken(_)))).then(|| self.complaint(url))?
        });
        match (complaint, answer, ask) {
            (Some(fault), ..) => Err(fault.clone()),
            (None, Some(answer), _) => answer,
            (None, None, ask) => ask.expect("only the first has asked")(),
        }
    }

    /// What a server has against our certificate, if that is why it hung up.
    fn complaint(&self, url: &Url) -> Option<Fault> {
        let route = self.route(url).ok()?;
        let own = self.own(url).ok()?;
        let config = tls::config(route.trust, own.as_deref()).ok()?;
        let error = route.proxy.is_none().then(|| probe::complaint(url, config))??;
        exchange::complaint_of(&error)
    }

    /// The certificates that a registry has of its own, if any.
    pub(crate) fn own(&self, url: &Url) -> Result<Option<Arc<Own>>, Cause> {
        if url.scheme() != "https" {
            return Ok(None);
        }
        let mut known = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = url.authority().to_owned();
        if let Some(own) = known.get(&authority) {
            return Ok(own.clone());
        }
        let own = Own::find(&self.certificates, url, self.mirrors.terms(url))?.map(Arc::new);
        known.insert(authority, own.clone());
        Ok(own)
    }

    /// How long a connection to there may take to be made.
    fn connect(&self, url: &Url) -> Duration {
        let own = self.mirrors.terms(url).and_then(|terms| terms.connect);
        own.unwrap_or(self.patience.connect)
    }

    fn route(&self, url: &Url) -> Result<Route, Cause> {
        Ok(Route {
            proxy: self.proxies.of(url).cloned(),
            trust: if self.insecure.lists(url) { Trust::Skip } else { Trust::Verify },
            protocols: Protocols::Both,
            connect: self.connect(url),
            own: self.own(url)?.map(|_| url.authority().to_owned()),
            is_guarded: false,
        })
    }

    fn client(&self, url: &Url, route: Route) -> Result<Client, Cause> {
        let own = self.own(url)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&route) {
            return Ok(client.clone());
        }
        let client = self.build(&route, own.as_deref())?;
        clients.insert(route, client.clone());
        Ok(client)
    }

    fn build(&self, route: &Route, own: Option<&Own>) -> Result<Client, Cause> {
        let mut config = tls::config(route.trust, own).map_err(|error| Cause::of(&error))?;
        if route.protocols == Protocols::Old {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        let (stream, connection) = WINDOWS;
        let ping = (self.patience.stall / 3).clamp(SHORTEST_PING, KEEPALIVE);
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(Arc::new(Resolver))
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .connect_timeout(route.connect)
            .http2_initial_stream_window_size(stream)
            .http2_initial_connection_window_size(connection)
            .http2_max_frame_size(FRAME)
            // All requests share a connection: that it is dead must be found out before a request is given up as stalled,
            // or the next one would be sent on it as well.
            .http2_keep_alive_interval(ping)
            .http2_keep_alive_timeout(ping);
        // The client's own idea of proxies is not ours.
        builder = builder.no_proxy();
        if let Some(proxy) = &route.proxy {
            let proxy = Proxy::all(proxy.clone()).map_err(|error| Cause::of(&error))?;
            builder = builder.proxy(proxy);
        }
        if route.is_guarded {
            builder = builder.dns_resolver(Guard::shared());
        }
        builder.build().map_err(|error| Cause::of(&error))
    }
}

/// The headers, and the form if there is one.
fn with_headers(mut builder: RequestBuilder, request: &Request) -> Result<RequestBuilder, Cause> {
    builder = builder.header(ACCEPT_ENCODING, "identity");
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let has_login = request.authorization.is_some();
    for (name, value) in request.private.iter().filter(|(it, _)| !has_login || it != AUTHORIZATION)
    {
        let value = HeaderValue::from_str(value.expose());
        let mut value = value.map_err(|error| Cause::of(&error))?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
    }
    builder = match &request.authorization {
        Some(Authorization::Basic(user, password)) => {
            builder.basic_auth(user, Some(password.expose()))
        }
        Some(Authorization::Bearer(token)) => builder.bearer_auth(token.expose()),
        None => builder,
    };
    if let Some(form) = &request.form {
        let media_type = "application/x-www-form-urlencoded";
        builder = builder.header("Content-Type", media_type).body(form.expose().to_owned());
    }
    Ok(builder)
}
