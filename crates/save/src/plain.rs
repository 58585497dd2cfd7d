//! Layers as they are uncompressed, for readers that take a layer's file for its diff id: scanners, and old tools.

use std::collections::HashMap;
use std::io;

use anyhow::Context as _;
use cli::Progress;
use image::layer::Content;
use layer_format::resolve::Layer as ResolvedLayer;
use layer_format::{Config, Descriptor, Digest, media_type};
use store::Store;
use stream::Graph;
use stream::archive::Layer;

use crate::choice::{Chosen, document};

/// The stored layers that are written uncompressed, by the digest of what is written: their diff ids.
#[derive(Debug, Default)]
pub(crate) struct PlainLayers(HashMap<Digest, Layer>);

impl PlainLayers {
    /// Puts uncompressed layers in the place of compressed ones. Each is read once, because its size stands before its bytes.
    pub(crate) fn of(
        chosen: &mut Chosen,
        store: &Store,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let mut plain = Self::default();
        let mut sizes = HashMap::new();
        for image in &mut chosen.images {
            plain.replace(image, &mut sizes, store, progress)?;
        }
        Ok(plain)
    }

    fn replace(
        &mut self,
        image: &mut Graph,
        sizes: &mut HashMap<Digest, u64>,
        store: &Store,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let entries = image.entries();
        let is_runnable: Vec<_> =
            image.manifests.iter().map(|manifest| entries.is_runnable(manifest)).collect();
        let runnable = image.manifests.iter_mut().zip(is_runnable).filter(|(_, it)| *it);
        for (manifest, _) in runnable {
            let config = Config::parse(document(&manifest.config, store)?)?;
            let diff_ids = manifest.diff_ids(&config)?;
            for (blob, diff_id) in manifest.layers.iter_mut().zip(diff_ids) {
                let Some(diff_id) = diff_id.filter(|diff_id| diff_id.0 != blob.digest) else {
                    continue;
                };
                let layer = Layer::from(ResolvedLayer { blob: blob.clone(), diff_id });
                let size = match sizes.get(&diff_id.0) {
                    Some(size) => *size,
                    None => measure(&layer, store, progress)?,
                };
                sizes.insert(diff_id.0, size);
                *blob = Descriptor::new(media_type::OCI_LAYER, diff_id.0, size);
                self.0.insert(diff_id.0, layer);
            }
        }
        Ok(())
    }

    /// The stored layer that a blob of the stream is made of; `None` if it is stored as it is.
    pub(crate) fn source(&self, blob: &Descriptor) -> Option<&Layer> {
        self.0.get(&blob.digest)
    }
}

/// The size of a layer's uncompressed bytes, which are checked.
fn measure(layer: &Layer, store: &Store, progress: &Progress) -> anyhow::Result<u64> {
    let task = progress.task(layer.digest().short(), layer.size());
    task.state("Measuring");
    let name = || format!("layer {}", layer.digest());
    let stored = image::stored_layer(store, layer).with_context(name)?;
    let mut content = Content::of(layer, task.read(stored), Some(store)).with_context(name)?;
    let size = io::copy(&mut content, &mut io::sink()).with_context(name)?;
    content.note(Some(store));
    task.done("Measured");
    Ok(size)
}
