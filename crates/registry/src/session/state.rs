//! The state that all requests of a client share, and the sending of one of them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use http::header::HeaderName;
use url::Url;

use crate::auth::{Authenticator, Scope};
use crate::base::{Cause, Error, HostTls, InsecureHosts, Scheme, Secret, lock};
use crate::config::{RepositoryLocation, certs_d};
use crate::http::{
    Exchange, HostSettings, Request, Settings, Timeouts, Transport, TransportError, headers,
};

use super::endpoint::Endpoint;
use super::options::Options;

/// How many different warnings are kept at most.
const MAX_WARNINGS: usize = 32;

/// The state that all requests of a client share.
pub(crate) struct Session {
    options: Options,
    pub(super) insecure: InsecureHosts,
    transport: Transport,
    endpoints: Mutex<HashMap<EndpointKey, Arc<Endpoint>>>,
    /// By `registry/repository` and scope.
    authenticators: Mutex<HashMap<(String, Scope), Arc<Authenticator>>>,
    /// The certificates of hosts, by authority.
    host_tls: Mutex<HashMap<String, Arc<HostTls>>>,
    warnings: Mutex<Warnings>,
}

/// The properties in which endpoints differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointKey {
    host: String,
    /// The scheme, where it is known from the start.
    scheme: Option<Scheme>,
}

/// Warnings of registries, for the user.
#[derive(Debug, Default)]
struct Warnings {
    seen: HashSet<String>,
    /// Those that nobody has taken yet.
    fresh: Vec<String>,
}

impl Session {
    /// A session. Nothing is connected, read or looked up before it is needed.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`] or [`Error::MalformedProxy`] if a host or a proxy is no address.
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        options.proxies.check()?;
        let insecure: Vec<_> =
            options.insecure.iter().cloned().chain(options.mirrors.insecure()).collect();
        let insecure = InsecureHosts::new(&insecure)?;
        let transport = Transport::new(Settings {
            user_agent: options.user_agent.clone(),
            insecure: insecure.clone(),
            proxies: options.proxies.clone(),
            timeouts: Timeouts {
                connect: options.connect,
                stall: options.stall,
                cancelled: options.cancelled,
            },
            limit_rate: options.limit_rate,
        });
        let session = Self {
            options,
            insecure,
            transport,
            endpoints: Mutex::default(),
            authenticators: Mutex::default(),
            host_tls: Mutex::default(),
            warnings: Mutex::default(),
        };
        for key in session.options.mirrors.unknown_keys() {
            session.warn(key.clone());
        }
        Ok(session)
    }

    /// The settings.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The connections.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The endpoint that all repositories on one host share.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`].
    pub(crate) fn endpoint(&self, location: &RepositoryLocation) -> Result<Arc<Endpoint>, Error> {
        let key = EndpointKey { host: location.host.clone(), scheme: location.scheme };
        if let Some(endpoint) = lock(&self.endpoints).get(&key) {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Endpoint::new(&location.host, &self.insecure, location.scheme)?;
        Ok(share(&self.endpoints, key, endpoint))
    }

    /// The authenticator that all requests with one scope share.
    pub(crate) fn authenticator(
        &self,
        registry: &str,
        repository: &str,
        scope: Scope,
    ) -> Arc<Authenticator> {
        let key = (format!("{registry}/{repository}"), scope.clone());
        let authenticator = Authenticator::new(registry, repository, scope);
        share(&self.authenticators, key, authenticator)
    }

    /// What is special about connections to the host of an address.
    ///
    /// # Errors
    ///
    /// The cause names the directory with certificates that can't be read.
    pub(crate) fn host_settings(&self, url: &Url) -> Result<HostSettings, Cause> {
        let connect = self.options.mirrors.host(url).and_then(|host| host.connect);
        Ok(HostSettings { tls: self.host_tls(url)?, connect })
    }

    fn host_tls(&self, url: &Url) -> Result<Arc<HostTls>, Cause> {
        if url.scheme() != "https" {
            return Ok(Arc::default());
        }
        let mut known = lock(&self.host_tls);
        if let Some(tls) = known.get(url.authority()) {
            return Ok(Arc::clone(tls));
        }
        let mut tls = certs_d::find(&self.options.certificates, url)?;
        if let Some(host) = self.options.mirrors.host(url) {
            tls.0.extend(host.tls.0.iter().cloned());
        }
        let tls = Arc::new(tls);
        known.insert(url.authority().to_owned(), Arc::clone(&tls));
        Ok(tls)
    }

    /// The headers that containerd's files want to be sent to the host of an address, and to no other.
    pub(super) fn private_headers(&self, url: &Url) -> Vec<(HeaderName, Secret)> {
        self.options.mirrors.host(url).map(|host| host.headers.clone()).unwrap_or_default()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) fn send(&self, request: &Request) -> Result<Exchange, TransportError> {
        let host = self.host_settings(&request.url).map_err(TransportError::SetUp)?;
        self.transport.send(request, &host)
    }

    /// Keeps what an answer's headers warn of.
    pub(super) fn note_warnings(&self, registry: &str, headers: &HeaderMap) {
        let limit = headers::rate_limit_warning(headers);
        for text in limit.into_iter().chain(headers::warnings(headers)) {
            self.warn(format!("{registry}: {text}"));
        }
    }

    /// Keeps a warning.
    pub(crate) fn warn(&self, text: String) {
        lock(&self.warnings).add(text);
    }

    /// The warnings since the last call, each once.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.warnings).fresh)
    }
}

impl Warnings {
    fn add(&mut self, text: String) {
        if self.seen.len() < MAX_WARNINGS && self.seen.insert(text.clone()) {
            self.fresh.push(text);
        }
    }
}

/// What `map` holds for `key`; `value` if it holds nothing yet.
fn share<K: Eq + Hash, V>(map: &Mutex<HashMap<K, Arc<V>>>, key: K, value: V) -> Arc<V> {
    Arc::clone(lock(map).entry(key).or_insert_with(|| Arc::new(value)))
}

#[cfg(test)]
mod tests {
    use http::header::WARNING;

    use super::*;

    #[test]
    fn a_warning_is_told_once_and_in_its_own_form_only() {
        let session = Session::new(Options::default()).unwrap();
        let mut headers = HeaderMap::new();
        for value in [
            r#"299 - "old \"tag\"""#,
            r#"299 - "old \"tag\"""#,
            r#"199 - "x""#,
            "299 x y",
            r#"299 - """#,
        ] {
            headers.append(WARNING, value.parse().unwrap());
        }
        session.note_warnings("r.test", &headers);
        assert_eq!(session.take_warnings(), [r#"r.test: old "tag""#]);
        session.note_warnings("r.test", &headers);
        assert!(session.take_warnings().is_empty());
    }
}
