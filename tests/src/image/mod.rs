//! Images from a few lines: layers, a config, a manifest, and all their digests.
//!
//! Every value is made from its parts when asked for; two calls give the same bytes. What the
//! builder has no word for is set by JSON pointer, last: `set_manifest("/layers/0/size", 1)`.

pub mod codec;
pub mod index;
pub mod layer;
pub mod random;
pub mod sparse;

mod edit;
pub(crate) mod entry;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use codec::Codec;
use edit::Edit;

/// One blob, as registries, layouts and archives hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:` and the hash of the bytes.
    pub digest: String,
    /// The media type its descriptor gives it.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob of these bytes.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { digest: digest(&bytes), media_type: media_type.to_owned(), bytes }
    }

    /// The blob's descriptor: media type, digest, size.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    /// The digest's hexadecimal part.
    pub fn hex(&self) -> &str {
        self.digest.trim_start_matches("sha256:")
    }
}

/// The SHA-256 digest of some bytes, `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    named_digest(Sha256::new_with_prefix(bytes))
}

/// The digest that a hasher has come to.
pub(crate) fn named_digest(hasher: Sha256) -> String {
    let hex: Vec<String> = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// What a name points at: a manifest or an index, and every blob that belongs to it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The descriptor of the first blob.
    pub descriptor: Value,
    /// The index and manifests first, then for each image its config and its layers, base first;
    /// each blob once.
    pub blobs: Vec<Blob>,
}

impl Content {
    /// The digest of the manifest or index.
    pub fn digest(&self) -> &str {
        self.descriptor["digest"].as_str().unwrap_or_default()
    }

    /// The blob of a digest, if it is here.
    pub fn blob(&self, digest: &str) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.digest == digest)
    }
}

/// Whose words manifests and media types use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// OCI image-spec 1.
    Oci,
    /// Docker image manifest version 2, schema 2.
    Docker,
}

#[derive(Clone, Debug)]
struct Stored {
    diff_id: String,
    blob: Blob,
}

