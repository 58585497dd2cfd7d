//! Archives that are OCI layouts.

use serde_json::{Value, json};

use super::parts::Parts;
use super::{Member, Named, digest};
use crate::image::{Blob, once_each};

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

fn path(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.hex())
}

fn member(blob: &Blob) -> Member {
    Member::file(path(blob), blob.bytes.clone())
}

/// Every blob of every image, each once, in the images' order.
fn blobs(images: &[Named]) -> Vec<Blob> {
    let mut blobs = Vec::new();
    for image in images {
        once_each(&mut blobs, image.content.blobs.iter().cloned());
    }
    blobs
}

/// index.json, with the annotations that `annotate` gives each name.
fn index(images: &[Named], annotate: impl Fn(&Named) -> Value) -> Value {
    let manifests: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut descriptor = image.content.descriptor.clone();
            descriptor["annotations"] = annotate(image);
            descriptor
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn both_names(image: &Named) -> Value {
    json!({ FULL_NAME: image.name, REF_NAME: image.split().1 })
}

/// manifest.json: one entry an image, whatever its number of names.
fn manifest(images: &[Named], name: impl Fn(&Named) -> String) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for image in images {
        let parts = Parts::new(image);
        let config = path(parts.config);
        if let Some(known) = list.iter_mut().find(|entry| entry["Config"] == config.as_str())
            && let Some(tags) = known["RepoTags"].as_array_mut()
        {
            tags.push(json!(name(image)));
            continue;
        }
        let layers: Vec<String> = parts.layers.iter().map(|(blob, ..)| path(blob)).collect();
        list.push(json!({ "Config": config, "RepoTags": [name(image)], "Layers": layers }));
    }
    Value::Array(list)
}

fn name(image: &Named) -> String {
    image.name.clone()
}

pub(super) fn strata(images: &[Named]) -> Vec<Member> {
    heads_first(images, [Member::dir("blobs/"), Member::dir("blobs/sha256/")])
}

pub(super) fn regctl(images: &[Named]) -> Vec<Member> {
    heads_first(images, [Member::dir("blobs/sha256")])
}

fn heads_first(images: &[Named], directories: impl IntoIterator<Item = Member>) -> Vec<Member> {
    let mut members = vec![
        Member::file("oci-layout", LAYOUT),
        Member::json("index.json", &index(images, both_names)),
        Member::json("manifest.json", &manifest(images, name)),
    ];
    members.extend(directories);
    members.extend(blobs(images).iter().map(member));
    members
}

pub(super) fn layout(images: &[Named]) -> Vec<Member> {
    let index = index(images, |image| json!({ REF_NAME: image.name }));
    let mut members = vec![Member::file("oci-layout", LAYOUT), Member::json("index.json", &index)];
    members.extend(blobs(images).iter().map(member));
    members
}

/// Blobs in the order of their names, under entries for their directories.
fn sorted(mut blobs: Vec<Blob>) -> Vec<Member> {
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    let mut members = vec![Member::dir("blobs/"), Member::dir("blobs/sha256/")];
    members.extend(blobs.iter().map(member));
    members
}

pub(super) fn skopeo(images: &[Named]) -> Vec<Member> {
    let mut members = sorted(blobs(images));
    let index = index(images, |image| json!({ REF_NAME: image.split().1 }));
    members.push(Member::json("index.json", &index));
    members.push(Member::file("oci-layout", LAYOUT));
    members
}

pub(super) fn docker_containerd(images: &[Named]) -> Vec<Member> {
    let mut present = Vec::new();
    for image in images {
        let parts = Parts::new(image);
        let indexes = image.content.blobs.iter().filter(|blob| blob.media_type.contains("index"));
        once_each(&mut present, indexes.cloned());
        once_each(&mut present, [parts.manifest.clone(), parts.config.clone()]);
        once_each(&mut present, parts.layers.iter().map(|(blob, ..)| (*blob).clone()));
    }
    let mut members = sorted(present);
    members.push(Member::json("index.json", &index(images, both_names)));
    members.push(Member::json("manifest.json", &manifest(images, |image| image.short().into())));
    members.push(Member::file("oci-layout", LAYOUT));
    members
}

/// The blobs also hold a v1 config for each layer, whose digests name the layers in
/// `repositories`; `manifest.json` repeats the layers' descriptors as `LayerSources`.
pub(super) fn docker_25(images: &[Named]) -> Vec<Member> {
    let mut present = Vec::new();
    let mut entries = Vec::new();
    let mut list = Vec::new();
    let mut repositories = json!({});
    for image in images {
        let parts = Parts::new(image);
        let layers: Vec<Blob> = parts
            .layers
            .iter()
            .map(|(_, _, tar)| Blob::new("application/vnd.oci.image.layer.v1.tar", tar.clone()))
            .collect();
        let config = Blob { media_type: CONFIG.to_owned(), ..parts.config.clone() };
        let manifest = uncompressed_manifest(&config, &layers);
        let mut descriptor = manifest.descriptor();
        descriptor["annotations"] = both_names(image);
        entries.push(descriptor);
        let sources: serde_json::Map<String, Value> =
            layers.iter().map(|layer| (layer.digest.clone(), layer.descriptor())).collect();
        list.push(json!({
            "Config": path(&config),
            "RepoTags": [image.short()],
            "Layers": layers.iter().map(path).collect::<Vec<_>>(),
            "LayerSources": sources,
        }));
        let legacy = legacy_configs(&layers, &parts.created());
        if let Some(last) = legacy.last() {
            let (repository, tag) = image.short().rsplit_once(':').unwrap_or_default();
            repositories[repository][tag] = json!(last.hex());
        }
        once_each(&mut present, [manifest, config].into_iter().chain(layers).chain(legacy));
    }
    let mut members = sorted(present);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    members.push(Member::json("index.json", &index));
    members.push(Member::json("manifest.json", &Value::Array(list)));
    members.push(Member::file("oci-layout", LAYOUT));
    members.push(Member::json("repositories", &repositories));
    members
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn uncompressed_manifest(config: &Blob, layers: &[Blob]) -> Blob {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    });
    Blob::new(media_type, manifest.to_string().into_bytes())
}

/// The v1 configs of a stack of layers, each naming its parent.
fn legacy_configs(layers: &[Blob], created: &Value) -> Vec<Blob> {
    let mut configs: Vec<Blob> = Vec::new();
    for layer in layers {
        let parent = configs.last().map(|config| config.hex().to_owned()).unwrap_or_default();
        let id = digest(format!("{parent} {}", layer.digest).as_bytes());
        let config = json!({ "id": &id[7..], "parent": parent, "created": created, "os": "linux" });
        configs.push(Blob::new("application/json", config.to_string().into_bytes()));
    }
    configs
}
