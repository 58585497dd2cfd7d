//! An image in a store or another OCI layout.

use std::collections::HashSet;
use std::io::{self, Read};

use layer_format::resolve::{Documents, Selected};
use layer_format::{Descriptor, Document, Manifest, Platform, Reference, Verified};
use store::{Error, Store};
use stream::archive::{Image, Layer};

use crate::Result;

/// Reads the image that `root` describes. Of an index, that is the one for `platform`, or for this machine's platform if that
/// is `None` and the index has several.
///
/// # Errors
/// A document is missing, damaged or malformed, or there is no image for the platform.
pub fn read_image(
    store: &Store,
    root: &Descriptor,
    names: Vec<String>,
    platform: Option<&Platform>,
) -> Result<Image> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut documents = Stored { store };
    let document = Document::parse(store.document(&root.digest)?)?;
    let selected = Selected::descend(document, None, &wanted, &mut documents)?;
    let config = selected.config(&mut documents)?;
    let layers = selected.layers(&config, platform)?.into_iter().map(Layer::from).collect();
    let is_single = root.digest == selected.manifest.descriptor().digest;
    let manifest = Some(selected.manifest);
    Ok(Image { names, manifest, config, layers, doubt: None, is_single })
}

/// A store as a source of documents.
struct Stored<'a> {
    store: &'a Store,
}

impl Documents for Stored<'_> {
    type Error = Error;

    fn document(&mut self, descriptor: &Descriptor, _what: &'static str) -> Result<Vec<u8>> {
        self.store.document(&descriptor.digest)
    }

    /// The entries whose manifests the store has, if there are any: it may have an index for some of its platforms only.
    fn candidates(&mut self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        let mut here = vec![];
        for entry in &entries {
            if self.store.has(&entry.digest, entry.size)? {
                here.push(entry.clone());
            }
        }
        Ok(if here.is_empty() { entries } else { here })
    }
}

/// The documents that `root` leads to and that the store has; it may have an index for some of its platforms only. If `platforms`
/// are given, only those images of each index count that suit one of them best.
///
/// # Errors
/// [`Error::MissingBlob`] if the store lacks the root, or every image that is wanted.
pub fn documents(
    store: &Store,
    root: &Descriptor,
    platforms: &[Platform],
) -> Result<stream::Graph> {
    let graph = gather(store, root, platforms)?;
    first_image(&graph, root)?;
    Ok(graph)
}

/// The manifest of the image for a platform, of those that `root` leads to; if that is a manifest itself, it is this one.
///
/// # Errors
/// As [`documents`].
pub fn manifest_for(store: &Store, root: &Descriptor, platform: &Platform) -> Result<Manifest> {
    let mut graph = gather(store, root, std::slice::from_ref(platform))?;
    let position = first_image(&graph, root)?;
    Ok(graph.manifests.swap_remove(position))
}

fn gather(store: &Store, root: &Descriptor, platforms: &[Platform]) -> Result<stream::Graph> {
    let lookup = |entry: &Descriptor| store.document_if_here(&entry.digest);
    let gathered = stream::Graph::gather(root, platforms, lookup)?;
    gathered.ok_or(Error::MissingBlob { digest: root.digest })
}

/// The position of the first manifest of an image.
///
/// # Errors
/// [`Error::MissingBlob`] names the first image that is listed, if there is none.
fn first_image(graph: &stream::Graph, root: &Descriptor) -> Result<usize> {
    let entries = graph.entries();
    let position = graph.manifests.iter().position(|it| !entries.is_attestation(it));
    position.ok_or_else(|| {
        let mut listed = graph.indexes.iter().flat_map(|index| &index.manifests);
        let absent = listed.find(|entry| !entry.is_attestation()).unwrap_or(root);
        Error::MissingBlob { digest: absent.digest }
    })
}

/// The stored bytes of a layer; once they are read to their end, they have been checked against the manifest.
///
/// # Errors
/// The layer has no blob, or the store doesn't have it.
pub fn stored_layer(
    store: &Store,
    layer: &Layer,
) -> Result<Box<dyn Read + Send>, layer_format::Error> {
    let nameless = || layer_format::Error::NotFound { what: format!("layer {}", layer.diff_id) };
    let blob = layer.blob.as_ref().ok_or_else(nameless)?;
    let opening = |error| layer_format::Error::Io {
        operation: "opening a blob",
        source: io::Error::other(error),
    };
    let missing = || opening(Error::MissingBlob { digest: blob.digest });
    let file = store.blob(&blob.digest).map_err(opening)?.ok_or_else(missing)?;
    Ok(Box::new(Verified::new(file, "layer", blob.digest, Some(blob.size))))
}

/// Finds the image with this name or, without one, the only image. Returns its descriptor and all its names, the one by which it
/// was found first.
pub(crate) fn find(store: &Store, name: Option<&String>) -> Result<(Descriptor, Vec<String>)> {
    let found = name.map(|name| store.find(name)).transpose()?;
    let mut images = store.images()?;
    if let Some(found) = found {
        images.retain(|image| image.digest() == found.image.digest());
        return Ok((found.descriptor, names(&images, found.image.name())));
    }
    images.retain(|image| image.descriptor.is_image());
    // A signature or the like counts only if there is nothing else.
    let is_about_another =
        |image: &store::IndexEntry| image.name().is_some_and(Reference::is_about_another);
    let own = images.iter().filter(|image| !is_about_another(image));
    let own: HashSet<_> = own.map(|image| *image.digest()).collect();
    images.retain(|image| own.is_empty() || own.contains(image.digest()));
    let first = images.first().ok_or_else(|| Error::NoImage { path: store.path().to_owned() })?;
    if images.iter().all(|image| image.digest() == first.digest()) {
        return Ok((first.descriptor.clone(), names(&images, first.name())));
    }
    let shown = |image: &store::IndexEntry| match image.name() {
        Some(name) => layer_format::layer::escape(name.as_bytes()),
        None => image.digest().to_string(),
    };
    let mut names: Vec<_> = images.iter().map(shown).collect();
    names.sort();
    Err(layer_format::Error::Ambiguous { names }.into())
}

fn names(images: &[store::IndexEntry], first: Option<&str>) -> Vec<String> {
    let others =
        images.iter().filter_map(store::IndexEntry::name).filter(|name| Some(*name) != first);
    first.into_iter().chain(others).map(str::to_owned).collect()
}
