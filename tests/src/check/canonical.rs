//! The write profile of our own streams.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Problem, Report, parse};
use crate::image::index::is_manifest;
use crate::tarball::{self, Member};

/// Checks order, headers, names and end of a stream that is known to be sound.
pub(super) fn check(bytes: &[u8], report: &Report) -> Result<(), Problem> {
    let members = tarball::read(bytes)?;
    let end = members.last().map_or(0, |last| last.content.end.next_multiple_of(512));
    if bytes.len() != end + 1024 {
        let extra = bytes.len() - end;
        return Err(Problem(format!("{extra} bytes follow the last member, not 1024")));
    }
    for member in &members {
        header(member)?;
    }
    order(bytes, &members, report)?;
    let content = |name: &str| {
        let member = members.iter().find(|member| member.path == name.as_bytes());
        member.map(|member| &bytes[member.content.clone()]).unwrap_or_default()
    };
    names(&parse("index.json", content("index.json"))?)?;
    tags(&parse("manifest.json", content("manifest.json"))?)
}

fn header(member: &Member) -> Result<(), Problem> {
    let name = String::from_utf8_lossy(&member.path);
    let found = (member.flag, member.mode, member.uid, member.gid, member.mtime);
    let (flag, mode) = if name.ends_with('/') { (b'5', 0o755) } else { (b'0', 0o644) };
    if found != (flag, mode, 0, 0, (0, 0)) || (flag == b'5' && !member.content.is_empty()) {
        return Err(Problem(format!("{name}: type, mode, uid, gid, mtime are {found:?}")));
    }
    if !member.records.is_empty() {
        return Err(Problem(format!("{name} has a PAX header")));
    }
    Ok(())
}

fn order(bytes: &[u8], members: &[Member], report: &Report) -> Result<(), Problem> {
    let mut expected: Vec<String> =
        ["oci-layout", "index.json", "manifest.json"].map(str::to_owned).into();
    if report.members.iter().any(|member| member == "strata.json") {
        expected.push("strata.json".to_owned());
    }
    let index = members.iter().find(|member| member.path == b"index.json");
    let index = index.ok_or("index.json is missing")?;
    let index = parse("index.json", &bytes[index.content.clone()])?;
    let mut seen = BTreeSet::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let mut blobs = Blobs::default();
        walk(bytes, members, entry, &mut blobs)?;
        let hexes = blobs.indexes.into_iter().chain(blobs.manifests).chain(blobs.rest);
        let there = hexes.filter(|hex| report.blobs.contains(&format!("sha256:{hex}")));
        for hex in there {
            if seen.insert(hex.clone()) {
                if seen.len() == 1 {
                    expected.extend(["blobs/", "blobs/sha256/"].map(str::to_owned));
                }
                expected.push(format!("blobs/sha256/{hex}"));
            }
        }
    }
    if let Some((found, wanted)) =
        report.members.iter().zip(&expected).find(|(found, wanted)| found != wanted)
    {
        return Err(Problem(format!("{found} stands where {wanted} belongs")));
    }
    if report.members.len() != expected.len() {
        return Err(Problem(format!(
            "{} members, {} belong there",
            report.members.len(),
            expected.len()
        )));
    }
    Ok(())
}

/// The blobs of one name: indexes, manifests, then configs and layers.
#[derive(Default)]
struct Blobs {
    indexes: Vec<String>,
    manifests: Vec<String>,
    rest: Vec<String>,
}

fn walk(
    bytes: &[u8],
    members: &[Member],
    descriptor: &Value,
    blobs: &mut Blobs,
) -> Result<(), Problem> {
    let hex = descriptor["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
    let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
    if !is_manifest(media_type) {
        blobs.rest.push(hex.to_owned());
        return Ok(());
    }
    let is_index = ["image.index.", "manifest.list."].iter().any(|part| media_type.contains(part));
    let list = if is_index { &mut blobs.indexes } else { &mut blobs.manifests };
    list.push(hex.to_owned());
    let path = format!("blobs/sha256/{hex}");
    let Some(member) = members.iter().find(|member| member.path == path.as_bytes()) else {
        return Ok(());
    };
    let json = parse(&path, &bytes[member.content.clone()])?;
    for entry in json["manifests"].as_array().into_iter().flatten() {
        walk(bytes, members, entry, blobs)?;
    }
    let layers = json["layers"].as_array().into_iter().flatten();
    for blob in json.get("config").into_iter().chain(layers) {
        let digest = blob["digest"].as_str().unwrap_or_default();
        blobs.rest.push(digest.trim_start_matches("sha256:").to_owned());
    }
    Ok(())
}

fn names(index: &Value) -> Result<(), Problem> {
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let annotations = &entry["annotations"];
        let full = annotations["io.containerd.image.name"].as_str();
        let tag = annotations["org.opencontainers.image.ref.name"].as_str();
        match (full, tag) {
            (Some(full), Some(tag)) if full.ends_with(&format!(":{tag}")) => {}
            (None, None) => {}
            (Some(full), None) if full.contains('@') => {}
            _ => return Err(Problem(format!("index.json: names {full:?} and {tag:?}"))),
        }
    }
    Ok(())
}

fn tags(manifest: &Value) -> Result<(), Problem> {
    for entry in manifest.as_array().into_iter().flatten() {
        for tag in entry["RepoTags"].as_array().into_iter().flatten() {
            let host = tag.as_str().and_then(|tag| tag.split_once('/')).map(|(host, _)| host);
            let full = |host: &str| host.contains(['.', ':']) || host == "localhost";
            if !host.is_some_and(full) {
                return Err(Problem(format!("manifest.json: {tag} is not a full name")));
            }
        }
        let layers = entry["Layers"].as_array().into_iter().flatten();
        for path in layers.chain([&entry["Config"]]) {
            if !path.as_str().is_some_and(|path| path.starts_with("blobs/sha256/")) {
                return Err(Problem(format!("manifest.json: {path} is not a blob's path")));
            }
        }
    }
    Ok(())
}
