//! All of an image's documents as one JSON text, in the form of `docker inspect`.

use cli::Progress;
use image::Opened;
use layer_format::{Descriptor, Digest, Reference};
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    id: Digest,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    comment: String,
    created: Option<String>,
    author: String,
    config: Value,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    size: u64,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    history: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    r#type: &'static str,
    layers: Vec<Digest>,
}

/// An array of one element, which is what docker prints.
pub(crate) fn describe(opened: &mut Opened, progress: &Progress) -> anyhow::Result<String> {
    let mut size = 0;
    for position in 0..opened.image().layers.len() {
        size += opened.stored_size(position, progress)?;
    }
    let image = opened.image();
    let mut fields: Map<String, Value> = serde_json::from_slice(image.config.raw())?;
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (author, comment) = (text("author"), text("comment"));
    let history = fields.remove("history").filter(|it| !it.is_null());
    let last_comment = image.config.history.last().and_then(|step| step.comment.clone());
    let platform = image.config.platform.clone();
    let about = About {
        id: Digest::of(image.config.raw()),
        repo_tags: tags(&image.names),
        repo_digests: digests(opened)?,
        comment: if comment.is_empty() { last_comment.unwrap_or_default() } else { comment },
        created: image.config.created.clone(),
        author,
        config: fields.remove("config").unwrap_or_else(|| Map::new().into()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        os_version: platform.os_version,
        size,
        root_fs: RootFs {
            r#type: "layers",
            layers: image.config.diff_ids().iter().map(|diff_id| diff_id.0).collect(),
        },
        history: history.unwrap_or_else(|| Value::Array(vec![])),
        descriptor: image.manifest.as_ref().map(layer_format::Manifest::descriptor),
    };
    let mut out = vec![];
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    [about].serialize(&mut serde_json::Serializer::with_formatter(&mut out, format))?;
    Ok(String::from_utf8(out)?)
}

/// The names in their short form.
fn tags(names: &[String]) -> Vec<String> {
    let short = |name: &String| match name.parse::<Reference>() {
        Ok(reference) => reference.to_string(),
        Err(_) => name.clone(),
    };
    let mut tags: Vec<_> = names.iter().map(short).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// The repository of each name, with the digest that the registry has for it.
fn digests(opened: &Opened) -> anyhow::Result<Vec<String>> {
    let image = opened.image();
    let own = image.manifest.as_ref().map(|manifest| manifest.descriptor().digest);
    let entries = opened.layout().map(store::Store::images).transpose()?.unwrap_or_default();
    let pinned = |name: &String| {
        let entry = entries.iter().find(|entry| entry.name() == Some(name));
        let digest = entry.map(|entry| entry.index().unwrap_or(*entry.digest())).or(own)?;
        let reference: Reference = name.parse().ok()?;
        let pinned: Reference = format!("{}@{digest}", reference.name()).parse().ok()?;
        Some(pinned.to_string())
    };
    let mut digests: Vec<_> = image.names.iter().filter_map(pinned).collect();
    digests.sort();
    digests.dedup();
    Ok(digests)
}
