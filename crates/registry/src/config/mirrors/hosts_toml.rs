//! containerd's `certs.d/HOST/hosts.toml`: mirrors for pulls, another address for the registry itself, and what is
//! special about each of these hosts.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::host::{HostConfig, HostToml};
use super::registry::{API, EVERYTHING, Mirror, PullFrom, Registry};
use crate::base::{CertificateFile, Error, HostTls, Scheme, authority, network_host};
use crate::config::files;

/// The directory that stands for all registries without one of their own.
const DEFAULT: &str = "_default";
const FILE: &str = "hosts.toml";
const PROXY: &str = "proxy is not understood; set HTTPS_PROXY and NO_PROXY instead";

#[derive(Deserialize)]
struct HostsToml {
    server: Option<String>,
    /// In the order of the file, in which they are asked.
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    own: HostEntry,
}

#[derive(Deserialize)]
struct HostEntry {
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    /// A proxy for this host alone, which is not supported: to go past it would be worse than to fail.
    proxy: Option<IgnoredAny>,
    #[serde(flatten)]
    host: HostToml,
}

/// The values of a directory: a registry, and what is special about the hosts that are named for it.
#[derive(Debug)]
pub(super) struct HostDirectory {
    pub(super) registry: Registry,
    /// By the host as it stands in addresses.
    pub(super) hosts: Vec<(String, HostConfig)>,
}

impl HostDirectory {
    /// Of a directory that says nothing.
    fn empty(host: &str) -> Self {
        Self { registry: Registry::of_host(host, vec![]), hosts: vec![] }
    }
}

/// The directories below `certs` with the registry that each is for, the more important later. A directory that only
/// others may read counts as empty.
///
/// # Errors
///
/// [`Error::UnreadableSettings`] if the directory is there and can't be read for another reason.
pub(super) fn dirs(certs: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    // `host_5000_` comes after `host:5000`.
    let dirs = list(certs)?.into_iter().filter_map(|dir| {
        let registry = registry_of(dir.file_name()?.to_str()?);
        Some((registry, dir))
    });
    Ok(dirs.collect())
}

/// The entries of a directory; none if it isn't for us.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    match files::list(dir) {
        Err(error) if files::is_not_for_us(&error) => Ok(vec![]),
        paths => paths.map_err(|error| Error::unreadable_settings(dir, error)),
    }
}

/// The registry that a directory is named for: `host`, `host:port`, or `host_port_` on systems where a name can't have
/// a colon.
fn registry_of(name: &str) -> String {
    let with_port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    match with_port {
        _ if name == DEFAULT => EVERYTHING.to_owned(),
        Some((host, port)) if !host.is_empty() => format!("{host}:{port}"),
        _ => name.to_owned(),
    }
}

