//! Descriptors, which point at blobs (image-spec, descriptor.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::platform::Platform;

/// The media types of the specifications. They are for writing and for `Accept`; on reading, only the content decides
/// what a document is.
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, a plain tar. A compressed one has `+gzip` or `+zstd` after it.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker schema 2 config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker schema 2 layer, a plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker schema 2 layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's first manifest format. It is only recognised to be refused.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// The annotations that Strata reads or writes.
pub mod annotation {
    /// The full image name, in streams and containerd's archives.
    pub const IMAGE_NAME: &str = "io.containerd.image.name";
    /// The tag in streams; the full name in a store's index.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// Marks an index entry that is no image and speaks about one.
    pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// Is `true` for an index entry whose layers are zstd, if another entry for the same platform has layers in another
    /// codec.
    pub const ZSTD: &str = "io.github.containers.compression.zstd";
}

/// A pointer to a blob: its type, digest and size, and annotations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
pub struct Descriptor {
    /// The type that the blob claims to have.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// Other places that have the blob; for non-distributable layers.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations, by key.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The platform that an index's entry is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Fields that Strata doesn't know. They are kept unchanged.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Descriptor {
    /// The descriptor of `content`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }

    /// A descriptor without any of the optional fields.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self {
            media_type,
            digest,
            size,
            urls: vec![],
            annotations: BTreeMap::new(),
            platform: None,
            other: BTreeMap::new(),
        }
    }

    /// The annotation with this key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Whether this entry of a layout or an archive may be an image or an index of images. Attestations, artifacts and
    /// other entries beside images are none.
    pub fn is_image(&self) -> bool {
        const TYPES: [&str; 5] = [
            "",
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ];
        TYPES.contains(&self.media_type.as_str()) && !self.is_attestation() && !self.is_artifact()
    }

    /// Whether the media type of this entry is that of an index.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_INDEX)
    }

    /// Whether this entry points at something other than an image. An image's entry may have the config's type here
    /// (image-spec, descriptor.md, "artifactType").
    fn is_artifact(&self) -> bool {
        const NONE: [&str; 3] = ["", media_type::OCI_CONFIG, media_type::DOCKER_CONFIG];
        let artifact_type = self.other.get("artifactType").filter(|value| !value.is_null());
        artifact_type.is_some_and(|value| value.as_str().is_none_or(|text| !NONE.contains(&text)))
    }

    /// Whether this entry of an index speaks about an image, for example with provenance or an SBOM, and is none
    /// itself.
    pub fn is_attestation(&self) -> bool {
        let is_unknown =
            |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
        self.annotations.contains_key(annotation::REFERENCE_TYPE)
            || self.platform.as_ref().is_some_and(is_unknown)
    }

    /// Whether the blob may be a layer of files: a tar, compressed or not. Encrypted layers, images of a file system
    /// (EROFS) and the parts of artifacts are none.
    pub fn is_tar(&self) -> bool {
        let kind = self.media_type.as_str();
        let is_unsaid = kind.is_empty() || kind == "application/octet-stream";
        is_unsaid || (kind.contains("tar") && !self.is_encrypted())
    }

    /// Refuses a digest that is too long for a stream: a name in a tar has room for 100 bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names the digest.
    pub fn check_digest(&self) -> Result<(), Error> {
        if self.digest.algorithm() == Algorithm::Sha256 {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("{}:{}…", self.digest.algorithm().name(), self.digest.short()),
            reason: "only SHA-256 is supported for what an image consists of; push it again with that",
        })
    }

    /// Whether the blob is encrypted (ocicrypt).
    pub fn is_encrypted(&self) -> bool {
        self.media_type.ends_with("+encrypted")
    }

    /// Whether the blob is a layer that registries may not distribute. Then [`Self::urls`] may be its only source.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains(".layer.nondistributable.")
            || self.media_type.contains(".rootfs.foreign.")
    }
}

/// Reads `null` as the empty value. Several producers write it where the specification has a list or a map.
///
/// # Errors
/// The value is neither `null` nor a valid `T`.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_lists_and_unknown_fields_survive() {
        let text = r#"{"mediaType":"m","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "size":0,"urls":null,"annotations":null,"platform":null,"artifactType":"a/b"}"#;
        let descriptor: Descriptor = serde_json::from_str(text).unwrap();
        assert_eq!(descriptor.digest, Digest::of(b""));
        assert!(serde_json::to_string(&descriptor).unwrap().contains(r#""artifactType":"a/b""#));
    }

    #[test]
    fn an_entry_of_its_configs_type_is_an_image() {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"");
        for (artifact_type, expected) in [
            (serde_json::Value::Null, true),
            ("".into(), true),
            (media_type::OCI_CONFIG.into(), true),
            ("application/vnd.example.signature".into(), false),
            (5.into(), false),
        ] {
            entry.other.insert("artifactType".to_owned(), artifact_type);
            assert_eq!(entry.is_image(), expected, "{:?}", entry.other);
        }
    }

    #[test]
    fn attestations_are_known_by_annotation_or_platform() {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"");
        assert!(!entry.is_attestation());
        entry.platform = Some("unknown/unknown".parse().unwrap());
        assert!(entry.is_attestation());
    }
}
