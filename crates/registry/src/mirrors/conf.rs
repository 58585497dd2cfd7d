//! `registries.conf`, version 2, as podman, skopeo and buildah read it.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{API, By, Mirror, Registry};
use crate::error::{Cause, Error};

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
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
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorEntry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

/// Reads a file's registries.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Registry>, Error> {
    let malformed = |reason: &str| Error::MalformedSettings {
        path: path.to_owned(),
        source: Cause::of(&std::io::Error::other(reason.to_owned())),
    };
    let file: File = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    if file.registries.is_some() {
        return Err(malformed("version 1 of registries.conf; write [[registry]] instead"));
    }
    file.registry.into_iter().map(|entry| registry(entry).map_err(malformed)).collect()
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
