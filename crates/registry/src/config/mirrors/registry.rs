//! A registry as the files speak of it: its mirrors, and where its repositories lie.

use std::path::PathBuf;

use crate::base::{Cause, Scheme, network_host};

/// The path at which the API begins at most hosts.
pub(super) const API: &str = "v2";
/// The prefix of what is said about all registries.
pub(super) const EVERYTHING: &str = "";

/// What is said about a registry, or about all repositories whose names begin in the same way.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    /// `host`, `host/path`, `*.domain`, or nothing, which is everything.
    pub(super) prefix: String,
    /// What stands in the prefix's place; nothing changes if it is empty.
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Mirror>,
    /// The host that is asked in place of the registry itself.
    pub(super) server: Option<Mirror>,
    /// Whether a mirror is told which registry it is asked in place of, as containerd does.
    pub(super) sends_namespace: bool,
    /// The file that should say it, if it makes no sense.
    pub(super) malformed: Option<MalformedFile>,
}

/// A file that makes no sense.
#[derive(Clone, Debug)]
pub(super) struct MalformedFile {
    pub(super) path: PathBuf,
    pub(super) reason: Cause,
}

/// A host that has the images of a registry.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pull_from: PullFrom,
    /// The path at which its API begins: `v2` nearly always.
    pub(super) root: String,
    /// The scheme, if it is said.
    pub(super) scheme: Option<Scheme>,
}

/// Which pulls a mirror is asked for: podman's `pull-from-mirror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

/// A repository on some host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryLocation {
    pub(crate) host: String,
    pub(crate) path: String,
    /// The path at which the host's API begins.
    pub(crate) root: String,
    /// The scheme that it speaks, if that is known.
    pub(crate) scheme: Option<Scheme>,
    /// The registry in whose place the host is asked, if it wants to know.
    pub(crate) namespace: Option<String>,
}

impl RepositoryLocation {
    pub(super) fn new(host: &str, path: &str, root: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            root: root.to_owned(),
            scheme: None,
            namespace: None,
        }
    }

    /// Whether it is the same place as another.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        network_host(&self.host) == network_host(&other.host)
            && self.path == other.path
            && self.root == other.root
    }
}

impl Registry {
    /// A registry as containerd's files speak of it.
    pub(super) fn of_host(host: &str, mirrors: Vec<Mirror>) -> Self {
        Self {
            prefix: host.to_owned(),
            location: host.to_owned(),
            mirrors,
            sends_namespace: true,
            ..Self::default()
        }
    }

    /// The location of the repository that a name means, if it isn't the name's own host. `rest` is what follows the
    /// prefix in the name.
    pub(super) fn origin(&self, host: &str, rest: &str) -> Option<RepositoryLocation> {
        if let Some(server) = &self.server {
            return self.place(server, host, rest);
        }
        if self.location == self.prefix || self.location.is_empty() {
            return None;
        }
        let whole = format!("{}{rest}", self.location);
        let (host, path) = whole.split_once('/')?;
        Some(RepositoryLocation::new(host, path, API))
    }

    /// The location at a mirror of a repository of `host`. `rest` is what follows the prefix in the repository's name.
    pub(super) fn place(
        &self,
        mirror: &Mirror,
        host: &str,
        rest: &str,
    ) -> Option<RepositoryLocation> {
        let whole = format!("{}{rest}", mirror.location);
        let (host_there, path) = whole.split_once('/')?;
        let location = RepositoryLocation::new(host_there, path, &mirror.root);
        let is_another = network_host(&location.host) != network_host(host);
        let namespace = (self.sends_namespace && is_another).then(|| host.to_owned());
        Some(RepositoryLocation { scheme: mirror.scheme, namespace, ..location })
    }

    /// What follows the prefix in a repository's name, if the name begins with it.
    pub(super) fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.prefix == EVERYTHING {
            return name.find('/').map(|end| &name[end..]);
        }
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let end = name.find('/')?;
            return name[..end].ends_with(domain).then(|| &name[end..]);
        }
        let rest = name.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}
