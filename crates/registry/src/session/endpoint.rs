//! A registry on the network: its host, and the scheme that it speaks.
//!
//! HTTPS, always, with two exceptions. A registry on loopback is asked in plain HTTP first, because every TLS server
//! answers that at once and recognisably, while a plain server may wait for ever for the end of a TLS greeting. A host
//! that was listed as insecure is asked by TLS with any certificate first, and in plain HTTP where that fails.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use url::Url;

use super::gate::Gate;
use super::upload_habits::UploadHabits;
use crate::base::{
    Cause, Error, InsecureHosts, Scheme, is_loopback, lock, malformed_host, network_host,
    parse_host,
};
use crate::http::{Exchange, TransportError, headers, speaks_tls};

/// One registry on the network.
#[derive(Debug)]
pub(crate) struct Endpoint {
    host: String,
    policy: SchemePolicy,
    settled: OnceLock<Scheme>,
    /// Whether it was given up, as a mirror.
    given_up: Mutex<Option<GivenUp>>,
    /// How it takes uploads.
    habits: Mutex<UploadHabits>,
    /// How many requests it is asked at once.
    gate: Gate,
}

/// How long a mirror is not asked.
#[derive(Clone, Copy, Debug)]
enum GivenUp {
    Until(Instant),
    ForGood,
}

/// Which schemes a host may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SchemePolicy {
    /// TLS with a certificate that is checked.
    Secure,
    /// This machine itself: plain HTTP or TLS.
    Loopback,
    /// TLS with any certificate, or plain HTTP.
    Insecure,
    /// TLS with any certificate, and nothing else.
    Unverified,
    /// Plain HTTP, and nothing else.
    Plain,
}

/// The schemes in which a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schemes {
    /// The one that the host is known to speak.
    Known(Scheme),
    /// The one that it may speak.
    Only(Scheme),
    /// The first; the second if the first fails in a way that suggests it.
    Either(Scheme, Scheme),
}

