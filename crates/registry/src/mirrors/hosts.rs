//! containerd's `certs.d/HOST/hosts.toml`, as far as it names mirrors for pulls.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::{By, Mirror, Registry};
use crate::error::{Cause, Error};

/// What stands for all registries that have no directory of their own. Its mirrors can't tell for which registry they are
/// asked, unless they know containerd's own extension of the protocol.
const DEFAULT: &str = "_default";

#[derive(Deserialize)]
struct File {
    /// In the order of the file, in which they are asked.
    #[serde(default)]
    host: toml::Table,
}

#[derive(Deserialize)]
struct Entry {
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

/// The registries that have a directory here, and their files.
pub(super) fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name != DEFAULT).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), dir.join(name).join("hosts.toml"))).collect()
}

/// Reads a registry's file.
pub(super) fn parse(host: &str, text: &str, path: &Path) -> Result<Registry, Error> {
    let malformed = |reason: &str| Error::MalformedSettings {
        path: path.to_owned(),
        source: Cause::of(&std::io::Error::other(reason.to_owned())),
    };
    let file: File = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    let mut mirrors = vec![];
    for (url, entry) in file.host {
        let entry: Entry =
            entry.try_into().map_err(|error: toml::de::Error| malformed(error.message()))?;
        mirrors.extend(mirror(&url, &entry).map_err(malformed)?);
    }
    let location = host.to_owned();
    Ok(Registry { prefix: location.clone(), location, insecure: false, blocked: false, mirrors })
}

/// A host as a mirror; none if it is not for pulls.
fn mirror(url: &str, entry: &Entry) -> Result<Option<Mirror>, &'static str> {
    let can =
        |what: &str| entry.capabilities.as_ref().is_none_or(|all| all.iter().any(|it| it == what));
    let by = match (can("pull"), can("resolve")) {
        (false, _) => return Ok(None),
        (true, false) => By::Digest,
        (true, true) => By::All,
    };
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let url: Url = with_scheme.parse().map_err(|_| "a host that is no address")?;
    let host = url.host_str().ok_or("a host that is no address")?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_matches('/');
    let below = match path {
        "" | "v2" => "",
        path if entry.override_path => {
            path.strip_prefix("v2/").ok_or("a host whose path doesn't begin with /v2")?
        }
        _ => return Err("a host with a path and without override_path"),
    };
    let slash = if below.is_empty() { "" } else { "/" };
    let insecure = entry.skip_verify || url.scheme() == "http";
    Ok(Some(Mirror { location: format!("{host}{port}{slash}{below}"), insecure, by }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, bool, By)], &str>) {
        let parsed = parse("docker.io", text, Path::new("/c/hosts.toml"));
        let found = parsed.map_err(|error| match error {
            Error::MalformedSettings { source, .. } => source.to_string(),
            error => error.to_string(),
        });
        let shown = |mirror: &Mirror| (mirror.location.clone(), mirror.insecure, mirror.by);
        let found = found.map(|registry| registry.mirrors.iter().map(shown).collect::<Vec<_>>());
        let owned = |all: &[(&str, bool, By)]| {
            all.iter().map(|(name, insecure, by)| ((*name).to_owned(), *insecure, *by)).collect()
        };
        assert_eq!(found, expected.map(owned).map_err(str::to_owned));
    }

    #[test]
    fn hosts_are_asked_in_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.test"]
              capabilities = ["pull", "resolve"]
              ca = "/x.pem"
            [host."http://a.test:5000"]
            [host."https://harbor.test/v2/proxy/hub"]
              override_path = true
              capabilities = ["pull"]
              skip_verify = true
            [host."https://only-push.test"]
              capabilities = ["push"]
        "#;
        let expected = [
            ("z.test", false, By::All),
            ("a.test:5000", true, By::All),
            ("harbor.test/proxy/hub", true, By::Digest),
        ];
        check(text, Ok(&expected));
        check("", Ok(&[]));
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        check("[host.\"https://a.test/x\"]", Err("a host with a path and without override_path"));
        check("[host.\"https://\"]", Err("a host that is no address"));
    }
}
