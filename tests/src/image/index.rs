//! Several images under one digest: platforms, attestations, indexes in indexes.

use serde_json::{Value, json};

use super::edit::{self, Edit};
use super::{Blob, Content, Image, Schema, once_each};
use crate::or_panic::OrPanic as _;

/// An index under construction.
#[derive(Clone, Debug)]
#[must_use]
pub struct Index {
    schema: Schema,
    entries: Vec<(Value, Vec<Blob>)>,
    edits: Vec<Edit>,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty OCI index.
    pub fn new() -> Self {
        Self { schema: Schema::Oci, entries: Vec::new(), edits: Vec::new() }
    }

    /// A Docker manifest list in place of an OCI index.
    pub fn docker(mut self) -> Self {
        self.schema = Schema::Docker;
        self
    }

    /// One more image, under the platform of its config.
    pub fn image(self, image: &Image) -> Self {
        self.entry(image.descriptor(), image.blobs())
    }

    /// One more image whose blobs are nowhere.
    pub fn absent(self, image: &Image) -> Self {
        self.entry(image.descriptor(), Vec::new())
    }

    /// Any descriptor with the blobs behind it.
    pub fn entry(mut self, descriptor: Value, blobs: Vec<Blob>) -> Self {
        self.entries.push((descriptor, blobs));
        self
    }

    /// An index in the index.
    pub fn nested(self, index: &Self) -> Self {
        let content = Content::from(index);
        self.entry(content.descriptor, content.blobs)
    }

    /// The provenance of an image of this index, as buildkit attaches it: platform
    /// `unknown/unknown` and a `vnd.docker.reference.digest`.
    pub fn attestation(self, image: &Image) -> Self {
        let statement = format!(r#"{{"subject":"{}"}}"#, image.digest()).into_bytes();
        let statement = Blob::new("application/vnd.in-toto+json", statement);
        let about = Image::new()
            .platform("unknown/unknown")
            .set_config("/rootfs/diff_ids/-", statement.digest.as_str())
            .set_manifest("/layers/-", statement.descriptor());
        let mut descriptor = about.descriptor();
        descriptor["annotations"] = json!({
            "vnd.docker.reference.digest": image.digest(),
            "vnd.docker.reference.type": "attestation-manifest",
        });
        let mut blobs = about.blobs();
        blobs.push(statement);
        self.entry(descriptor, blobs)
    }

    /// An annotation on the entry added last.
    pub fn annotate(mut self, key: &str, value: &str) -> Self {
        let (descriptor, _) =
            self.entries.last_mut().or_panic("annotate an entry of an empty index");
        descriptor["annotations"][key] = json!(value);
        self
    }

    /// Sets any value of the index by JSON pointer: `/manifests/0/platform`, `/annotations/…`.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.edits.push(Edit::set(pointer, value.into()));
        self
    }

    /// Removes a value of the index.
    pub fn remove(mut self, pointer: &str) -> Self {
        self.edits.push(Edit::remove(pointer));
        self
    }

    /// The index's own blob.
    pub fn index_blob(&self) -> Blob {
        let media_type = match self.schema {
            Schema::Oci => "application/vnd.oci.image.index.v1+json",
            Schema::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<&Value> =
            self.entries.iter().map(|(descriptor, _)| descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        Blob::new(media_type, edit::apply(index, &self.edits))
    }

    /// The index's digest.
    pub fn digest(&self) -> String {
        self.index_blob().digest
    }

    /// The index, all manifests and nested indexes, then configs and layers, image by image.
    pub fn blobs(&self) -> Vec<Blob> {
        let (manifests, rest): (Vec<Blob>, Vec<Blob>) = self
            .entries
            .iter()
            .flat_map(|(_, blobs)| blobs.iter().cloned())
            .partition(|blob| is_manifest(&blob.media_type));
        let mut blobs = vec![self.index_blob()];
        once_each(&mut blobs, manifests);
        once_each(&mut blobs, rest);
        blobs
    }
}

/// Whether a media type is a manifest's or an index's, Docker's words included.
pub(crate) fn is_manifest(media_type: &str) -> bool {
    ["image.manifest.v1", "image.index.v1", "distribution.manifest."]
        .iter()
        .any(|part| media_type.contains(part))
}

impl From<&Index> for Content {
    fn from(index: &Index) -> Self {
        Self { descriptor: index.index_blob().descriptor(), blobs: index.blobs() }
    }
}

impl From<Index> for Content {
    fn from(index: Index) -> Self {
        Self::from(&index)
    }
}
