//! Mirrors: where else a registry's images are to be had, and which registries stand for others.
//!
//! They are for pulls. Whatever comes from a mirror is checked against the digest that was asked for; where a tag was, the
//! mirror is believed as podman believes it. A mirror that fails is left behind, and the next one is asked, the registry
//! itself last.

mod conf;
mod hosts;
mod terms;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use layer_format::Reference;
use reqwest::Url;

use crate::attempt::authority;
use crate::endpoint::{Scheme, address_of};
use crate::error::{Cause, Error};
use hosts::Said;
pub(crate) use terms::Terms;

/// Where the API begins at most hosts.
const API: &str = "v2";
/// The prefix of what is said about all registries.
const EVERYTHING: &str = "";

/// The mirrors of all registries.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    registries: Vec<Registry>,
    /// By the host as it stands in addresses.
    terms: HashMap<String, Terms>,
}

/// What is said about a registry, or about all repositories that begin in the same way.
#[derive(Clone, Debug)]
struct Registry {
    /// `host`, `host/path`, `*.domain`, or nothing, which is everything.
    prefix: String,
    /// What stands in the prefix's place; nothing changes if it is empty.
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
    /// Who is asked in place of the registry itself.
    server: Option<Mirror>,
    /// Whether a mirror is told which registry it is asked in place of, as containerd does.
    says_namespace: bool,
    /// The file that should say it and makes no sense, and why.
    malformed: Option<(PathBuf, Cause)>,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: String,
    insecure: bool,
    by: By,
    /// Where its API begins: `v2` nearly always.
    root: String,
    /// If it is said.
    scheme: Option<Scheme>,
}

/// What a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    All,
    Digest,
    Tag,
}

/// A repository on some host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) host: String,
    pub(crate) path: String,
    /// Where the host's API begins.
    pub(crate) root: String,
    /// The scheme that it speaks, if that is known.
    pub(crate) scheme: Option<Scheme>,
    /// The registry in whose place the host is asked, if it wants to know.
    pub(crate) namespace: Option<String>,
}

/// Where a repository's images are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be asked first, in this order.
    pub(crate) mirrors: Vec<(Site, By)>,
    pub(crate) origin: Site,
}

