//! The words of the command line that are no image names: repositories and registries.

use std::str::FromStr;

use layer_format::Reference;

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
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let reference: Reference = text.parse()?;
        let last = text.rsplit('/').next().unwrap_or(text);
        if last.contains([':', '@']) {
            anyhow::bail!("a repository has no tag: {}", without_tag(&reference));
        }
        Ok(Self(reference))
    }
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
}
