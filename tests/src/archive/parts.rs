//! What docker-archives are made of: the config and the layers of one image.

use serde_json::Value;

use super::Named;
use crate::image::codec::decode;
use crate::image::{Blob, Content};
use crate::or_panic::OrPanic as _;

/// One image taken apart.
pub(super) struct Parts<'a> {
    pub(super) manifest: &'a Blob,
    pub(super) config: &'a Blob,
    /// Blob, diff id, tar; base first.
    pub(super) layers: Vec<(&'a Blob, String, Vec<u8>)>,
}

impl<'a> Parts<'a> {
    /// The first image behind a name that has its blobs here.
    pub(super) fn new(named: &'a Named) -> Self {
        let (manifest, json) = first_manifest(&named.content, named.content.digest())
            .or_panic(format!("an image behind {}", named.name));
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            named.content.blob(digest).or_panic(format!("the blob {digest} of {}", named.name))
        };
        let layers = json["layers"].as_array().into_iter().flatten().map(|descriptor| {
            let blob = blob(descriptor);
            let tar = decode(&blob.bytes).or_panic("a layer that decompresses");
            (blob, crate::digest(&tar), tar)
        });
        Self { manifest, config: blob(&json["config"]), layers: layers.collect() }
    }

    /// The creation time that the config states.
    pub(super) fn created(&self) -> Value {
        let config: Value = serde_json::from_slice(&self.config.bytes).or_panic("a config of JSON");
        config["created"].clone()
    }
}

fn first_manifest<'a>(content: &'a Content, digest: &str) -> Option<(&'a Blob, Value)> {
    let blob = content.blob(digest)?;
    let json: Value = serde_json::from_slice(&blob.bytes).or_panic("a manifest of JSON");
    if json["config"].is_object() {
        return Some((blob, json));
    }
    let entries = json["manifests"].as_array()?;
    entries.iter().find_map(|entry| first_manifest(content, entry["digest"].as_str()?))
}
