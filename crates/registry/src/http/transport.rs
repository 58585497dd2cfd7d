//! Connections to everywhere: a pool for each kind, made when first needed, and the sending of one request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use reqwest::{Body, Client, Proxy};
use rustls::ClientConfig;
use url::Url;

use super::certificates::HostCertificates;
use super::engine::{Engine, Resolver};
use super::error::TransportError;
use super::exchange::{Exchange, Sending};
use super::probe;
use super::proxy::Proxies;
use super::reach::{GuardedResolver, Reach};
use super::request::{AnswerTime, HostSettings, Request, Timeouts};
use super::request_body::UploadProgress;
use super::throttle::Throttle;
use super::tls::{self, Trust};
use super::traffic::{Meter, Meters, Traffic};
use crate::base::{Cause, HostTls, InsecureHosts, authority, lock};

/// Factor by which the stall time-out is extended while the registry is putting away what it got.
const LATE: u32 = 10;
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The shortest time between two pings over HTTP/2, however short the stall time-out is.
const SHORTEST_PING: Duration = Duration::from_millis(100);
/// How many bytes of one answer may be under way over HTTP/2. At a round trip of 50 ms one answer comes at 300 MB a
/// second. If the reader is slower, this is how much waits in memory.
const STREAM_WINDOW: u32 = 16 << 20;
/// How many bytes of all answers on a connection may be under way over HTTP/2.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// How long a last request may take, whose answer doesn't matter.
const FAREWELL: Duration = Duration::from_secs(1);
/// Larger payloads, in bytes, go by HTTP/1.1: over HTTP/2 many servers let so much come before they have answered that
/// it was read (Go's do), which at a round trip of 50 ms is 20 MB a second and no more.
const LARGE: u64 = 1 << 20;
/// The largest frame of HTTP/2 that a server may send, in bytes.
const FRAME: u32 = 256 << 10;

/// Connections to everywhere. Each kind has a pool of its own, and all share a thread.
#[derive(Debug)]
pub(crate) struct Transport {
    engine: Engine,
    settings: Settings,
    /// The certificates of hosts that have some of their own, by authority.
    certificates: Mutex<HashMap<String, Arc<HostCertificates>>>,
    clients: Mutex<HashMap<Route, Client>>,
    /// The settings of TLS, by route in lane 0. Those of one are shared, and with them the roots that were read and the sessions
    /// that can be resumed.
    tls: Mutex<HashMap<Route, ClientConfig>>,
    /// By authority, the hosts that a first request was sent to, and their complaint about our certificate.
    first_requests: Mutex<HashMap<String, Arc<OnceLock<Option<TransportError>>>>>,
    meters: Meters,
    /// The limits of bytes a second, if there are any.
    throttles: Option<Throttles>,
    /// How far the hosts lie that were asked by name.
    reaches: Mutex<HashMap<String, Reach>>,
}

/// How a [`Transport`] behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) user_agent: String,
    /// Hosts whose certificates are not checked.
    pub(crate) insecure: InsecureHosts,
    pub(crate) proxies: Proxies,
    pub(crate) timeouts: Timeouts,
    /// How many bytes a second may pass in each direction, of all connections together.
    pub(crate) limit_rate: Option<NonZeroU64>,
}

#[derive(Debug)]
struct Throttles {
    incoming: Arc<Throttle>,
    outgoing: Arc<Throttle>,
}

/// The properties in which connections differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Route {
    proxy: Option<Url>,
    trust: Trust,
    protocols: Protocols,
    connect: Duration,
    /// The authority of the host, if it has certificates of its own.
    own_certificates: Option<String>,
    is_guarded: bool,
    lane: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocols {
    /// HTTP/2 where the server speaks it, HTTP/1.1 otherwise.
    Both,
    /// HTTP/1.1 alone.
    Http1,
}

