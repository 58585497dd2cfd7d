//! Which host a registry is, and which scheme it speaks.
//!
//! HTTPS, always, with two exceptions. A registry on loopback is asked in plain HTTP first, because every TLS server
//! answers that at once and recognisably, while a plain server may wait for ever for the end of a TLS greeting. A host
//! that was listed as insecure is asked by TLS with any certificate first, and in plain HTTP where that fails.

use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};

use crate::error::{Cause, Error};
use crate::transport::{Exchange, Fault, Request, Transport, speaks_tls};
use crate::upload::Habits;

/// The registry that names without a host mean, and its address.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The host that a registry of this name has in addresses.
pub(crate) fn address_of(registry: &str) -> &str {
    if registry == HUB.0 { HUB.1 } else { registry }
}

/// HTTP with or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Hosts that may speak plain HTTP or show any certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Insecure(Vec<String>);

impl Insecure {
    /// Checks that every entry is a host, with or without a port.
    pub(crate) fn new(hosts: &[String]) -> Result<Self, Error> {
        let check = |host: &String| match parse(host) {
            Some(url) => Ok(authority(&url, host)),
            None => Err(Error::MalformedHost { text: host.chars().take(300).collect() }),
        };
        hosts.iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the host of `url` is listed; an entry without a port stands for all its ports.
    pub(crate) fn lists(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        self.0.iter().any(|entry| entry == host || *entry == with_port)
    }
}

/// A host as a URL, if it is one and nothing more.
fn parse(host: &str) -> Option<Url> {
    let url: Url = format!("https://{host}/").parse().ok()?;
    let is_plain = !host.contains(['/', '@', '?', '#', '\\']) && !host.is_empty();
    is_plain.then_some(url).filter(|url| url.path() == "/")
}

/// `host:port` where `text` gave a port (the parser drops one that is the scheme's own), `host` otherwise.
fn authority(url: &Url, text: &str) -> String {
    let host = url.host_str().unwrap_or_default();
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    match url.port_or_known_default().filter(|_| has_port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a host, as it stands in a URL, is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback())
}

/// One registry on the network.
#[derive(Debug)]
pub(crate) struct Endpoint {
    host: String,
    manner: Manner,
    settled: OnceLock<Scheme>,
    /// Whether it was given up, as a mirror.
    given_up: Mutex<Option<GivenUp>>,
    /// How it takes uploads.
    habits: Mutex<Habits>,
}

/// For how long a mirror is not asked.
#[derive(Clone, Copy, Debug)]
enum GivenUp {
    Until(Instant),
    ForGood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Secure,
    Loopback,
    Insecure,
    /// TLS with any certificate, and nothing else.
    Unverified,
    Plain,
}

impl Endpoint {
    /// The registry of this name, which speaks this scheme if one is known.
    pub(crate) fn new(
        registry: &str,
        insecure: &Insecure,
        scheme: Option<Scheme>,
    ) -> Result<Self, Error> {
        let host = address_of(registry);
        let malformed = || Error::MalformedHost { text: registry.chars().take(300).collect() };
        let root = parse(host).ok_or_else(malformed)?;
        let manner = match scheme {
            Some(Scheme::Http) => Manner::Plain,
            Some(Scheme::Https) if insecure.lists(&root) => Manner::Unverified,
            None if insecure.lists(&root) => Manner::Insecure,
            None if is_loopback(root.host_str().unwrap_or_default()) => Manner::Loopback,
            _ => Manner::Secure,
        };
        Ok(Self {
            host: host.to_owned(),
            manner,
            settled: scheme.map_or_else(OnceLock::new, OnceLock::from),
            given_up: Mutex::default(),
            habits: Mutex::default(),
        })
    }

