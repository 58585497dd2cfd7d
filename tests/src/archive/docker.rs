//! docker-archives without an OCI layout.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::parts::Parts;
use super::{Kind, Member, Named, digest};

/// One layer's directory in the legacy form: the id, the parent's id, the diff id, the tar.
struct Legacy<'a> {
    id: String,
    parent: Option<String>,
    diff_id: &'a str,
    tar: &'a [u8],
}

/// The layers under ids that depend on all layers below.
fn legacy<'a>(parts: &'a Parts<'_>) -> Vec<Legacy<'a>> {
    let mut stack: Vec<Legacy<'_>> = Vec::new();
    for (n, (_, diff_id, tar)) in parts.layers.iter().enumerate() {
        let parent = stack.last().map(|below| below.id.clone());
        let top = if n + 1 == parts.layers.len() { parts.config.hex() } else { "" };
        let id = digest(format!("{parent:?} {diff_id} {top}").as_bytes());
        stack.push(Legacy { id: id[7..].to_owned(), parent, diff_id, tar });
    }
    stack
}

fn v1_config(layer: &Legacy<'_>, created: &Value) -> Value {
    let mut config = json!({ "id": layer.id, "created": created, "os": "linux" });
    if let Some(parent) = &layer.parent {
        config["parent"] = json!(parent);
    }
    config
}

/// `repositories`: name, tag, the id of the topmost layer.
fn repositories(tops: &[(String, String)]) -> Value {
    let mut map = json!({});
    for (name, id) in tops {
        let (repository, tag) = name.rsplit_once(':').unwrap_or_default();
        map[repository][tag] = json!(id);
    }
    map
}

/// Sorted by path as the tar of a temporary directory; manifest.json and repositories at the end
/// since all else begins with hexadecimal digits.
pub(super) fn docker_24(images: &[Named]) -> Vec<Member> {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut tops = Vec::new();
    let mut list = Vec::new();
    for image in images {
        let parts = Parts::new(image);
        let layers = legacy(&parts);
        for layer in &layers {
            let id = &layer.id;
            let kept = first.entry(layer.diff_id.to_owned()).or_insert_with(|| id.clone());
            let path = format!("{id}/layer.tar");
            let tar = if kept == id {
                Member::file(path, layer.tar)
            } else {
                Member::symlink(path, format!("../{kept}/layer.tar"))
            };
            let config = v1_config(layer, &parts.created());
            for member in [
                Member::dir(&format!("{id}/")),
                Member::file(format!("{id}/VERSION"), "1.0"),
                Member::json(&format!("{id}/json"), &config),
                tar,
            ] {
                members.insert(member.path.clone(), member);
            }
        }
        let config = format!("{}.json", parts.config.hex());
        let bytes = parts.config.bytes.clone();
        members.insert(config.clone(), Member::file(config.clone(), bytes));
        let paths: Vec<String> =
            layers.iter().map(|layer| format!("{}/layer.tar", layer.id)).collect();
        list.push(json!({ "Config": config, "RepoTags": [image.short()], "Layers": paths }));
        let top = layers.last().map(|layer| layer.id.clone());
        tops.push((image.short().to_owned(), top.unwrap_or_default()));
    }
    let mut members: Vec<Member> = members.into_values().collect();
    members.push(Member::json("manifest.json", &Value::Array(list)));
    members.push(Member::json("repositories", &repositories(&tops)));
    members
}

pub(super) fn skopeo(images: &[Named]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    let mut tops = Vec::new();
    let mut list = Vec::new();
    for image in images {
        let parts = Parts::new(image);
        let layers = legacy(&parts);
        let file =
            |layer: &Legacy<'_>| format!("{}.tar", layer.diff_id.trim_start_matches("sha256:"));
        for layer in &layers {
            add_once(&mut members, Member::file(file(layer), layer.tar));
        }
        let config = format!("{}.json", parts.config.hex());
        add_once(&mut members, Member::file(config.clone(), parts.config.bytes.clone()));
        for layer in &layers {
            let id = &layer.id;
            let target = format!("../{}", file(layer));
            add_once(&mut members, Member::symlink(format!("{id}/layer.tar"), target));
            add_once(&mut members, Member::file(format!("{id}/VERSION"), "1.0"));
            let config = v1_config(layer, &parts.created());
            add_once(&mut members, Member::json(&format!("{id}/json"), &config));
        }
        let paths: Vec<String> = layers.iter().map(file).collect();
        list.push(json!({ "Config": config, "RepoTags": [image.name], "Layers": paths }));
        let top = layers.last().map(|layer| layer.id.clone());
        tops.push((image.name.clone(), top.unwrap_or_default()));
    }
    members.push(Member::json("manifest.json", &Value::Array(list)));
    members.push(Member::json("repositories", &repositories(&tops)));
    let read_only = |member: Member| match member.kind {
        Kind::Symlink(_) => member.mode(0o777),
        _ => member.mode(0o444),
    };
    members.into_iter().map(read_only).collect()
}

pub(super) fn crane(images: &[Named]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    let mut list = Vec::new();
    for image in images {
        let parts = Parts::new(image);
        let config = parts.config.digest.clone();
        add_once(&mut members, Member::file(config.clone(), parts.config.bytes.clone()));
        let mut paths = Vec::new();
        for (blob, ..) in &parts.layers {
            let path = format!("{}.tar.gz", blob.hex());
            add_once(&mut members, Member::file(path.clone(), blob.bytes.clone()));
            paths.push(path);
        }
        list.push(json!({ "Config": config, "RepoTags": [image.name], "Layers": paths }));
    }
    members.push(Member::json("manifest.json", &Value::Array(list)));
    members
}

fn add_once(members: &mut Vec<Member>, member: Member) {
    if !members.iter().any(|known| known.path == member.path) {
        members.push(member);
    }
}
