//! Small images, stores to put them into, and a checker that trusts nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use layer_format::{Descriptor, Digest, Document, media_type};
use store::{IndexEntry, Lease, Store};
use tempfile::TempDir;

/// A new store, gone with the first.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// The blobs of an image; the manifest stands last.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

/// An image of these layers.
pub(crate) fn image(layers: &[&str]) -> Fixture {
    let layers: Vec<Vec<u8>> = layers.iter().map(|text| text.as_bytes().to_vec()).collect();
    let ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
        serde_json::to_string(&ids).unwrap()
    );
    let descriptors: Vec<_> =
        layers.iter().map(|layer| Descriptor::of(media_type::OCI_LAYER, layer)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":{}}}"#,
        media_type::OCI_MANIFEST,
        serde_json::to_string(&Descriptor::of(media_type::OCI_CONFIG, config.as_bytes())).unwrap(),
        serde_json::to_string(&descriptors).unwrap()
    );
    Fixture { layers, config: config.into_bytes(), manifest: manifest.into_bytes() }
}

impl Fixture {
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::OCI_MANIFEST, &self.manifest)
    }

    pub(crate) fn put(&self, lease: &Lease) -> Descriptor {
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            lease.put(blob).unwrap();
        }
        self.descriptor()
    }

    /// Stores it under a name; an empty one is none.
    pub(crate) fn store(&self, store: &Store, name: &str) -> Descriptor {
        let lease = store.lease().unwrap();
        let descriptor = self.put(&lease);
        lease.name(&[named(name, descriptor.clone())]).unwrap();
        descriptor
    }
}

/// An index of these manifests.
pub(crate) fn index(manifests: &[Descriptor]) -> Vec<u8> {
    let manifests = serde_json::to_string(manifests).unwrap();
    format!(r#"{{"schemaVersion":2,"manifests":{manifests}}}"#).into_bytes()
}

pub(crate) fn named(name: &str, descriptor: Descriptor) -> IndexEntry {
    let name = (!name.is_empty()).then(|| name.parse().unwrap());
    IndexEntry::new(name.as_ref(), descriptor)
}

/// Fails unless the image is here to its last byte.
pub(crate) fn assert_whole(store: &Store, image: &Descriptor) {
    assert_eq!(store.missing(image).unwrap(), [], "{}", image.digest);
    let raw = store.document(&image.digest).unwrap();
    let Document::Manifest(manifest) = Document::parse(raw).unwrap() else { return };
    for part in manifest.layers.iter().chain([&manifest.config]) {
        assert_blob(store, &part.digest);
    }
}

/// Fails unless every named image is whole, every blob is what its name says, and nothing lies around.
pub(crate) fn assert_sound(store: &Store) {
    store.images().unwrap().iter().for_each(|image| assert_whole(store, &image.descriptor));
    store.blobs().unwrap().iter().for_each(|(digest, _)| assert_blob(store, digest));
    drop(store.lease().unwrap());
    for folder in ["leases", "temp"] {
        let left = fs::read_dir(store.path().join("strata").join(folder)).unwrap().count();
        assert_eq!(left, 0, "left behind in {folder}");
    }
}

/// Every file below `dir` with the digest of its content, the lock and leases excepted.
pub(crate) fn tree(dir: &Path) -> BTreeMap<String, Digest> {
    let mut files = BTreeMap::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.ends_with("strata/lock") && !path.parent().unwrap().ends_with("leases") {
            files.insert(path.display().to_string(), Digest::of(&fs::read(&path).unwrap()));
        }
    }
    files
}

fn assert_blob(store: &Store, digest: &Digest) {
    let content = fs::read(store.path().join(digest.blob_path())).unwrap();
    assert_eq!(Digest::of(&content), *digest);
}