/// Reads a registry's directory. Without a `hosts.toml`, certificates in it are taken as docker takes them. A file that
/// only others may read, for the secrets in it, counts as empty.
///
/// # Errors
///
/// [`Error::MalformedSettings`] or [`Error::UnreadableSettings`].
pub(super) fn read(host: &str, dir: &Path) -> Result<HostDirectory, Error> {
    let path = dir.join(FILE);
    match files::text(&path) {
        Err(Error::UnreadableSettings { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(HostDirectory::empty(host))
        }
        Err(error) => Err(error),
        Ok(Some(text)) => parse(host, &text, &path),
        Ok(None) => {
            let config = HostConfig { tls: certificates(dir)?, ..HostConfig::default() };
            let hosts = of_registry(host, config).into_iter().collect();
            Ok(HostDirectory { hosts, ..HostDirectory::empty(host) })
        }
    }
}

/// The certificates that are files as `ca.crt`, `me.cert` and `me.key`: the authorities first.
fn certificates(dir: &Path) -> Result<HostTls, Error> {
    let mut authorities = vec![];
    let mut identities = vec![];
    for path in list(dir)? {
        match path.extension().and_then(|it| it.to_str()) {
            Some("crt") => authorities.push(CertificateFile::Authority(path)),
            Some("cert") => {
                let key = Some(path.with_extension("key")).filter(|key| key.exists());
                let key = key.unwrap_or_else(|| path.clone());
                identities.push(CertificateFile::Identity { certificate: path, key });
            }
            _ => {}
        }
    }
    authorities.append(&mut identities);
    Ok(HostTls(authorities))
}

/// What is special about the registry itself; for all registries at once there is nothing.
fn of_registry(host: &str, config: HostConfig) -> Option<(String, HostConfig)> {
    let is_special = host != EVERYTHING && config != HostConfig::default();
    is_special.then(|| (network_host(host).to_owned(), config))
}

fn parse(host: &str, text: &str, path: &Path) -> Result<HostDirectory, Error> {
    let malformed = |reason: &str| Error::malformed_settings(path, reason);
    let dir = path.parent().unwrap_or(path);
    let HostsToml { server, host: entries, own } =
        toml::from_str(text).map_err(|error| malformed(error.message()))?;
    if own.proxy.is_some() {
        return Err(malformed(PROXY));
    }
    let mut mirrors = vec![];
    let mut hosts = vec![];
    for (url, entry) in entries {
        let entry: HostEntry =
            entry.try_into().map_err(|error: toml::de::Error| malformed(error.message()))?;
        if entry.proxy.is_some() {
            return Err(malformed(PROXY));
        }
        let (mirror, authority) = mirror(&url, &entry).map_err(malformed)?;
        mirrors.extend(mirror);
        hosts.push((authority, entry.host.config(dir).map_err(malformed)?));
    }
    let mut registry = Registry { insecure: own.skip_verify, ..Registry::of_host(host, mirrors) };
    let own_config = own.host.config(dir).map_err(malformed)?;
    match server.filter(|server| !server.is_empty()) {
        Some(server) => {
            let own = HostEntry { capabilities: None, ..own };
            let (place, authority) = mirror(&server, &own).map_err(malformed)?;
            registry.server = place;
            hosts.push((authority, own_config));
        }
        None => hosts.extend(of_registry(host, own_config)),
    }
    hosts.retain(|(_, config)| *config != HostConfig::default());
    Ok(HostDirectory { registry, hosts })
}

/// A host as a mirror, none if it is not for pulls, and the host as it stands in addresses.
fn mirror(url: &str, entry: &HostEntry) -> Result<(Option<Mirror>, String), &'static str> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let url: Url = with_scheme.parse().map_err(|_| "a host that is no address")?;
    let scheme = match url.scheme() {
        "http" if url.has_host() => Scheme::Http,
        "https" if url.has_host() => Scheme::Https,
        _ => return Err("a host that is no address"),
    };
    let (root, below) = root(url.path().trim_matches('/'), entry.override_path);
    let slash = if below.is_empty() { "" } else { "/" };
    let host = authority(&url);
    let mirror = pull_from(entry)?.map(|pull_from| Mirror {
        location: format!("{host}{slash}{below}"),
        insecure: entry.skip_verify || scheme == Scheme::Http,
        pull_from,
        root,
        scheme: Some(scheme),
    });
    Ok((mirror, host))
}

/// The path at which the API begins, and the beginning of all repositories' names there.
fn root(path: &str, is_whole: bool) -> (String, String) {
    match path.split_once('/') {
        _ if path.is_empty() && !is_whole => (API.to_owned(), String::new()),
        Some((API, below)) if is_whole => (API.to_owned(), below.to_owned()),
        _ if is_whole || path == API || path.ends_with("/v2") => (path.to_owned(), String::new()),
        _ => (format!("{path}/{API}"), String::new()),
    }
}

