//! manifest.json, alone or beside index.json.

use serde_json::Value;

use super::{Files, Problem, Report, parse};
use crate::image::codec::decode;
use crate::image::digest;

/// Checks each image of manifest.json; where there is an index.json, the two must agree.
pub(super) fn check(
    files: &Files,
    manifest: &Value,
    has_index: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let list = manifest.as_array().ok_or("manifest.json is not a list")?;
    let mut names = Vec::new();
    for entry in list {
        let config = file(files, &entry["Config"])?.ok_or("manifest.json: no Config")?;
        let diff_ids = layers(files, entry, config)?;
        let known = report.diff_ids.windows(diff_ids.len().max(1)).any(|some| some == diff_ids);
        if has_index && !known && !diff_ids.is_empty() {
            return Err("manifest.json has an image that index.json has not".into());
        }
        for tag in entry["RepoTags"].as_array().into_iter().flatten() {
            let tag = tag.as_str().ok_or("manifest.json: a RepoTag is not a string")?;
            names.push(tag.to_owned());
            if !has_index {
                report.digests.push(digest(config));
            }
        }
        if !has_index {
            report.diff_ids.extend(diff_ids);
        }
    }
    if !has_index {
        report.names = names;
        return Ok(());
    }
    let short = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name).to_owned()
    };
    // A name with a digest can be no tag of Docker's.
    let tagged = report.names.iter().filter(|name| !name.contains('@'));
    let mut of_index: Vec<String> = tagged.map(|name| short(name)).collect();
    let mut of_manifest: Vec<String> = names.iter().map(|name| short(name)).collect();
    of_index.sort();
    of_manifest.sort();
    if of_index != of_manifest {
        return Err(Problem(format!(
            "index.json names {of_index:?}, manifest.json {of_manifest:?}"
        )));
    }
    Ok(())
}

/// The diff ids of one image, which its layers must have.
fn layers(files: &Files, entry: &Value, config: &[u8]) -> Result<Vec<String>, Problem> {
    let config = parse("a config", config)?;
    let ids = config["rootfs"]["diff_ids"].as_array().ok_or("a config has no diff_ids")?;
    let paths = entry["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ids.len() != paths.len() {
        let (layers, ids) = (paths.len(), ids.len());
        return Err(Problem(format!("manifest.json: {layers} Layers and {ids} diff_ids")));
    }
    let mut diff_ids = Vec::new();
    for (id, path) in ids.iter().zip(paths) {
        diff_ids.push(id.as_str().unwrap_or_default().to_owned());
        let Some(bytes) = file(files, path)? else { continue };
        let real = digest(&decode(bytes).map_err(|error| format!("{path}: {error}"))?);
        if *id != real.as_str() {
            return Err(Problem(format!("{path} unpacks to {real}, the config says {id}")));
        }
    }
    Ok(diff_ids)
}

/// The bytes at a path of manifest.json, through symbolic links. Blobs may be absent: whether
/// that is right is index.json's question.
fn file<'a>(files: &'a Files, path: &Value) -> Result<Option<&'a [u8]>, Problem> {
    let path = path.as_str().ok_or("manifest.json: a path is not a string")?;
    let mut at = path.to_owned();
    for _ in 0..8 {
        if let Some(bytes) = files.by_path.get(&at) {
            return Ok(Some(bytes));
        }
        let Some(target) = files.links.get(&at) else { break };
        let parent = at.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
        at = join(parent, target);
    }
    if path.starts_with("blobs/") {
        return Ok(None);
    }
    Err(Problem(format!("manifest.json: {path} is not there")))
}

fn join(parent: &str, target: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in parent.split('/').chain(target.split('/')) {
        match word {
            "" | "." => {}
            ".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    words.join("/")
}