    /// Nobody shall wait for it a second time; after a while it may have recovered.
    pub(crate) fn give_up(&self, pause: Duration) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*given_up, Some(GivenUp::ForGood)) {
            *given_up = Some(GivenUp::Until(Instant::now() + pause));
        }
    }

    /// Nobody shall ask it any more.
    pub(crate) fn give_up_for_good(&self) {
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(GivenUp::ForGood);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        match *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) {
            None => false,
            Some(GivenUp::Until(time)) => Instant::now() < time,
            Some(GivenUp::ForGood) => true,
        }
    }

    /// What is known of how it takes uploads.
    pub(crate) fn habits(&self) -> Habits {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something about how it takes uploads.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.habits.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The host on the network, with its port if one was given.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host, and how it is spoken to.
    pub(crate) fn describe(&self) -> String {
        let how = match self.manner {
            Manner::Secure => "HTTPS",
            Manner::Loopback => "plain HTTP or HTTPS, this machine itself",
            Manner::Insecure => "HTTPS with any certificate, or plain HTTP",
            Manner::Unverified => "HTTPS with any certificate",
            Manner::Plain => "plain HTTP",
        };
        format!("{} ({how})", self.host)
    }

    /// Its address by HTTPS.
    pub(crate) fn secure_root(&self) -> Result<Url, Error> {
        parse(&self.host).ok_or_else(|| Error::MalformedHost { text: self.host.clone() })
    }

    /// Its address by each scheme that it may turn out to speak, the likelier first; loopback's by one, for it has no proxy.
    pub(crate) fn possible_roots(&self) -> Result<Vec<Url>, Error> {
        let schemes: &[Scheme] = match self.manner {
            Manner::Plain => &[Scheme::Http],
            Manner::Insecure => &[Scheme::Https, Scheme::Http],
            Manner::Secure | Manner::Loopback | Manner::Unverified => &[Scheme::Https],
        };
        let malformed = |_| Error::MalformedHost { text: self.host.clone() };
        schemes.iter().map(|scheme| self.root(*scheme).map_err(malformed)).collect()
    }

    /// Whether an address is of this very host, port and scheme, as far as that is known.
    pub(crate) fn is_at(&self, url: &Url) -> bool {
        let scheme = self.settled.get().copied().unwrap_or(Scheme::Https);
        self.root(scheme).is_ok_and(|root| root.origin() == url.origin())
    }

    /// Whether it speaks plain HTTP, as far as is known.
    pub(crate) fn is_plain(&self) -> bool {
        self.settled.get() == Some(&Scheme::Http)
    }

    /// An address of this host in the scheme that it speaks: registries behind a TLS proxy often don't know of it.
    pub(crate) fn in_scheme(&self, url: Url) -> Url {
        let Ok(root) = self.root(self.settled.get().copied().unwrap_or(Scheme::Https)) else {
            return url;
        };
        let mut other = url.clone();
        let is_ours = url.scheme() == "http"
            && other.set_scheme("https").is_ok()
            && other.origin() == root.origin();
        if is_ours { other } else { url }
    }

    /// An address that the registry gave as its own, by the scheme and host by which it is spoken to: behind a proxy it often
    /// knows neither.
    pub(crate) fn at_home(&self, url: Url) -> Url {
        let scheme = self.settled.get().copied().unwrap_or(Scheme::Https);
        let Ok(mut here) = self.root(scheme) else { return url };
        here.set_path(url.path());
        here.set_query(url.query());
        here
    }

    /// Sends a request in the scheme that the registry speaks; `build` makes it from the registry's root. Gives back
    /// where it went as well.
    pub(crate) fn send(
        &self,
        transport: &Transport,
        build: &dyn Fn(Url) -> Request,
    ) -> Result<(Request, Exchange), Fault> {
        let send = |scheme| {
            let request = build(self.root(scheme)?);
            transport.send(&request).map(|exchange| (request, exchange))
        };
        let (first, second) = match (self.settled.get(), self.manner) {
            (Some(&scheme), _) => return send(scheme),
            (None, Manner::Loopback) => (Scheme::Http, Scheme::Https),
            (None, Manner::Insecure) => (Scheme::Https, Scheme::Http),
            (None, _) => return self.settle(Scheme::Https, send(Scheme::Https)),
        };
        let outcome = send(first);
        if !self.suggests_other(&outcome) {
            return self.settle(first, outcome);
        }
        match self.settle(second, send(second)) {
            // Neither: on loopback we know that it is TLS, elsewhere TLS is what should have been.
            Err(_) if self.manner == Manner::Insecure => outcome,
            other => other,
        }
    }

    /// `scheme://host/`.
    fn root(&self, scheme: Scheme) -> Result<Url, Fault> {
        let text = format!("{}://{}/", scheme.name(), self.host);
        text.parse().map_err(|error| Fault::SetUp(Cause::of(&error)))
    }

    fn settle<T>(&self, scheme: Scheme, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if outcome.is_ok() {
            self.settled.get_or_init(|| scheme);
        }
        outcome
    }

    /// Whether the first try at an unknown registry looks as if it spoke the other scheme.
    fn suggests_other(&self, outcome: &Result<(Request, Exchange), Fault>) -> bool {
        let is_odd = match (self.manner, outcome) {
            (Manner::Loopback, Err(fault)) => matches!(fault, Fault::Broken(_)),
            (Manner::Loopback, Ok((_, exchange))) => {
                exchange.status == StatusCode::BAD_REQUEST && !is_json(exchange)
            }
            (_, Err(fault)) => {
                matches!(fault, Fault::Connect(_) | Fault::Certificate(_) | Fault::Broken(_))
            }
            (_, Ok(_)) => false,
        };
        let speaks_tls = || self.root(Scheme::Https).is_ok_and(|root| speaks_tls(&root));
        is_odd && (self.manner != Manner::Loopback || speaks_tls())
    }
}