impl Mirrors {
    /// No mirrors at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Containerd's `certs.d/HOST/hosts.toml`; then podman's: the file that `CONTAINERS_REGISTRIES_CONF` names, else the user's,
    /// else the machine's `registries.conf`, and what is in the directories `registries.conf.d` of both.
    pub fn from_environment() -> Result<Self, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let dir = |name: &str| set(name).map(PathBuf::from);
        let user = dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")));
        let configs: Vec<_> = user.into_iter().chain([PathBuf::from("/etc")]).collect();
        let mut mirrors = Self::default();
        // What is more important comes later.
        for config in configs.iter().rev() {
            mirrors.read_hosts(&config.join("containerd/certs.d"))?;
        }
        if let Some(file) = dir("CONTAINERS_REGISTRIES_CONF") {
            mirrors.read(&[file], &[])?;
            return Ok(mirrors);
        }
        let containers = configs.iter().map(|config| config.join("containers"));
        let files: Vec<_> = containers.clone().map(|dir| dir.join("registries.conf")).collect();
        let more: Vec<_> = containers.rev().map(|dir| dir.join("registries.conf.d")).collect();
        mirrors.read(&files, &more)?;
        Ok(mirrors)
    }

    /// Reads containerd's files: `HOST/hosts.toml` below a directory. What is said later about a registry counts.
    pub fn read_hosts(&mut self, dir: &Path) -> Result<(), Error> {
        for (host, dir) in hosts::dirs(dir) {
            match hosts::read(&host, &dir) {
                Ok(Said { registry, terms }) => {
                    self.put(registry);
                    self.terms.extend(terms);
                }
                // It matters to those who want that registry.
                Err(Error::MalformedSettings { path, source }) => {
                    let malformed = Some((path, source));
                    self.put(Registry { malformed, ..Registry::of(&host, vec![]) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads the first of `files` that is there, and all files of `dirs`.
    fn read(&mut self, files: &[PathBuf], dirs: &[PathBuf]) -> Result<(), Error> {
        for file in files {
            if self.add(file)? {
                break;
            }
        }
        for dir in dirs {
            let Ok(entries) = std::fs::read_dir(dir) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|it| it == "conf"));
            paths.sort();
            for path in paths {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    /// Adds what a file says; tells whether it is there.
    fn add(&mut self, path: &Path) -> Result<bool, Error> {
        let Some(text) = read(path)? else { return Ok(false) };
        for registry in conf::parse(&text, path)? {
            self.put(registry);
        }
        Ok(true)
    }

    /// A later word about a prefix takes the place of an earlier one.
    fn put(&mut self, registry: Registry) {
        self.registries.retain(|known| known.prefix != registry.prefix);
        self.registries.push(registry);
    }

    /// The hosts that may be insecure.
    pub(crate) fn insecure(&self) -> impl Iterator<Item = String> {
        let own = self.registries.iter().filter(|it| it.insecure).map(|it| &it.location);
        let others = self.registries.iter().flat_map(|it| it.mirrors.iter().chain(&it.server));
        let others = others.filter(|it| it.insecure).map(|it| &it.location);
        let hosts = own.chain(others).filter_map(|location| location.split('/').next());
        hosts.filter(|host| !host.is_empty()).map(|host| address_of(host).to_owned())
    }

    /// On which terms an address is asked, if they are special.
    pub(crate) fn terms(&self, url: &Url) -> Option<&Terms> {
        self.terms.get(&authority(url))
    }

    /// Where a repository's images are to be had.
    pub(crate) fn plan(&self, reference: &Reference) -> Result<Plan, Error> {
        let (host, path) = (reference.registry(), reference.repository());
        let name = format!("{host}/{path}");
        let named = Site::new(host, path, API);
        let fitting = self.registries.iter().filter_map(|it| Some((it, it.rest(&name)?)));
        let Some((registry, rest)) = fitting.max_by_key(|(registry, _)| registry.prefix.len())
        else {
            return Ok(Plan { mirrors: vec![], origin: named });
        };
        if registry.blocked {
            return Err(Error::Blocked { name });
        }
        if let Some((path, source)) = registry.malformed.clone() {
            return Err(Error::MalformedSettings { path, source });
        }
        let site = |mirror: &Mirror| {
            let location = format!("{}{rest}", mirror.location);
            let (host_there, path) = location.split_once('/')?;
            let site = Site::new(host_there, path, &mirror.root);
            let scheme = mirror.scheme;
            let is_another = address_of(&site.host) != address_of(host);
            let namespace = (registry.says_namespace && is_another).then(|| host.to_owned());
            Some(Site { scheme, namespace, ..site })
        };
        let moved = match &registry.server {
            Some(server) => site(server),
            None if registry.location == registry.prefix || registry.location.is_empty() => None,
            None => format!("{}{rest}", registry.location)
                .split_once('/')
                .map(|(host, path)| Site::new(host, path, API)),
        };
        let origin = moved.unwrap_or(named);
        let mirrors = registry.mirrors.iter().filter_map(|it| Some((site(it)?, it.by)));
        // Nobody is asked twice.
        let mirrors = mirrors.filter(|(mirror, _)| !mirror.is(&origin)).collect();
        Ok(Plan { mirrors, origin })
    }
}

impl Site {
    fn new(host: &str, path: &str, root: &str) -> Self {
        let (host, path, root) = (host.to_owned(), path.to_owned(), root.to_owned());
        Self { host, path, root, scheme: None, namespace: None }
    }

    /// Whether it is the same place as another.
    fn is(&self, other: &Self) -> bool {
        let same_host = address_of(&self.host) == address_of(&other.host);
        same_host && (&self.path, &self.root) == (&other.path, &other.root)
    }
}

impl Registry {
    /// A registry as containerd's files speak of it.
    fn of(host: &str, mirrors: Vec<Mirror>) -> Self {
        let (prefix, location) = (host.to_owned(), host.to_owned());
        let (insecure, blocked, server, malformed) = (false, false, None, None);
        let says_namespace = true;
        Self { prefix, location, insecure, blocked, mirrors, server, says_namespace, malformed }
    }

    /// What follows the prefix in a repository's name, if it begins with it.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
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

/// A file's text, if it is there.
fn read(path: &Path) -> Result<Option<String>, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(source) => Err(Error::UnreadableSettings { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.test:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "second.test"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "inner.test/lib"
        insecure = true
        [[registry]]
        location = "bad.test"
        blocked = true
        [[registry]]
        prefix = "*.corp.test"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "cache.test/corp"
    "#;

    fn mirrors() -> Mirrors {
        let registries = conf::parse(CONF, Path::new("registries.conf")).unwrap();
        Mirrors { registries, ..Mirrors::none() }
    }

    #[track_caller]
    fn check(name: &str, origin: &str, expected: &[(&str, By)]) {
        let shown = |site: &Site| format!("{}/{}", site.host, site.path);
        let plan = mirrors().plan(&name.parse().unwrap()).unwrap();
        assert_eq!(shown(&plan.origin), origin);
        let found: Vec<_> = plan.mirrors.iter().map(|(site, by)| (shown(site), *by)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let hub = [("mirror.test:5000/hub/me/app", By::All), ("second.test/me/app", By::Digest)];
        check("me/app", "docker.io/me/app", &hub);
        check("nginx", "inner.test/lib/nginx", &[]);
        check(
            "docker.io/libraryx/app",
            "docker.io/libraryx/app",
            &[
                ("mirror.test:5000/hub/libraryx/app", By::All),
                ("second.test/libraryx/app", By::Digest),
            ],
        );
        check("other.test/a", "other.test/a", &[]);
        check("a.corp.test/x", "a.corp.test/x", &[("cache.test/corp/x", By::Digest)]);
        check("corp.test/x", "corp.test/x", &[]);
        assert!(mirrors().plan(&"bad.test/a".parse().unwrap()).is_err());
    }

    #[test]
    fn insecure_hosts_are_listed_without_paths() {
        assert_eq!(mirrors().insecure().collect::<Vec<_>>(), ["inner.test", "mirror.test:5000"]);
    }

    #[test]
    fn a_malformed_file_is_named() {
        for text in ["x", "[[registry]]", "[[registry]]\nlocation = 7"] {
            let error = conf::parse(text, Path::new("/etc/r.conf")).unwrap_err();
            assert!(error.to_string().starts_with("/etc/r.conf"), "{error}");
        }
    }

    #[test]
    fn the_users_file_hides_the_machines_and_directories_add_to_it() {
        let dir = std::env::temp_dir().join(format!("strata-mirrors-{}", std::process::id()));
        let more = dir.join("registries.conf.d");
        std::fs::create_dir_all(&more).unwrap();
        let registry = |location: &str| format!("[[registry]]\nlocation = \"{location}\"\n");
        std::fs::write(dir.join("user"), registry("a.test")).unwrap();
        std::fs::write(dir.join("machine"), registry("b.test")).unwrap();
        std::fs::write(more.join("1.conf"), registry("c.test")).unwrap();
        std::fs::write(more.join("2.txt"), registry("d.test")).unwrap();
        let files = ["none", "user", "machine"].map(|name| dir.join(name));
        let mut found = Mirrors::none();
        found.read(&files, &[more]).unwrap();
        let prefixes: Vec<_> =
            found.registries.iter().map(|registry| registry.prefix.as_str()).collect();
        assert_eq!(prefixes, ["a.test", "c.test"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
