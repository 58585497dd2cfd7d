//! `registries.conf`, version 2, as podman, skopeo and buildah read it.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{API, By, Mirror, Registry};
use crate::error::{Cause, Error};
use crate::text::one_line;

/// The key of a proxy, which newer tools may understand.
const PROXY: &str = "proxy";
/// Keys for what nobody here does: short names, and helpers that are named elsewhere as well.
const OTHERS: [&str; 5] = [
    "unqualified-search-registries",
    "short-name-mode",
    "credential-helpers",
    "additional-layer-store-auth-helper",
    "aliases",
];

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
    /// Everything else.
    #[serde(flatten)]
    rest: toml::Table,
    /// The table of version 1, whose words nobody here understands.
    registries: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorEntry>,
    #[serde(flatten)]
    rest: toml::Table,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorEntry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
    #[serde(flatten)]
    rest: toml::Table,
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) registries: Vec<Registry>,
    /// What of it nobody here understands, in words.
    pub(super) doubts: Vec<String>,
}

/// Reads a file. A `proxy` that can't be obeyed makes its registry malformed: to go past it would be worse.
pub(super) fn parse(text: &str, path: &Path) -> Result<Said, Error> {
    let malformed = |reason: &str| Error::MalformedSettings {
        path: path.to_owned(),
        source: Cause::of(&std::io::Error::other(reason.to_owned())),
    };
    let file: File = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    if file.registries.is_some() {
        return Err(malformed("version 1 of registries.conf; write [[registry]] instead"));
    }
    let unknown = file.unknown();
    let doubt = |key| format!("{}: {key} is not known here", one_line(&path.display().to_string()));
    let doubts = unknown.into_iter().map(doubt).collect();
    let registry = |entry: Entry| {
        let has_proxy = entry.rest.contains_key(PROXY)
            || entry.mirror.iter().any(|mirror| mirror.rest.contains_key(PROXY));
        let mut registry = registry(entry).map_err(malformed)?;
        if has_proxy {
            let reason = "proxy is not understood; set HTTPS_PROXY and NO_PROXY instead";
            let cause = Cause::of(&std::io::Error::other(reason));
            registry.malformed = Some((path.to_owned(), cause));
        }
        Ok(registry)
    };
    let registries = file.registry.into_iter().map(registry).collect::<Result<_, Error>>()?;
    Ok(Said { registries, doubts })
}

impl File {
    /// The keys that nobody here understands, as they stand in the file.
    fn unknown(&self) -> Vec<String> {
        let own = self.rest.keys().filter(|key| !OTHERS.contains(&&key[..])).cloned();
        let of = |table: &str, rest: &toml::Table| {
            let keys = rest.keys().filter(|key| *key != PROXY);
            keys.map(|key| format!("{key} in {table}")).collect::<Vec<_>>()
        };
        let of_registries = self.registry.iter().flat_map(|it| of("[[registry]]", &it.rest));
        let mirrors = self.registry.iter().flat_map(|it| &it.mirror);
        let of_mirrors = mirrors.flat_map(|it| of("[[registry.mirror]]", &it.rest));
        own.chain(of_registries).chain(of_mirrors).collect()
    }
}

fn registry(entry: Entry) -> Result<Registry, &'static str> {
    let is_wildcard = entry.prefix.starts_with("*.");
    if entry.location.is_empty() && !is_wildcard {
        return Err("a registry without a location");
    }
    let by_digest = entry.mirror_by_digest_only;
    let mirrors = entry.mirror.into_iter().map(|mirror| {
        let by = match &mirror.pull_from_mirror[..] {
            "" if by_digest => By::Digest,
            "" | "all" => By::All,
            "digest-only" => By::Digest,
            "tag-only" => By::Tag,
            _ => return Err("pull-from-mirror is neither all, digest-only nor tag-only"),
        };
        let (location, insecure) = (trimmed(&mirror.location), mirror.insecure);
        Ok(Mirror { location, insecure, by, root: API.to_owned(), scheme: None })
    });
    let mirrors = mirrors.collect::<Result<_, _>>()?;
    let location = trimmed(&entry.location);
    let prefix = if entry.prefix.is_empty() { location.clone() } else { trimmed(&entry.prefix) };
    let (insecure, blocked) = (entry.insecure, entry.blocked);
    let (server, says_namespace, malformed) = (None, false, None);
    Ok(Registry { prefix, location, insecure, blocked, mirrors, server, says_namespace, malformed })
}

fn trimmed(location: &str) -> String {
    location.trim_end_matches('/').to_owned()
}
