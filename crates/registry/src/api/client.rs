//! The client, from which all repositories come.

use std::fmt;
use std::sync::Arc;

use layer_format::Reference;

use super::registry::Registry;
use super::repository::{Repository, RepositoryMirror};
use crate::base::Error;
use crate::config::{HostConfig, Plan, RepositoryLocation};
use crate::http::Traffic;
use crate::session::{Endpoint, Options, Remote, Session};

/// The longest part of a malformed host that an error shows, in characters.
const SHOWN_LENGTH: usize = 300;

/// A client of any number of registries; cheap to clone, to be shared by threads.
#[derive(Clone)]
pub struct Client {
    session: Arc<Session>,
}

impl Client {
    /// A client. Nothing is connected, read or looked up before it is needed.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`] or [`Error::MalformedProxy`] if a host or a proxy is no address.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { session: Arc::new(Session::new(options)?) })
    }

    /// The repository that a name lies in.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`] if the name's registry can't be a host, [`Error::Blocked`] if it is blocked,
    /// [`Error::MalformedSettings`] if the file with its settings makes no sense.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        let Plan { mirrors, origin } = self.session.options().mirrors.plan(reference)?;
        let mirrors = mirrors.iter().map(|mirror| {
            let repository = Repository::new(&self.session, &mirror.location)?;
            Ok(RepositoryMirror { repository, pull_from: mirror.pull_from })
        });
        let mirrors: Vec<_> = mirrors.collect::<Result<_, Error>>()?;
        let repository = Repository::new(&self.session, &origin)?;
        Ok(repository.shown_as(reference).with_mirrors(mirrors))
    }

    /// A registry as a whole, by its host as it stands in names: its list of repositories, and whether it takes a login.
    ///
    /// # Errors
    ///
    /// Those of [`repository`](Self::repository).
    pub fn registry(&self, host: &str) -> Result<Registry, Error> {
        let malformed = || Error::MalformedHost { text: host.chars().take(SHOWN_LENGTH).collect() };
        // Files with settings go by names of repositories.
        let any: Reference = format!("{host}/any").parse().map_err(|_| malformed())?;
        if any.registry() != host {
            return Err(malformed());
        }
        let Plan { origin, .. } = self.session.options().mirrors.plan(&any)?;
        let location = RepositoryLocation { path: String::new(), ..origin };
        Ok(Registry::new(Remote::new(&self.session, &location)?, host))
    }

    /// What would be asked for an image, and with which login: lines without secrets. No registry is asked anything,
    /// but helpers that keep logins are.
    ///
    /// # Errors
    ///
    /// Those of [`repository`](Self::repository).
    pub fn explain(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let options = self.session.options();
        let repository = self.repository(reference)?;
        let endpoint = repository.remote.endpoint();
        let certificates = self.describe_certificates(endpoint)?;
        let mut lines = vec![];
        for mirror in repository.mirrors() {
            lines.push(format!("mirror: {}", self.describe(mirror.remote.endpoint())?));
        }
        lines.push(format!("registry: {}", self.describe(endpoint)?));
        lines.push(format!("certificates: {certificates}"));
        for (position, root) in endpoint.possible_roots()?.iter().enumerate() {
            let which = if position == 0 { "proxy" } else { "proxy for plain HTTP" };
            lines.push(format!("{which}: {}", options.proxies.describe(root)));
        }
        for line in options.credentials.explain(&repository.remote.login_query()) {
            lines.push(format!("login: {line}"));
        }
        for mirror in repository.mirrors() {
            let login = options.credentials.describe(&mirror.remote.login_query());
            lines.push(format!("login for {}: {login}", mirror.remote.registry()));
        }
        Ok(lines)
    }

    /// A host, how it is spoken to, and what is special about it.
    fn describe(&self, endpoint: &Endpoint) -> Result<String, Error> {
        let host = self.session.options().mirrors.host(&endpoint.secure_root()?);
        let special = host.map(HostConfig::to_string).filter(|special| !special.is_empty());
        let special = special.map(|special| format!(", {special}")).unwrap_or_default();
        Ok(endpoint.describe() + &special)
    }

    /// The certificates that count for a host.
    fn describe_certificates(&self, endpoint: &Endpoint) -> Result<String, Error> {
        let root = endpoint.secure_root()?;
        let settings = self.session.host_settings(&root);
        let own = settings.and_then(|host| self.session.transport().certificates(&root, &host.tls));
        Ok(match own {
            Ok(None) => "those of this machine".to_owned(),
            Ok(Some(own)) => format!("those of this machine, {own}"),
            Err(cause) => cause.to_string(),
        })
    }

    /// The requests and bytes that passed between us and each host so far.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.session.transport().traffic()
    }

    /// The warnings (`Warning: 299`) that registries have sent since the last call, each once, and what went wrong with
    /// helpers that keep logins.
    pub fn warnings(&self) -> Vec<String> {
        self.session.take_warnings()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", self.session.options()).finish_non_exhaustive()
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
}
