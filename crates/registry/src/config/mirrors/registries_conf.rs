//! `registries.conf`, version 2, as podman, skopeo and buildah read it.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::registry::{API, MalformedFile, Mirror, PullFrom, Registry};
use crate::base::{Cause, Error, one_line};

/// The key of a proxy, which newer tools may understand.
const PROXY: &str = "proxy";
/// Keys for what these programs don't do: short names, and helpers that are named elsewhere as well.
const OTHERS: [&str; 5] = [
    "unqualified-search-registries",
    "short-name-mode",
    "credential-helpers",
    "additional-layer-store-auth-helper",
    "aliases",
];

#[derive(Default, Deserialize)]
struct ConfFile {
    #[serde(default)]
    registry: Vec<RegistryEntry>,
    /// Everything else.
    #[serde(flatten)]
    rest: toml::Table,
    /// The table of version 1, which is refused.
    registries: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryEntry {
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

/// The values of a file.
#[derive(Debug)]
pub(super) struct RegistriesConf {
    pub(super) registries: Vec<Registry>,
    /// Its keys that are not known here, in words.
    pub(super) unknown_keys: Vec<String>,
}

/// Reads a file. A `proxy` that can't be obeyed makes its registry malformed: to go past it would be worse.
pub(super) fn parse(text: &str, path: &Path) -> Result<RegistriesConf, Error> {
    let malformed = |reason: &str| Error::malformed_settings(path, reason);
    let file: ConfFile = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    if file.registries.is_some() {
        return Err(malformed("version 1 of registries.conf; write [[registry]] instead"));
    }
    let shown = one_line(&path.display().to_string());
    let unknown = file.unknown().into_iter();
    let unknown_keys = unknown.map(|key| format!("{shown}: {key} is not known here")).collect();
    let mut registries = vec![];
    for entry in file.registry {
        let has_proxy = entry.has_proxy();
        let mut registry = registry(entry).map_err(malformed)?;
        if has_proxy {
            let reason = "proxy is not understood; set HTTPS_PROXY and NO_PROXY instead";
            let reason = Cause::said(reason);
            registry.malformed = Some(MalformedFile { path: path.to_owned(), reason });
        }
        registries.push(registry);
    }
    Ok(RegistriesConf { registries, unknown_keys })
}

impl ConfFile {
    /// The keys that are not known here, as they stand in the file.
    fn unknown(&self) -> Vec<String> {
        let own = self.rest.keys().filter(|key| !OTHERS.contains(&key.as_str())).cloned();
        let of_registries =
            self.registry.iter().flat_map(|entry| unknown_in("[[registry]]", &entry.rest));
        let mirrors = self.registry.iter().flat_map(|entry| &entry.mirror);
        let of_mirrors = mirrors.flat_map(|entry| unknown_in("[[registry.mirror]]", &entry.rest));
        own.chain(of_registries).chain(of_mirrors).collect()
    }
}

/// The unknown keys of a table.
fn unknown_in(table: &str, rest: &toml::Table) -> impl Iterator<Item = String> {
    rest.keys().filter(|key| *key != PROXY).map(move |key| format!("{key} in {table}"))
}

impl RegistryEntry {
    /// Whether a proxy is named for the registry or for one of its mirrors.
    fn has_proxy(&self) -> bool {
        let mirrors = self.mirror.iter().map(|mirror| &mirror.rest);
        mirrors.chain([&self.rest]).any(|rest| rest.contains_key(PROXY))
    }
}

/// A registry as an entry describes it; the error is the reason why the entry is malformed.
fn registry(entry: RegistryEntry) -> Result<Registry, &'static str> {
    let is_wildcard = entry.prefix.starts_with("*.");
    if entry.location.is_empty() && !is_wildcard {
        return Err("a registry without a location");
    }
    let by_digest = entry.mirror_by_digest_only;
    let mirrors = entry.mirror.into_iter().map(|it| mirror(&it, by_digest));
    let mirrors = mirrors.collect::<Result<_, _>>()?;
    let location = trimmed(&entry.location);
    let prefix = if entry.prefix.is_empty() { location.clone() } else { trimmed(&entry.prefix) };
    Ok(Registry {
        prefix,
        location,
        insecure: entry.insecure,
        blocked: entry.blocked,
        mirrors,
        ..Registry::default()
    })
}

fn mirror(entry: &MirrorEntry, by_digest: bool) -> Result<Mirror, &'static str> {
    let pull_from = match entry.pull_from_mirror.as_str() {
        "" if by_digest => PullFrom::DigestOnly,
        "" | "all" => PullFrom::All,
        "digest-only" => PullFrom::DigestOnly,
        "tag-only" => PullFrom::TagOnly,
        _ => return Err("pull-from-mirror is neither all, digest-only nor tag-only"),
    };
    Ok(Mirror {
        location: trimmed(&entry.location),
        insecure: entry.insecure,
        pull_from,
        root: API.to_owned(),
        scheme: None,
    })
}

fn trimmed(location: &str) -> String {
    location.trim_end_matches('/').to_owned()
}