/// Which pulls the host is asked for; none if it is not for pulls.
fn pull_from(entry: &HostEntry) -> Result<Option<PullFrom>, &'static str> {
    let all = entry.capabilities.as_deref().unwrap_or_default();
    let all: Vec<_> = all.iter().map(|it| it.to_ascii_lowercase()).collect();
    if all.iter().any(|it| !matches!(&it[..], "pull" | "resolve" | "push")) {
        return Err("a capability that is neither pull, resolve nor push");
    }
    let can = |what: &str| all.is_empty() || all.iter().any(|it| it == what);
    Ok(match (can("pull"), can("resolve")) {
        (false, _) => None,
        (true, false) => Some(PullFrom::DigestOnly),
        (true, true) => Some(PullFrom::All),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(text: &str) -> Result<HostDirectory, String> {
        parse("docker.io", text, Path::new("/c/hosts.toml")).map_err(|error| match error {
            Error::MalformedSettings { source, .. } => source.to_string(),
            error => error.to_string(),
        })
    }

    /// Location, root of the API, whether it may be insecure, what it is asked for.
    type Expected<'a> = (&'a str, &'a str, bool, PullFrom);

    #[track_caller]
    fn check(text: &str, expected: &[Expected<'_>]) {
        let directory = directory(text).unwrap();
        let found = directory.registry.mirrors.iter().map(|mirror| {
            (mirror.location.as_str(), mirror.root.as_str(), mirror.insecure, mirror.pull_from)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_proxy_is_an_error_wherever_it_stands() {
        let own = "proxy = \"http://p.test\"\n[host.\"https://a.test\"]\n";
        let of_host = "[host.\"https://a.test\"]\nproxy = \"http://p.test\"\n";
        for text in [own, of_host] {
            assert!(directory(text).unwrap_err().starts_with("proxy is not understood"), "{text}");
        }
    }

    #[test]
    fn hosts_are_asked_in_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.test"]
              capabilities = ["pull", "Resolve"]
            [host."http://a.test:5000"]
              capabilities = []
            [host."https://b.test:443"]
              capabilities = ["pull"]
              skip_verify = true
              [host."https://b.test:443".header]
                x = "y"
            [host."https://only-push.test"]
              capabilities = ["push"]
            [host."c.test"]
        "#;
        let expected = [
            ("z.test", "v2", false, PullFrom::All),
            ("a.test:5000", "v2", true, PullFrom::All),
            ("b.test", "v2", true, PullFrom::DigestOnly),
            ("c.test", "v2", false, PullFrom::All),
        ];
        check(text, &expected);
        check("", &[]);
    }

    #[test]
    fn a_path_says_where_the_api_begins() {
        let check = |path: &str, is_whole: bool, location: &str, root: &str| {
            let text = format!("[host.\"https://a.test{path}\"]\noverride_path = {is_whole}\n");
            check(&text, &[(location, root, false, PullFrom::All)]);
        };
        check("/", false, "a.test", "v2");
        check("/v2/", false, "a.test", "v2");
        check("/x", false, "a.test", "x/v2");
        check("/x/v2", false, "a.test", "x/v2");
        check("", true, "a.test", "");
        check("/x", true, "a.test", "x");
        check("/v2", true, "a.test", "v2");
        check("/v2/proxy/hub", true, "a.test/proxy/hub", "v2");
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let check = |text: &str, expected: &str| assert_eq!(directory(text).unwrap_err(), expected);
        check("[host.\"https://\"]", "a host that is no address");
        check("[host.\"ftp://a.test\"]", "a host that is no address");
        check("server = \"file:///x\"", "a host that is no address");
        let unknown = "a capability that is neither pull, resolve nor push";
        check("[host.\"https://a.test\"]\ncapabilities = [\"fly\"]", unknown);
        check("[host.\"https://a.test\"]\nheader = \"hunter2\"", "header is no table");
    }

    #[test]
    fn certificates_are_those_of_the_host_that_they_stand_under() {
        let hosts = |text: &str| {
            let directory = directory(text).unwrap();
            let shown = |(host, config): &(String, HostConfig)| {
                let CertificateFile::Authority(path) = &config.tls.0[0] else {
                    return "no authority".to_owned();
                };
                format!("{host} {}", path.display())
            };
            directory.hosts.iter().map(shown).collect::<Vec<_>>()
        };
        let text = r#"
            ca = "own.pem"
            [host."https://z.test:5000/v2/x"]
              override_path = true
              ca = "z.pem"
            [host."https://y.test"]
        "#;
        assert_eq!(hosts(text), ["z.test:5000 /c/z.pem", "registry-1.docker.io /c/own.pem"]);
        let text = format!("server = \"http://s.test\"\n{text}");
        assert_eq!(hosts(&text)[1], "s.test /c/own.pem");
    }

    #[test]
    fn directories_are_named_for_registries() {
        let check = |name: &str, expected: &str| assert_eq!(registry_of(name), expected);
        check("docker.io", "docker.io");
        check("r.test:5000", "r.test:5000");
        check("r.test_5000_", "r.test:5000");
        check("_default", EVERYTHING);
        check("_", "_");
    }
}
