//! What a registry holds: repositories of blobs, manifests and tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::upload::Upload;
use crate::image::Blob;
use crate::image::index::is_manifest;

/// All repositories by name, and the uploads under way by id.
#[derive(Debug, Default)]
pub(crate) struct Repositories {
    by_name: BTreeMap<String, Repository>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// How many there have been.
    pub(crate) n_uploads: usize,
}

/// One repository.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    blobs: BTreeMap<String, Arc<[u8]>>,
    /// Media type and bytes by digest.
    manifests: BTreeMap<String, (String, Arc<[u8]>)>,
    tags: BTreeMap<String, String>,
}

impl Repositories {
    /// The repository of a name, made if it is not there.
    pub(crate) fn open(&mut self, name: &str) -> &mut Repository {
        self.by_name.entry(name.to_owned()).or_default()
    }

    /// The repository of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Repository> {
        self.by_name.get(name)
    }

    /// The names of all repositories, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// A blob of any repository.
    pub(crate) fn any_blob(&self, digest: &str) -> Option<Arc<[u8]>> {
        self.by_name.values().find_map(|repository| repository.blob(digest))
    }
}

impl Repository {
    /// Adds a blob, or a manifest when its media type says so.
    pub(crate) fn add(&mut self, blob: &Blob) {
        let bytes: Arc<[u8]> = blob.bytes.as_slice().into();
        if is_manifest(&blob.media_type) {
            self.manifests.insert(blob.digest.clone(), (blob.media_type.clone(), bytes));
        } else {
            self.blobs.insert(blob.digest.clone(), bytes);
        }
    }

    /// Points a tag at a manifest.
    pub(crate) fn tag(&mut self, tag: &str, digest: &str) {
        self.tags.insert(tag.to_owned(), digest.to_owned());
    }

    /// All tags, sorted.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.tags.keys().cloned().collect()
    }

    /// Removes a tag, or a manifest with all its tags; `false` if it isn't here.
    pub(crate) fn delete(&mut self, reference: &str) -> bool {
        if !reference.contains(':') {
            return self.tags.remove(reference).is_some();
        }
        self.tags.retain(|_, digest| digest != reference);
        self.manifests.remove(reference).is_some()
    }

    pub(crate) fn remove(&mut self, digest: &str) {
        self.blobs.remove(digest);
        self.manifests.remove(digest);
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }

    /// Digest, media type and bytes of a manifest by tag or digest.
    pub(crate) fn manifest(&self, reference: &str) -> Option<(String, String, Arc<[u8]>)> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        let (media_type, bytes) = self.manifests.get(digest)?;
        Some((digest.to_owned(), media_type.clone(), Arc::clone(bytes)))
    }

    /// Descriptors of the manifests that have this one as their `subject`.
    pub(crate) fn referrers(&self, subject: &str) -> Vec<Value> {
        let referring = self.manifests.iter().filter_map(|(digest, (media_type, bytes))| {
            let json: Value = serde_json::from_slice(bytes).ok()?;
            let artifact_type = json.get("artifactType").unwrap_or(&json["config"]["mediaType"]);
            (json["subject"]["digest"] == subject).then(|| {
                let mut descriptor = json!({
                    "mediaType": media_type, "digest": digest, "size": bytes.len(),
                    "artifactType": artifact_type,
                });
                if let Some(annotations) = json.get("annotations") {
                    descriptor["annotations"] = annotations.clone();
                }
                descriptor
            })
        });
        referring.collect()
    }

    /// Whether a manifest here names a blob.
    pub(crate) fn names(&self, digest: &str) -> bool {
        self.manifests.values().any(|(_, bytes)| {
            let json = serde_json::from_slice(bytes).unwrap_or_default();
            super::route::named(&json).iter().any(|it| it == digest)
        })
    }

    /// Whether a manifest or a blob is here.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.blobs.contains_key(digest) || self.manifests.contains_key(digest)
    }
}
