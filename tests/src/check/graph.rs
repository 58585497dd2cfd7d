//! From index.json down to the layers' bytes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Files, Problem, parse};
use crate::image::codec::decode;
use crate::image::digest;
use crate::image::index::is_manifest;

/// What a walk came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) names: Vec<String>,
    pub(super) digests: Vec<String>,
    pub(super) manifests: Vec<String>,
    pub(super) diff_ids: Vec<String>,
    pub(super) absent: Vec<String>,
    pub(super) reached: BTreeSet<String>,
}

/// Follows every descriptor of index.json.
pub(super) fn walk(files: &Files, index: &Value) -> Result<Found, Problem> {
    let mut found = Found::default();
    for entry in list(index, "manifests", "index.json")? {
        let annotations = &entry["annotations"];
        let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .iter()
            .find_map(|key| annotations[key].as_str());
        if let Some(name) = name {
            found.names.push(name.to_owned());
            found.digests.push(entry["digest"].as_str().unwrap_or_default().to_owned());
        }
        manifest(files, entry, &mut found, 0)?;
    }
    Ok(found)
}

fn list<'a>(json: &'a Value, key: &str, what: &str) -> Result<&'a Vec<Value>, Problem> {
    json[key].as_array().ok_or_else(|| Problem(format!("{what} has no list `{key}`")))
}

/// The bytes of a descriptor, which must have its size; nothing when the blob is absent.
fn fetch<'a>(
    files: &'a Files,
    descriptor: &Value,
    found: &mut Found,
) -> Result<Option<&'a [u8]>, Problem> {
    let (Some(digest), Some(size), Some(_)) = (
        descriptor["digest"].as_str(),
        descriptor["size"].as_u64(),
        descriptor["mediaType"].as_str(),
    ) else {
        return Err(Problem(format!("not a descriptor: {descriptor}")));
    };
    let first = found.reached.insert(digest.to_owned());
    let Some(bytes) = files.blob(digest) else {
        if first {
            found.absent.push(digest.to_owned());
        }
        return Ok(None);
    };
    if bytes.len() as u64 != size {
        return Err(Problem(format!("{digest} has {} bytes, its descriptor {size}", bytes.len())));
    }
    Ok(Some(bytes))
}

fn manifest(
    files: &Files,
    descriptor: &Value,
    found: &mut Found,
    depth: usize,
) -> Result<(), Problem> {
    if depth > 8 {
        return Err("indexes are nested deeper than 8".into());
    }
    let Some(bytes) = fetch(files, descriptor, found)? else { return Ok(()) };
    let name = descriptor["digest"].as_str().unwrap_or_default();
    let json = parse(name, bytes)?;
    if let (Some(own), Some(claimed)) =
        (json["mediaType"].as_str(), descriptor["mediaType"].as_str())
        && own != claimed
    {
        return Err(Problem(format!("{name} is {own}, its descriptor says {claimed}")));
    }
    if json["manifests"].is_array() {
        for entry in list(&json, "manifests", name)? {
            manifest(files, entry, found, depth + 1)?;
        }
        return Ok(());
    }
    if !is_manifest(descriptor["mediaType"].as_str().unwrap_or_default()) {
        return Ok(());
    }
    image(files, descriptor, &json, found)
}

fn image(
    files: &Files,
    descriptor: &Value,
    json: &Value,
    found: &mut Found,
) -> Result<(), Problem> {
    let name = descriptor["digest"].as_str().unwrap_or_default();
    let config = fetch(files, &json["config"], found)?;
    let mut layers = Vec::new();
    for layer in list(json, "layers", name)? {
        layers.push((layer, fetch(files, layer, found)?));
    }
    let attestation =
        descriptor["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
    let Some(config) = config.filter(|_| !attestation) else { return Ok(()) };
    found.manifests.push(name.to_owned());
    let config = parse("a config", config)?;
    let diff_ids = list(&config["rootfs"], "diff_ids", &format!("the config of {name}"))?;
    if diff_ids.len() != layers.len() {
        let (ids, layers) = (diff_ids.len(), layers.len());
        return Err(Problem(format!("{name}: {layers} layers and {ids} diff_ids")));
    }
    for (diff_id, (layer, bytes)) in diff_ids.iter().zip(layers) {
        found.diff_ids.push(diff_id.as_str().unwrap_or_default().to_owned());
        if let Some(bytes) = bytes {
            diff(diff_id, layer, bytes)?;
        }
    }
    Ok(())
}

fn diff(diff_id: &Value, layer: &Value, bytes: &[u8]) -> Result<(), Problem> {
    let name = layer["digest"].as_str().unwrap_or_default();
    let plain = decode(bytes).map_err(|error| format!("{name}: {error}"))?;
    let real = digest(&plain);
    if *diff_id != real.as_str() {
        return Err(Problem(format!("{name} unpacks to {real}, the config says {diff_id}")));
    }
    let media_type = layer["mediaType"].as_str().unwrap_or_default();
    let claims = (media_type.contains("gzip"), media_type.contains("zstd"));
    let is = (bytes.starts_with(&[0x1f, 0x8b]), bytes != plain && !bytes.starts_with(&[0x1f]));
    if claims != is {
        return Err(Problem(format!("{name} is not what {media_type} means")));
    }
    Ok(())
}