impl Endpoint {
    /// The registry of this name, which speaks this scheme if one is known.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(super) fn new(
        registry: &str,
        insecure: &InsecureHosts,
        scheme: Option<Scheme>,
    ) -> Result<Self, Error> {
        let host = network_host(registry);
        let root = parse_host(host).ok_or_else(|| malformed_host(registry))?;
        let policy = match scheme {
            Some(Scheme::Http) => SchemePolicy::Plain,
            Some(Scheme::Https) if insecure.contains(&root) => SchemePolicy::Unverified,
            None if insecure.contains(&root) => SchemePolicy::Insecure,
            None if is_loopback(root.host_str().unwrap_or_default()) => SchemePolicy::Loopback,
            _ => SchemePolicy::Secure,
        };
        Ok(Self {
            host: host.to_owned(),
            policy,
            settled: scheme.map_or_else(OnceLock::new, OnceLock::from),
            given_up: Mutex::default(),
            habits: Mutex::default(),
            gate: Gate::default(),
        })
    }

    /// The host is not asked for a while, as a mirror; then it may have recovered.
    pub(crate) fn give_up(&self, pause: Duration) {
        let mut given_up = lock(&self.given_up);
        if !matches!(*given_up, Some(GivenUp::ForGood)) {
            *given_up = Some(GivenUp::Until(Instant::now() + pause));
        }
    }

    /// The host is not asked any more, as a mirror.
    pub(crate) fn give_up_for_good(&self) {
        *lock(&self.given_up) = Some(GivenUp::ForGood);
    }

    /// Whether it is not to be asked now, as a mirror.
    pub(crate) fn is_given_up(&self) -> bool {
        match *lock(&self.given_up) {
            None => false,
            Some(GivenUp::Until(time)) => Instant::now() < time,
            Some(GivenUp::ForGood) => true,
        }
    }

    /// How many requests it is asked at once.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What is known of how it takes uploads.
    pub(crate) fn habits(&self) -> UploadHabits {
        *lock(&self.habits)
    }

    /// Changes what is known of how it takes uploads.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut UploadHabits)) {
        change(&mut lock(&self.habits));
    }

    /// The host on the network, with its port if one was given.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host, and how it is spoken to.
    pub(crate) fn describe(&self) -> String {
        let how = match self.policy {
            SchemePolicy::Secure => "HTTPS",
            SchemePolicy::Loopback => "plain HTTP or HTTPS, this machine itself",
            SchemePolicy::Insecure => "HTTPS with any certificate, or plain HTTP",
            SchemePolicy::Unverified => "HTTPS with any certificate",
            SchemePolicy::Plain => "plain HTTP",
        };
        format!("{} ({how})", self.host)
    }

    /// Its address by HTTPS.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(crate) fn secure_root(&self) -> Result<Url, Error> {
        parse_host(&self.host).ok_or_else(|| Error::MalformedHost { text: self.host.clone() })
    }

    /// Its address by each scheme that it may speak, the likelier first; loopback's by one, for it has no proxy.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(crate) fn possible_roots(&self) -> Result<Vec<Url>, Error> {
        let schemes: &[Scheme] = match self.policy {
            SchemePolicy::Plain => &[Scheme::Http],
            SchemePolicy::Insecure => &[Scheme::Https, Scheme::Http],
            SchemePolicy::Secure | SchemePolicy::Loopback | SchemePolicy::Unverified => {
                &[Scheme::Https]
            }
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

    /// An address of this host in the scheme that it speaks. Registries behind a TLS proxy often name the other one.
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

    /// An address that the registry gave as its own, with the scheme and host by which it is spoken to. Behind a proxy
    /// it often knows neither.
    pub(crate) fn at_home(&self, url: Url) -> Url {
        let scheme = self.settled.get().copied().unwrap_or(Scheme::Https);
        let Ok(mut here) = self.root(scheme) else { return url };
        here.set_path(url.path());
        here.set_query(url.query());
        here
    }

    /// The schemes in which a request is to be tried.
    pub(super) fn schemes(&self) -> Schemes {
        match (self.settled.get(), self.policy) {
            (Some(&scheme), _) => Schemes::Known(scheme),
            (None, SchemePolicy::Loopback) => Schemes::Either(Scheme::Http, Scheme::Https),
            (None, SchemePolicy::Insecure) => Schemes::Either(Scheme::Https, Scheme::Http),
            (None, _) => Schemes::Only(Scheme::Https),
        }
    }

    /// `scheme://host/`.
    pub(super) fn root(&self, scheme: Scheme) -> Result<Url, TransportError> {
        let text = format!("{}://{}/", scheme.name(), self.host);
        text.parse().map_err(|error| TransportError::SetUp(Cause::of(&error)))
    }

    /// Keeps the scheme of a request if it was answered.
    pub(super) fn settle<T>(
        &self,
        scheme: Scheme,
        outcome: Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        if outcome.is_ok() {
            self.settled.get_or_init(|| scheme);
        }
        outcome
    }

    /// Whether the outcome of the first try looks as if the host spoke the other scheme.
    pub(super) fn suggests_other_scheme(
        &self,
        outcome: Result<&Exchange, &TransportError>,
    ) -> bool {
        let is_loopback = self.policy == SchemePolicy::Loopback;
        let is_odd = match outcome {
            Err(error) if is_loopback => matches!(error, TransportError::Broken(_)),
            Ok(exchange) if is_loopback => {
                exchange.status == StatusCode::BAD_REQUEST && !headers::is_json(&exchange.headers)
            }
            Err(error) => matches!(
                error,
                TransportError::Connect(_)
                    | TransportError::Certificate(_)
                    | TransportError::NotTls
                    | TransportError::Broken(_)
            ),
            Ok(_) => false,
        };
        is_odd && (!is_loopback || self.speaks_tls())
    }

    fn speaks_tls(&self) -> bool {
        self.root(Scheme::Https).is_ok_and(|root| speaks_tls(&root))
    }

    /// Whether the error of the first scheme is the one to tell if both fail. On loopback it is known by then that the
    /// host speaks TLS; elsewhere TLS is what was expected, but of a host that speaks none, what the other scheme gave is told.
    pub(super) fn prefers_first_error(&self, first: Option<&TransportError>) -> bool {
        self.policy == SchemePolicy::Insecure && !matches!(first, Some(TransportError::NotTls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(registry: &str, insecure: &[&str]) -> Option<SchemePolicy> {
        let insecure: Vec<String> = insecure.iter().map(|host| (*host).to_owned()).collect();
        let insecure = InsecureHosts::new(&insecure).unwrap();
        Endpoint::new(registry, &insecure, None).ok().map(|endpoint| endpoint.policy)
    }

    #[test]
    fn only_loopback_and_listed_hosts_may_be_plain() {
        let check = |registry: &str, expected| {
            assert_eq!(policy(registry, &[]), Some(expected), "{registry}");
        };
        check("docker.io", SchemePolicy::Secure);
        check("ghcr.io:80", SchemePolicy::Secure);
        check("localhost.example.org", SchemePolicy::Secure);
        check("localhost", SchemePolicy::Loopback);
        check("LOCALHOST:5000", SchemePolicy::Loopback);
        check("127.0.0.1:5000", SchemePolicy::Loopback);
        check("127.1.2.3", SchemePolicy::Loopback);
        check("[::1]:5000", SchemePolicy::Loopback);
        check("[::2]:5000", SchemePolicy::Secure);
        check("10.0.0.1:5000", SchemePolicy::Secure);
    }

    #[test]
    fn a_listed_host_without_a_port_means_all_its_ports() {
        assert_eq!(policy("reg.test:5000", &["reg.test"]), Some(SchemePolicy::Insecure));
        assert_eq!(policy("reg.test:5000", &["Reg.Test:5000"]), Some(SchemePolicy::Insecure));
        assert_eq!(policy("reg.test:5001", &["reg.test:5000"]), Some(SchemePolicy::Secure));
        assert_eq!(policy("reg.test", &["reg.test:443"]), Some(SchemePolicy::Insecure));
        assert_eq!(policy("xreg.test", &["reg.test"]), Some(SchemePolicy::Secure));
    }

    #[test]
    fn a_scheme_that_is_known_is_not_found_out() {
        let check = |scheme: Scheme, insecure: &[&str], policy: SchemePolicy| {
            let insecure: Vec<String> = insecure.iter().map(|host| (*host).to_owned()).collect();
            let insecure = InsecureHosts::new(&insecure).unwrap();
            let endpoint = Endpoint::new("127.0.0.1:5000", &insecure, Some(scheme)).unwrap();
            assert_eq!((endpoint.settled.get(), endpoint.policy), (Some(&scheme), policy));
        };
        check(Scheme::Http, &["127.0.0.1"], SchemePolicy::Plain);
        check(Scheme::Https, &[], SchemePolicy::Secure);
        check(Scheme::Https, &["127.0.0.1"], SchemePolicy::Unverified);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "a/b", "user@host", "a b", "http://a", "a:b", "1.2.3.4.5"] {
            assert_eq!(policy(host, &[]), None, "{host}");
        }
    }

    #[test]
    fn the_hub_has_an_address_of_its_own() {
        let endpoint = Endpoint::new("docker.io", &InsecureHosts::default(), None).unwrap();
        assert_eq!(endpoint.root(Scheme::Https).unwrap().as_str(), "https://registry-1.docker.io/");
    }

    #[test]
    fn a_port_is_kept_in_either_scheme() {
        let endpoint = Endpoint::new("127.0.0.1:443", &InsecureHosts::default(), None).unwrap();
        assert_eq!(endpoint.root(Scheme::Http).unwrap().as_str(), "http://127.0.0.1:443/");
    }
}