/// An image under construction: Linux, amd64, gzip and OCI until told otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct Image {
    schema: Schema,
    codec: Codec,
    layers: Vec<Stored>,
    platform: (String, String, String),
    config: Vec<Edit>,
    manifest: Vec<Edit>,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// An image without layers.
    pub fn new() -> Self {
        Self {
            schema: Schema::Oci,
            codec: Codec::GZIP,
            layers: Vec::new(),
            platform: ("linux".into(), "amd64".into(), String::new()),
            config: Vec::new(),
            manifest: Vec::new(),
        }
    }

    /// Docker schema 2 in place of OCI; call it before adding layers.
    pub fn docker(mut self) -> Self {
        self.schema = Schema::Docker;
        self
    }

    /// The compression of the layers added from here on.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// One more layer: a [`layer::Layer`] or the bytes of a tar.
    pub fn layer(self, tar: impl Into<Vec<u8>>) -> Self {
        let tar = tar.into();
        let blob = self.codec.encode(&tar);
        self.layer_blob(&digest(&tar), blob)
    }

    /// One more layer from its blob as it is, with a diff id that may be wrong.
    pub fn layer_blob(mut self, diff_id: &str, blob: Vec<u8>) -> Self {
        let blob = Blob::new(self.codec.media_type(self.schema), blob);
        self.layers.push(Stored { diff_id: diff_id.to_owned(), blob });
        self
    }

    /// The platform, `os/architecture` or `os/architecture/variant`.
    pub fn platform(mut self, platform: &str) -> Self {
        let mut words = platform.splitn(3, '/').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        self.platform = (next(), next(), next());
        self
    }

    /// `config.Env`.
    pub fn env(self, variables: &[&str]) -> Self {
        self.set_config("/config/Env", json!(variables))
    }

    /// `config.Cmd`.
    pub fn cmd(self, words: &[&str]) -> Self {
        self.set_config("/config/Cmd", json!(words))
    }

    /// `config.Entrypoint`.
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set_config("/config/Entrypoint", json!(words))
    }

    /// `config.User`.
    pub fn user(self, user: &str) -> Self {
        self.set_config("/config/User", json!(user))
    }

    /// `created`, RFC 3339.
    pub fn created(self, time: &str) -> Self {
        self.set_config("/created", json!(time))
    }

    /// An annotation of the manifest.
    pub fn annotation(self, key: &str, value: &str) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        self.set_manifest(&format!("/annotations/{key}"), json!(value))
    }

    /// Sets any value of the config by JSON pointer.
    pub fn set_config(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.config.push(Edit::set(pointer, value.into()));
        self
    }

    /// Removes a value of the config.
    pub fn drop_config(mut self, pointer: &str) -> Self {
        self.config.push(Edit::remove(pointer));
        self
    }

    /// Sets any value of the manifest by JSON pointer.
    pub fn set_manifest(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.manifest.push(Edit::set(pointer, value.into()));
        self
    }

    /// Removes a value of the manifest.
    pub fn drop_manifest(mut self, pointer: &str) -> Self {
        self.manifest.push(Edit::remove(pointer));
        self
    }

    /// The config's blob.
    pub fn config_blob(&self) -> Blob {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let created = "2020-09-13T12:26:40Z";
        let history: Vec<Value> = (1..=self.layers.len())
            .map(|n| json!({ "created": created, "created_by": format!("kit: layer {n}") }))
            .collect();
        let (os, architecture, variant) = &self.platform;
        let mut config = json!({
            "architecture": architecture,
            "os": os,
            "created": created,
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        if !variant.is_empty() {
            config["variant"] = json!(variant);
        }
        let media_type = match self.schema {
            Schema::Oci => "application/vnd.oci.image.config.v1+json",
            Schema::Docker => "application/vnd.docker.container.image.v1+json",
        };
        Blob::new(media_type, edit::apply(config, &self.config))
    }

    /// The manifest's blob.
    pub fn manifest_blob(&self) -> Blob {
        let media_type = match self.schema {
            Schema::Oci => "application/vnd.oci.image.manifest.v1+json",
            Schema::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        };
        let layers: Vec<Value> = self.layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.config_blob().descriptor(),
            "layers": layers,
        });
        Blob::new(media_type, edit::apply(manifest, &self.manifest))
    }

    /// The layers' blobs, base first.
    pub fn layer_blobs(&self) -> Vec<Blob> {
        self.layers.iter().map(|layer| layer.blob.clone()).collect()
    }

    /// The layers' diff ids, base first.
    pub fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    /// The manifest's digest.
    pub fn digest(&self) -> String {
        self.manifest_blob().digest
    }

    /// The manifest's descriptor, with the platform.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest_blob().descriptor();
        let (os, architecture, variant) = &self.platform;
        descriptor["platform"] = json!({ "os": os, "architecture": architecture });
        if !variant.is_empty() {
            descriptor["platform"]["variant"] = json!(variant);
        }
        descriptor
    }

    /// Manifest, config, then the layers, base first; each blob once.
    pub fn blobs(&self) -> Vec<Blob> {
        let mut blobs = vec![self.manifest_blob()];
        once_each(&mut blobs, [self.config_blob()]);
        once_each(&mut blobs, self.layer_blobs());
        blobs
    }
}

/// Adds those blobs that are not there yet.
pub(crate) fn once_each(blobs: &mut Vec<Blob>, more: impl IntoIterator<Item = Blob>) {
    for blob in more {
        if !blobs.iter().any(|known| known.digest == blob.digest) {
            blobs.push(blob);
        }
    }
}

impl From<&Image> for Content {
    fn from(image: &Image) -> Self {
        Self { descriptor: image.manifest_blob().descriptor(), blobs: image.blobs() }
    }
}

impl From<Image> for Content {
    fn from(image: Image) -> Self {
        Self::from(&image)
    }
}

impl From<&Self> for Content {
    fn from(content: &Self) -> Self {
        content.clone()
    }
}
