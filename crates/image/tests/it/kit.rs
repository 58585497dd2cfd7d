//! Small images, and stores to put them into.

use layer_format::{Descriptor, Digest, media_type};
use store::{Image, Lease, Store};
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

    fn put(&self, lease: &Lease) -> Descriptor {
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            lease.put(blob).unwrap();
        }
        self.descriptor()
    }

    /// Stores it under a name.
    pub(crate) fn store(&self, store: &Store, name: &str) -> Descriptor {
        let lease = store.lease().unwrap();
        let descriptor = self.put(&lease);
        let name = name.parse().unwrap();
        lease.name(&[Image::new(Some(&name), descriptor.clone())]).unwrap();
        descriptor
    }
}
