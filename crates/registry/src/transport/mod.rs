//! HTTP and TLS, a hop at a time: no redirects, no logins of its own accord, no retries.

mod certs;
mod engine;
mod exchange;
mod payload;
pub(crate) mod proxy;
mod tls;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue};
use reqwest::{Body as RequestBody, Client, Method, Url};
use rustls::pki_types::ServerName;

use crate::credentials::Secret;
use crate::endpoint::{Insecure, is_loopback};
use crate::error::Cause;
use crate::mirrors::Mirrors;
use crate::options::Options;

use certs::Own;
use engine::Engine;
pub(crate) use exchange::{Body, Exchange, Fault, Patience};
use payload::Departure;
pub(crate) use payload::Payload;
use tls::Trust;

/// How long a loopback server may take to say whether it speaks TLS.
const PROBE: Duration = Duration::from_secs(2);
/// So much longer may a late answer take.
const LATE: u32 = 10;
const KEEPALIVE: Duration = Duration::from_secs(15);

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
}

/// When an answer may be expected, once everything was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// Soon.
    Soon,
    /// When the registry has put what it got where it belongs, which takes some of them minutes.
    Late,
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
    patience: Patience,
    /// Where registries have certificates of their own, and what they have.
    certificates: Vec<PathBuf>,
    own: Mutex<HashMap<String, Option<Arc<Own>>>>,
    clients: Mutex<HashMap<Route, Client>>,
}

/// What connections differ in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Route {
    proxy: Proxy,
    trust: Trust,
    connect: Duration,
    /// The registry, if it has certificates of its own.
    own: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// None: a proxy elsewhere can't reach our loopback.
    None,
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
            patience,
            certificates: options.certificates.clone(),
            own: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn send(&self, request: &Request) -> Result<Exchange, Fault> {
        let handle = self.engine.handle().map_err(Fault::SetUp)?;
        let client = self.client(&request.url).map_err(Fault::SetUp)?;
        let mut builder = client.request(request.method.clone(), request.url.clone());
        builder = builder.header(ACCEPT_ENCODING, "identity");
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let has_login = request.authorization.is_some();
        for (name, value) in
            request.private.iter().filter(|(it, _)| !has_login || it != AUTHORIZATION)
        {
            let value = HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|error| Fault::SetUp(Cause::of(&error)))?;
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
        let mut patience = Patience { connect: self.connect(&request.url), ..self.patience };
        if request.answer == Answering::Late {
            patience.stall *= LATE;
        }
        let departure = Arc::new(Departure::default());
        if let Some(payload) = &request.payload {
            let body = payload.open(handle, &departure).map_err(Fault::Content)?;
            builder = builder.body(RequestBody::wrap(body));
        } else if request.form.is_none() && !request.method.is_safe() {
            // Some servers want to be told that there is nothing.
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        let request = builder.build().map_err(|error| Fault::SetUp(Cause::of(&error)))?;
        exchange::exchange(handle, (client, request), patience, &departure)
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

    fn client(&self, url: &Url) -> Result<Client, Cause> {
        let own = self.own(url)?;
        let is_local = is_loopback(url.host_str().unwrap_or_default());
        let route = Route {
            proxy: if is_local { Proxy::None } else { Proxy::Environment },
            trust: if self.insecure.lists(url) { Trust::Skip } else { Trust::Verify },
            connect: self.connect(url),
            own: own.as_ref().map(|_| url.authority().to_owned()),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&route) {
            return Ok(client.clone());
        }
        let client = self.build(&route, own.as_deref())?;
        clients.insert(route, client.clone());
        Ok(client)
    }

    fn build(&self, route: &Route, own: Option<&Own>) -> Result<Client, Cause> {
        let config = tls::config(route.trust, own).map_err(|error| Cause::of(&error))?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .connect_timeout(route.connect);
        if route.proxy == Proxy::None {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| Cause::of(&error))
    }
}

/// Whether the server of a loopback address answers a TLS greeting in TLS.
pub(crate) fn speaks_tls(url: &Url) -> bool {
    probe(url).is_some_and(|byte| matches!(byte, 0x15 | 0x16))
}

/// The first byte that a server answers to a TLS greeting, at whichever of its addresses it listens.
fn probe(url: &Url) -> Option<u8> {
    let host = url.host_str()?.trim_matches(['[', ']']);
    let config = Arc::new(tls::config(Trust::Skip, None).ok()?);
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = rustls::ClientConnection::new(config, name).ok()?;
    let mut greeting = Vec::new();
    connection.write_tls(&mut greeting).ok()?;
    let mut addresses = (host, url.port_or_known_default()?).to_socket_addrs().ok()?;
    let mut socket = addresses.find_map(|it| TcpStream::connect_timeout(&it, PROBE).ok())?;
    socket.set_read_timeout(Some(PROBE)).ok()?;
    socket.write_all(&greeting).ok()?;
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    Some(byte[0])
}