fn is_json(exchange: &Exchange) -> bool {
    let media_type = exchange.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|media_type| media_type.contains("json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(registry: &str, insecure: &[&str]) -> Option<Manner> {
        let insecure: Vec<String> = insecure.iter().map(|host| (*host).to_owned()).collect();
        let insecure = Insecure::new(&insecure).unwrap();
        Endpoint::new(registry, &insecure, None).ok().map(|endpoint| endpoint.manner)
    }

    #[test]
    fn only_loopback_and_listed_hosts_may_be_plain() {
        let check = |registry: &str, expected| {
            assert_eq!(manner(registry, &[]), Some(expected), "{registry}");
        };
        check("docker.io", Manner::Secure);
        check("ghcr.io:80", Manner::Secure);
        check("localhost.example.org", Manner::Secure);
        check("localhost", Manner::Loopback);
        check("LOCALHOST:5000", Manner::Loopback);
        check("127.0.0.1:5000", Manner::Loopback);
        check("127.1.2.3", Manner::Loopback);
        check("[::1]:5000", Manner::Loopback);
        check("[::2]:5000", Manner::Secure);
        check("10.0.0.1:5000", Manner::Secure);
    }

    #[test]
    fn a_listed_host_without_a_port_means_all_its_ports() {
        assert_eq!(manner("reg.test:5000", &["reg.test"]), Some(Manner::Insecure));
        assert_eq!(manner("reg.test:5000", &["Reg.Test:5000"]), Some(Manner::Insecure));
        assert_eq!(manner("reg.test:5001", &["reg.test:5000"]), Some(Manner::Secure));
        assert_eq!(manner("reg.test", &["reg.test:443"]), Some(Manner::Insecure));
        assert_eq!(manner("xreg.test", &["reg.test"]), Some(Manner::Secure));
    }

    #[test]
    fn a_scheme_that_is_known_is_not_found_out() {
        let check = |scheme: Scheme, insecure: &[&str], manner: Manner| {
            let insecure: Vec<String> = insecure.iter().map(|host| (*host).to_owned()).collect();
            let insecure = Insecure::new(&insecure).unwrap();
            let endpoint = Endpoint::new("127.0.0.1:5000", &insecure, Some(scheme)).unwrap();
            assert_eq!((endpoint.settled.get(), endpoint.manner), (Some(&scheme), manner));
        };
        check(Scheme::Http, &["127.0.0.1"], Manner::Plain);
        check(Scheme::Https, &[], Manner::Secure);
        check(Scheme::Https, &["127.0.0.1"], Manner::Unverified);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "a/b", "user@host", "a b", "http://a", "a:b", "1.2.3.4.5"] {
            assert!(Insecure::new(&[host.to_owned()]).is_err(), "{host}");
            assert_eq!(manner(host, &[]), None, "{host}");
        }
    }

    #[test]
    fn the_hub_has_an_address_of_its_own() {
        let endpoint = Endpoint::new("docker.io", &Insecure::default(), None).unwrap();
        assert_eq!(endpoint.root(Scheme::Https).unwrap().as_str(), "https://registry-1.docker.io/");
    }

    #[test]
    fn a_port_is_kept_in_either_scheme() {
        let endpoint = Endpoint::new("127.0.0.1:443", &Insecure::default(), None).unwrap();
        assert_eq!(endpoint.root(Scheme::Http).unwrap().as_str(), "http://127.0.0.1:443/");
    }
}