impl Transport {
    /// A transport; no thread is started and nothing is connected before the first request.
    pub(crate) fn new(settings: Settings) -> Self {
        let cancelled = settings.timeouts.cancelled;
        let throttles = settings.limit_rate.map(|rate| Throttles {
            incoming: Arc::new(Throttle::new(rate, cancelled)),
            outgoing: Arc::new(Throttle::new(rate, cancelled)),
        });
        Self {
            engine: Engine::default(),
            settings,
            certificates: Mutex::default(),
            clients: Mutex::default(),
            tls: Mutex::default(),
            first_requests: Mutex::default(),
            meters: Meters::default(),
            throttles,
            reaches: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// Any [`TransportError`]. An answer that is no success is none.
    pub(crate) fn send(
        &self,
        request: &Request,
        host: &HostSettings,
    ) -> Result<Exchange, TransportError> {
        let handle = self.engine.handle().map_err(TransportError::SetUp)?;
        let url = &request.url;
        let route = self.route(request, host).map_err(TransportError::SetUp)?;
        let is_direct = route.proxy.is_none();
        let client = self.client(url, route, &host.tls).map_err(TransportError::SetUp)?;
        let progress = Arc::new(UploadProgress::default());
        let sending = Sending {
            handle,
            request: self.build(&client, request, &progress)?,
            client,
            timeouts: self.timeouts(request.answer, host),
            progress: Arc::clone(&progress),
            given_up: request.given_up.clone(),
        };
        let mut outcome = if request.payload.is_none() && url.scheme() == "https" {
            self.send_first_alone(url, &host.tls, sending)
        } else {
            sending.exchange()
        };
        let meter = self.meters.of(&authority(url));
        meter.sent(progress.taken());
        if let Ok(exchange) = &mut outcome {
            meter.answered();
            exchange.body.meter = Some(meter);
            exchange.body.throttle = self.throttles.as_ref().map(|it| Arc::clone(&it.incoming));
            if let Some(peer) = exchange.peer.filter(|_| is_direct) {
                self.note_reach(url, peer);
            }
        }
        outcome
    }

    /// How far the host of an address lies, as far as is known.
    pub(crate) fn reach(&self, url: &Url) -> Reach {
        let by_name = lock(&self.reaches).get(url.host_str().unwrap_or_default()).copied();
        by_name.unwrap_or_else(|| Reach::of(url))
    }

    fn note_reach(&self, url: &Url, peer: IpAddr) {
        let host = url.host_str().unwrap_or_default().to_owned();
        lock(&self.reaches).insert(host, Reach::of_address(peer));
    }

    /// The counts for one host.
    pub(crate) fn meter(&self, host: &str) -> Arc<Meter> {
        self.meters.of(host)
    }

    /// The counts for all hosts so far.
    pub(crate) fn traffic(&self) -> Vec<Traffic> {
        self.meters.all()
    }

    /// The certificates that a host has of its own, if any. They are read once.
    ///
    /// # Errors
    ///
    /// The cause names the file that can't be read.
    pub(crate) fn certificates(
        &self,
        url: &Url,
        tls: &HostTls,
    ) -> Result<Option<Arc<HostCertificates>>, Cause> {
        if url.scheme() != "https" || tls.0.is_empty() {
            return Ok(None);
        }
        let mut known = lock(&self.certificates);
        if let Some(certificates) = known.get(url.authority()) {
            return Ok(Some(Arc::clone(certificates)));
        }
        let certificates = Arc::new(HostCertificates::load(tls)?);
        known.insert(url.authority().to_owned(), Arc::clone(&certificates));
        Ok(Some(certificates))
    }

    /// The request as the HTTP client takes it.
    fn build(
        &self,
        client: &Client,
        request: &Request,
        progress: &Arc<UploadProgress>,
    ) -> Result<reqwest::Request, TransportError> {
        let builder = client.request(request.method.clone(), request.url.clone());
        let mut builder = request.add_headers(builder).map_err(TransportError::SetUp)?;
        if let Some(payload) = &request.payload {
            let throttle = self.throttles.as_ref().map(|it| Arc::clone(&it.outgoing));
            let body = payload.open(progress, throttle).map_err(TransportError::Content)?;
            builder = builder.body(Body::wrap(body));
        } else if request.form.is_none() && !request.method.is_safe() {
            // Some servers want to be told that there is nothing.
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        builder.build().map_err(|error| TransportError::SetUp(Cause::of(&error)))
    }

    fn timeouts(&self, answer: AnswerTime, host: &HostSettings) -> Timeouts {
        let usual = self.settings.timeouts;
        let connect = host.connect.unwrap_or(usual.connect);
        match answer {
            AnswerTime::Soon => Timeouts { connect, ..usual },
            AnswerTime::Late => Timeouts { connect, stall: usual.stall * LATE, ..usual },
            AnswerTime::Farewell => {
                let half = FAREWELL / 2;
                Timeouts { connect: half, stall: half, cancelled: || false }
            }
        }
    }

    /// Lets the first request to a host go alone until it is answered, or fails: only then is it known whether the
    /// others can share its connection.
    fn send_first_alone(
        &self,
        url: &Url,
        tls: &HostTls,
        sending: Sending<'_>,
    ) -> Result<Exchange, TransportError> {
        let mut hosts = lock(&self.first_requests);
        let first = Arc::clone(hosts.entry(url.authority().to_owned()).or_default());
        drop(hosts);
        let mut sending = Some(sending);
        let mut answer = None;
        let complaint = first.get_or_init(|| {
            answer = sending.take().map(Sending::exchange);
            matches!(answer, Some(Err(TransportError::Broken(_))))
                .then(|| self.complaint(url, tls))?
        });
        match (complaint, answer, sending) {
            (Some(error), ..) => Err(error.clone()),
            (None, Some(answer), _) => answer,
            (None, None, sending) => sending.expect("only the first was sent above").exchange(),
        }
    }

    /// A server's complaint about our certificate, if that is why it hung up.
    fn complaint(&self, url: &Url, tls: &HostTls) -> Option<TransportError> {
        if self.settings.proxies.of(url).is_some() {
            return None;
        }
        let own = self.certificates(url, tls).ok()?;
        let config = tls::config(self.trust(url), own.as_deref()).ok()?;
        let error = probe::complaint(url, config)?;
        TransportError::of_alert(&error)
    }

    fn trust(&self, url: &Url) -> Trust {
        if self.settings.insecure.contains(url) { Trust::Skip } else { Trust::Verify }
    }

    fn route(&self, request: &Request, host: &HostSettings) -> Result<Route, Cause> {
        let url = &request.url;
        let is_large = request.payload.as_ref().is_some_and(|payload| payload.length > LARGE);
        let proxy = self.settings.proxies.of(url).cloned();
        let own_certificates = self.certificates(url, &host.tls)?;
        Ok(Route {
            trust: self.trust(url),
            protocols: if is_large { Protocols::Http1 } else { Protocols::Both },
            connect: host.connect.unwrap_or(self.settings.timeouts.connect),
            own_certificates: own_certificates.map(|_| url.authority().to_owned()),
            // A proxy looks names up by itself; its own may be of this machine.
            is_guarded: request.is_guarded && proxy.is_none(),
            proxy,
            lane: request.lane,
        })
    }

    fn client(&self, url: &Url, route: Route, tls: &HostTls) -> Result<Client, Cause> {
        let own = self.certificates(url, tls)?;
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&route) {
            return Ok(client.clone());
        }
        let client = self.connect(&route, own.as_deref())?;
        clients.insert(route, client.clone());
        Ok(client)
    }

    fn tls(&self, route: &Route, own: Option<&HostCertificates>) -> Result<ClientConfig, Cause> {
        let mut known = lock(&self.tls);
        let key = Route { lane: 0, ..route.clone() };
        if let Some(config) = known.get(&key) {
            return Ok(config.clone());
        }
        let mut config = tls::config(route.trust, own).map_err(|error| Cause::of(&error))?;
        if route.protocols == Protocols::Http1 {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        known.insert(key, config.clone());
        Ok(config)
    }

    /// A client with a pool of connections of one kind.
    fn connect(&self, route: &Route, own: Option<&HostCertificates>) -> Result<Client, Cause> {
        let config = self.tls(route, own)?;
        let ping = (self.settings.timeouts.stall / 3).clamp(SHORTEST_PING, KEEPALIVE);
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(Arc::new(Resolver))
            .user_agent(&self.settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .connect_timeout(route.connect)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_frame_size(FRAME)
            // All requests share a connection: that it is dead must be found out before a request is given up as
            // stalled, or the next one would be sent on it as well.
            .http2_keep_alive_interval(ping)
            .http2_keep_alive_timeout(ping);
        // The client's own idea of proxies is not ours.
        builder = builder.no_proxy();
        if let Some(proxy) = &route.proxy {
            let proxy = Proxy::all(proxy.clone()).map_err(|error| Cause::of(&error))?;
            builder = builder.proxy(proxy);
        }
        if route.is_guarded {
            builder = builder.dns_resolver(GuardedResolver::shared());
        }
        builder.build().map_err(|error| Cause::of(&error))
    }
}
