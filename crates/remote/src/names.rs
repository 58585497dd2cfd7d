//! The words of the command line that are no image names: repositories and registries.

use std::error::Error;
use std::str::FromStr;

use layer_format::Reference;
use registry::LoginKey;

/// The address under which docker keeps the login for Docker Hub.
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";

/// A repository of a registry, without a tag.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryName(Reference);

impl RepositoryName {
    /// The name of some image in it.
    pub(crate) fn any(&self) -> Reference {
        self.0.clone()
    }

    /// The name as people write it.
    pub(crate) fn shown(&self) -> String {
        without_tag(&self.0)
    }
}

impl FromStr for RepositoryName {
    // Not anyhow's, in which the parser of arguments doesn't find the error of a name.
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_registry(text) {
            let is_one = "a registry, and no repository of it";
            return Err(format!("{is_one}: remote repositories {text} lists those it has").into());
        }
        let reference: Reference = text.parse()?;
        let last = text.rsplit('/').next().unwrap_or(text);
        if last.contains([':', '@']) {
            return Err(format!("a repository has no tag: {}", without_tag(&reference)).into());
        }
        Ok(Self(reference))
    }
}

/// Whether a text names a registry alone: a host with a port, or one that has a dot.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    !text.contains('/') && is_port && (host.contains('.') || host == "localhost" && port.is_some())
}

/// The name of an image's repository as people write it.
pub(crate) fn without_tag(reference: &Reference) -> String {
    let shown = reference.to_string();
    let name = shown.split('@').next().unwrap_or_default();
    match reference.tag() {
        Some(tag) => name.strip_suffix(tag).and_then(|it| it.strip_suffix(':')).unwrap_or(name),
        None => name,
    }
    .to_owned()
}

/// A registry, as it stands in image names.
#[derive(Clone, Debug)]
pub(crate) struct HostName(String);

impl HostName {
    /// `HOST` or `HOST:PORT`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of some image there.
    pub(crate) fn any(&self) -> Reference {
        let name = format!("{}/any", self.0);
        name.parse().expect("it was parsed before")
    }
}

impl FromStr for HostName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text.contains("://") {
            anyhow::bail!("a registry is HOST or HOST:PORT, without a scheme");
        }
        if text.contains('/') {
            anyhow::bail!("a registry is HOST or HOST:PORT, without a path");
        }
        let reference: Reference = format!("{text}/any").parse()?;
        // A word without a dot or a port is the first part of a path at Docker Hub.
        let is_host = reference.repository() == "any"
            || text == "index.docker.io"
            || text == "registry-1.docker.io"
            || text == "docker.io";
        if !is_host {
            anyhow::bail!("a registry's host has a dot or a port, or is localhost");
        }
        Ok(Self(reference.registry().to_owned()))
    }
}

/// What a login is for: a registry, or the repositories there whose paths begin in some way.
#[derive(Clone, Debug)]
pub(crate) struct LoginName {
    host: HostName,
    namespace: Option<String>,
    shown: String,
}

impl LoginName {
    /// `HOST` or `HOST:PORT`.
    pub(crate) fn host(&self) -> &str {
        self.host.as_str()
    }

    /// The name as people write it.
    pub(crate) fn as_str(&self) -> &str {
        &self.shown
    }

    /// The same for files of logins.
    pub(crate) fn key(&self) -> LoginKey {
        LoginKey { registry: self.host().to_owned(), namespace: self.namespace.clone() }
    }
}

impl FromStr for LoginName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // Docker Hub's own address for logins, as docker's files have it.
        let text = if text == HUB_ADDRESS { "docker.io" } else { text };
        if text.contains("://") {
            anyhow::bail!("a registry is HOST or HOST:PORT, without a scheme");
        }
        let (host, namespace) = match text.split_once('/') {
            Some((host, namespace)) => (host, Some(namespace.trim_end_matches('/'))),
            None => (text, None),
        };
        let host: HostName = host.parse()?;
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        if let Some(namespace) = namespace {
            let name: Reference = format!("{}/{namespace}", host.as_str()).parse()?;
            if namespace.contains([':', '@']) {
                anyhow::bail!("a login is for HOST or HOST/PATH, without a tag: {}", name.name());
            }
        }
        let shown = match namespace {
            Some(namespace) => format!("{}/{namespace}", host.as_str()),
            None => host.as_str().to_owned(),
        };
        Ok(Self { host, namespace: namespace.map(str::to_owned), shown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_no_tag() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = text.parse::<RepositoryName>();
            let found = found.map(|it| it.shown()).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("nginx", Ok("nginx"));
        check("docker.io/library/nginx", Ok("nginx"));
        check("r.test:5000/a/b", Ok("r.test:5000/a/b"));
        check("r.test:5000/a:1", Err("a repository has no tag: r.test:5000/a"));
        check("nginx:latest", Err("a repository has no tag: nginx"));
        // Docker's rule: what has neither dot nor port is a repository of the hub.
        for host in ["localhost:5000", "r.test", "r.test:5000"] {
            let text = format!(
                "a registry, and no repository of it: remote repositories {host} lists those it has"
            );
            check(host, Err(&text));
        }
        let pinned = format!("r.test/a@sha256:{:064}", 0);
        check(&pinned, Err("a repository has no tag: r.test/a"));
        assert!("docker://nginx".parse::<RepositoryName>().is_err());
    }

    #[test]
    fn a_registry_is_a_host() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<HostName>().ok();
            assert_eq!(found.as_ref().map(HostName::as_str), expected, "{text}");
        };
        check("r.test", Some("r.test"));
        check("localhost", Some("localhost"));
        check("127.0.0.1:5000", Some("127.0.0.1:5000"));
        check("[::1]:5000", Some("[::1]:5000"));
        check("docker.io", Some("docker.io"));
        check("index.docker.io", Some("docker.io"));
        // ggcr#1729
        for text in ["", "nginx", "https://r.test", "r.test/a", "a b.test", "r.test:x"] {
            check(text, None);
        }
    }
    #[test]
    fn a_login_may_be_for_a_part_of_a_registry() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = text.parse::<LoginName>().ok();
            let found = found.as_ref().map(|it| (it.host(), it.namespace.as_deref()));
            assert_eq!(found, expected, "{text}");
        };
        check("r.test", Some(("r.test", None)));
        check("r.test/", Some(("r.test", None)));
        check("r.test:5000/me/team", Some(("r.test:5000", Some("me/team"))));
        check("https://index.docker.io/v1/", Some(("docker.io", None)));
        for text in ["", "nginx", "https://r.test", "r.test/a:1", "r.test/UPPER", "me/team"] {
            check(text, None);
        }
    }
}
