//! The client: what all repositories of all registries share.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer_format::Reference;
use reqwest::header::{HeaderMap, WARNING};

use crate::auth::{Access, Gate};
use crate::endpoint::{Endpoint, Insecure, Scheme};
use crate::error::Error;
use crate::limits;
use crate::mirrors::{Plan, Site, Terms};
use crate::options::Options;
use crate::repository::Repository;
use crate::text::one_line;
use crate::traffic::Traffic;
use crate::transport::Transport;

/// More warnings than anybody reads.
const MAX_WARNINGS: usize = 32;

/// A client of any number of registries; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What all clones and repositories of a client share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) insecure: Insecure,
    pub(crate) transport: Transport,
    endpoints: Mutex<HashMap<Host, Arc<Endpoint>>>,
    gates: Mutex<HashMap<(String, Access), Arc<Gate>>>,
    warnings: Mutex<Warnings>,
}

/// A host, and its scheme where that is known from the start.
type Host = (String, Option<Scheme>);

/// What registries want their users to know.
#[derive(Debug, Default)]
struct Warnings {
    seen: HashSet<String>,
    fresh: Vec<String>,
}

impl Client {
    /// A client; nothing is connected, read or looked up before it is needed.
    ///
    /// # Errors
    ///
    /// If a host or a proxy is no address.
    pub fn new(options: Options) -> Result<Self, Error> {
        options.proxies.check()?;
        let insecure: Vec<_> =
            options.insecure.iter().cloned().chain(options.mirrors.insecure()).collect();
        let insecure = Insecure::new(&insecure)?;
        let transport = Transport::new(&options, insecure.clone());
        let shared = Shared {
            options,
            insecure,
            transport,
            endpoints: Mutex::default(),
            gates: Mutex::default(),
            warnings: Mutex::default(),
        };
        shared.options.mirrors.doubts().iter().for_each(|doubt| shared.warn(doubt.clone()));
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The repository that a name lies in.
    ///
    /// # Errors
    ///
    /// If the name's registry can't be a host, or is blocked.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        let Plan { mirrors, origin } = self.shared.options.mirrors.plan(reference)?;
        let mirrors = mirrors.iter().map(|(site, by)| Ok((self.at(site)?, *by)));
        let mirrors: Vec<_> = mirrors.collect::<Result<_, Error>>()?;
        Ok(self.at(&origin)?.shown_as(reference).with_mirrors(mirrors))
    }

    fn at(&self, site: &Site) -> Result<Repository, Error> {
        let shared = &self.shared;
        let key = (site.host.clone(), site.scheme);
        let endpoint = match lock(&shared.endpoints).get(&key) {
            Some(endpoint) => endpoint.clone(),
            None => Arc::new(Endpoint::new(&site.host, &shared.insecure, site.scheme)?),
        };
        let endpoint = share(&shared.endpoints, key, endpoint);
        let gate = shared.gate(&site.host, &site.path, Access::Pull);
        Ok(Repository::new(shared.clone(), endpoint, gate, site))
    }

    /// What would be done to get at an image, and who would be asked for a login: a line each, without secrets. Nothing is
    /// asked of any registry; helpers that keep logins are.
    pub fn explain(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let Shared { options, transport, .. } = &*self.shared;
        let repository = self.repository(reference)?;
        let endpoint = repository.endpoint();
        let certificates = match transport.own(&endpoint.secure_root()?) {
            Ok(None) => "those of this machine".to_owned(),
            Ok(Some(own)) => format!("those of this machine, {own}"),
            Err(cause) => cause.to_string(),
        };
        let describe = |endpoint: &Endpoint| {
            let terms = options.mirrors.terms(&endpoint.secure_root()?).map(Terms::to_string);
            let terms = terms.filter(|terms| !terms.is_empty()).map(|terms| format!(", {terms}"));
            Ok::<_, Error>(endpoint.describe() + &terms.unwrap_or_default())
        };
        let mut lines = vec![];
        for mirror in repository.mirrors() {
            lines.push(format!("mirror: {}", describe(mirror.endpoint())?));
        }
        lines.push(format!("registry: {}", describe(endpoint)?));
        lines.push(format!("certificates: {certificates}"));
        lines.extend(endpoint.possible_roots()?.iter().enumerate().map(|(position, root)| {
            let which = if position == 0 { "proxy" } else { "proxy for plain HTTP" };
            format!("{which}: {}", options.proxies.describe(root))
        }));
        let wanted = repository.login_wanted();
        let logins = options.credentials.explain(&wanted);
        lines.extend(logins.into_iter().map(|line| format!("login: {line}")));
        for mirror in repository.mirrors() {
            let login = options.credentials.describe(&mirror.login_wanted());
            lines.push(format!("login for {}: {login}", mirror.registry()));
        }
        Ok(lines)
    }

    /// What passed between us and each host so far.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.shared.transport.meters.all()
    }

    /// The warnings (`Warning: 299`) that registries have sent since the last call, each once, and what went wrong with
    /// helpers that keep logins.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.warnings).fresh)
    }
}

impl Shared {
    /// The gate before a repository, for those who want to do this.
    pub(crate) fn gate(&self, registry: &str, repository: &str, access: Access) -> Arc<Gate> {
        let key = (format!("{registry}/{repository}"), access.clone());
        share(&self.gates, key, Arc::new(Gate::new(registry, repository, access)))
    }

    /// Keeps what an answer's headers warn of.
    pub(crate) fn note_warnings(&self, registry: &str, headers: &HeaderMap) {
        if let Some(text) = limits::warning(headers) {
            self.warn(format!("{registry}: {text}"));
        }
        for value in headers.get_all(WARNING) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let Some(text) = warning(&text) else { continue };
            self.warn(format!("{registry}: {text}"));
        }
    }

    /// Keeps a warning.
    pub(crate) fn warn(&self, text: String) {
        lock(&self.warnings).add(text);
    }
}

impl Warnings {
    fn add(&mut self, text: String) {
        if self.seen.len() < MAX_WARNINGS && self.seen.insert(text.clone()) {
            self.fresh.push(text);
        }
    }
}

/// The text of `299 - "…"` (distribution-spec, "Warnings"), which is the only form that is meant for users.
fn warning(value: &str) -> Option<String> {
    let quoted = value.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    let text = one_line(&quoted.replace("\\\"", "\"").replace("\\\\", "\\"));
    (!text.is_empty()).then_some(text)
}

/// What `map` holds for `key`, put there now if nobody has done so before.
fn share<K: Eq + Hash, V>(map: &Mutex<HashMap<K, Arc<V>>>, key: K, value: Arc<V>) -> Arc<V> {
    lock(map).entry(key).or_insert(value).clone()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_repositories_are_for_threads() {
        fn check<T: Send + Sync>() {}
        check::<Client>();
        check::<Repository>();
    }

    #[test]
    fn a_warning_is_told_once_and_in_its_own_form_only() {
        let client = Client::new(Options::default()).unwrap();
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
        client.shared.note_warnings("r.test", &headers);
        assert_eq!(client.warnings(), [r#"r.test: old "tag""#]);
        client.shared.note_warnings("r.test", &headers);
        assert!(client.warnings().is_empty());
    }
}
