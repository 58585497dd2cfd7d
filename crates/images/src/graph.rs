//! The documents and blobs of an image, as far as the store has them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cli::error::chain;
use layer_format::resolve::INDEX_DEPTH;
use layer_format::{Config, Descriptor, DiffId, Digest, Document, Manifest, media_type};
use store::Store;

/// The parts of one image.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Every blob that the image needs, with the sizes in bytes that its documents tell.
    pub(crate) blobs: BTreeMap<Digest, BTreeSet<u64>>,
    /// The diff ids that its layers must have, by blob.
    pub(crate) diff_ids: BTreeMap<Digest, BTreeSet<DiffId>>,
    /// The platforms of its images.
    pub(crate) platforms: Vec<String>,
    /// The latest time of creation in its configs, in the form of RFC 3339.
    pub(crate) created: Option<String>,
    /// The documents that are damaged or missing, and what is wrong with each.
    pub(crate) problems: Vec<(Digest, String)>,
    /// Why the first document of those that can't be read can't be. That says nothing about its content.
    pub(crate) unread: Option<store::Error>,
}

impl Graph {
    /// Reads all documents that `root` leads to.
    ///
    /// # Errors
    /// One of them can't be read. What is wrong with them is no error.
    pub(crate) fn read(store: &Store, root: &Descriptor) -> store::Result<Self> {
        let graph = Self::read_readable(store, root);
        match graph.unread {
            Some(error) => Err(error),
            None => Ok(graph),
        }
    }

    /// Reads the documents that `root` leads to, as far as they can be read.
    pub(crate) fn read_readable(store: &Store, root: &Descriptor) -> Self {
        let mut graph = Self::default();
        let mut seen = HashSet::new();
        let mut queue = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = queue.pop() {
            graph.blobs.entry(descriptor.digest).or_default().insert(descriptor.size);
            if !seen.insert(descriptor.digest) {
                continue;
            }
            match graph.document(store, &descriptor.digest, Document::parse) {
                Some(Document::Manifest(manifest)) => {
                    let is_image = !descriptor.is_attestation();
                    graph.manifest(store, &manifest, is_image);
                }
                Some(Document::Index(_)) if depth == INDEX_DEPTH => {
                    let problem = "index: nested too deep".to_owned();
                    graph.problems.push((descriptor.digest, problem));
                }
                // The store may have an index for some of its platforms only.
                Some(Document::Index(index)) => {
                    let Some(away) = graph.readable(store.lacks(&index.manifests)) else {
                        continue;
                    };
                    let is_here = |child: &&Descriptor| !away.contains(child);
                    let here = index.manifests.iter().filter(is_here).cloned();
                    queue.extend(here.map(|child| (child, depth + 1)));
                }
                None => {}
            }
        }
        graph.platforms.sort();
        graph.platforms.dedup();
        graph
    }

    /// The digest and the size in bytes of each blob.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Digest, u64)> {
        let size = |sizes: &BTreeSet<u64>| sizes.last().copied().unwrap_or_default();
        self.blobs.iter().map(move |(digest, sizes)| (*digest, size(sizes)))
    }

    fn manifest(&mut self, store: &Store, manifest: &Manifest, is_image: bool) {
        for part in manifest.layers.iter().chain([&manifest.config]) {
            self.blobs.entry(part.digest).or_default().insert(part.size);
        }
        // Signatures, attestations and other artifacts have manifests too.
        let is_config = ["", media_type::OCI_CONFIG, media_type::DOCKER_CONFIG]
            .contains(&manifest.config.media_type.as_str());
        if !is_image || !is_config {
            return;
        }
        let digest = &manifest.config.digest;
        let Some(config) = self.document(store, digest, Config::parse) else { return };
        // An artifact may have an image's config without a root file system.
        let has_files =
            config.has_root_file_system() && manifest.layers.iter().any(Descriptor::is_tar);
        let n_layers = manifest.layers.len();
        let checked = if has_files { config.check_layers(n_layers) } else { Ok(()) };
        let diff_ids = match checked.and_then(|()| manifest.diff_ids(&config)) {
            Ok(diff_ids) => diff_ids,
            Err(error) => {
                self.problems.push((*digest, chain(&error)));
                return;
            }
        };
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            self.diff_ids.entry(layer.digest).or_default().extend(diff_id);
        }
        self.platforms.push(config.platform.to_string());
        self.created = self.created.take().max(config.created);
    }

    /// Reads a document; `None` if something is wrong with it or it can't be read, which is noted.
    fn document<T>(
        &mut self,
        store: &Store,
        digest: &Digest,
        parse: fn(Vec<u8>) -> Result<T, layer_format::Error>,
    ) -> Option<T> {
        let problem = match store.document(digest).map(parse) {
            Ok(Ok(document)) => return Some(document),
            Ok(Err(error)) | Err(store::Error::Layer(error)) => chain(&error),
            Err(store::Error::MissingBlob { .. }) => MISSING.to_owned(),
            Err(error) => return self.readable(Err(error)),
        };
        self.problems.push((*digest, problem));
        None
    }

    /// The result of a reading; the first error is noted.
    fn readable<T>(&mut self, read: store::Result<T>) -> Option<T> {
        read.map_err(|error| self.unread.get_or_insert(error)).ok()
    }
}

/// The problem with a blob that isn't there.
pub(crate) const MISSING: &str = "is missing";
