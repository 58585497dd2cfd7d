//! Gathers the documents of an image, from its root to its manifests.

use std::collections::{HashMap, HashSet};

use layer_format::resolve::{INDEX_DEPTH, too_deep};
use layer_format::{Descriptor, Digest, Document, Error, Index, Manifest, Platform, select};

use super::Graph;

/// The annotation of an attestation's entry with the digest of the manifest that it speaks about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Source of documents. It returns the verified bytes of a manifest or an index; `None` if it isn't there.
pub type Lookup<'a> = dyn FnMut(&Descriptor) -> Result<Option<Vec<u8>>, Error> + 'a;

impl Graph {
    /// Gathers the documents below `root`. Each is read once, in the order of the indexes. The result is `None` if the
    /// root isn't there. Some images of an index may be absent.
    ///
    /// With `platforms`, only the images that suit one of them best are gathered from each index, among those that are
    /// there. Attestations of these images are gathered, too. `lookup` gives the verified bytes of a manifest or an
    /// index; `None` if it isn't there.
    ///
    /// # Errors
    /// A document is malformed, no image suits a platform, the indexes are nested deeper than [`INDEX_DEPTH`], or
    /// `lookup` fails.
    pub fn gather<E: From<Error>>(
        root: &Descriptor,
        platforms: &[Platform],
        mut lookup: impl FnMut(&Descriptor) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Self>, E> {
        let mut gathering = Gathering {
            platforms,
            lookup: &mut lookup,
            seen: HashSet::new(),
            read: HashMap::new(),
            image: Self::default(),
        };
        gathering.visit(root, INDEX_DEPTH)?;
        let image = gathering.image;
        Ok((!image.indexes.is_empty() || !image.manifests.is_empty()).then_some(image))
    }

    /// Gathers everything below an index that was read already. It works like [`gather`](Self::gather).
    ///
    /// # Errors
    /// The errors of [`gather`](Self::gather).
    pub fn gather_below<E: From<Error>>(
        index: Index,
        mut lookup: impl FnMut(&Descriptor) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let seen = HashSet::from([index.descriptor().digest]);
        let mut gathering = Gathering {
            platforms: &[],
            lookup: &mut lookup,
            seen,
            read: HashMap::new(),
            image: Self::default(),
        };
        gathering.take(index, INDEX_DEPTH)?;
        Ok(gathering.image)
    }

    /// The number of bytes of its documents.
    pub(crate) fn n_bytes(&self) -> u64 {
        let indexes = self.indexes.iter().map(|index| index.raw().len());
        indexes.chain(self.manifests.iter().map(|manifest| manifest.raw().len())).sum::<usize>()
            as u64
    }

    /// Every blob below the documents in stream order, each once: for each manifest first the config, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let mut seen = HashSet::new();
        let parts = self.manifests.iter().flat_map(Manifest::parts);
        parts.filter(move |part| seen.insert(part.digest))
    }
}

struct Gathering<'a, F> {
    platforms: &'a [Platform],
    lookup: &'a mut F,
    seen: HashSet<Digest>,
    /// The documents that are wanted and were already read to find out whether they are there.
    read: HashMap<Digest, Vec<u8>>,
    image: Graph,
}

impl<E: From<Error>, F: FnMut(&Descriptor) -> Result<Option<Vec<u8>>, E>> Gathering<'_, F> {
    fn visit(&mut self, entry: &Descriptor, depth: usize) -> Result<(), E> {
        if !self.seen.insert(entry.digest) {
            return Ok(());
        }
        let raw = match self.read.remove(&entry.digest) {
            Some(raw) => Some(raw),
            None => (self.lookup)(entry)?,
        };
        let Some(raw) = raw else { return Ok(()) };
        match Document::parse(raw)? {
            Document::Manifest(manifest) => self.image.manifests.push(manifest),
            Document::Index(index) => self.take(index, depth)?,
        }
        Ok(())
    }

    fn take(&mut self, index: Index, depth: usize) -> Result<(), E> {
        let below = depth.checked_sub(1).ok_or_else(too_deep)?;
        let entries = self.wanted(&index)?;
        self.image.indexes.push(index);
        entries.iter().try_for_each(|entry| self.visit(entry, below))
    }

    /// The entries that are asked for. They are chosen among those that are there, if there is any. Indexes in an index
    /// are always included, whatever platform they state.
    fn wanted(&mut self, index: &Index) -> Result<Vec<Descriptor>, E> {
        if self.platforms.is_empty() {
            return Ok(index.manifests.clone());
        }
        let (indexes, images): (Vec<_>, Vec<_>) =
            index.manifests.iter().cloned().partition(Descriptor::is_index);
        let mut here = vec![];
        let mut read = HashMap::new();
        for entry in images.iter().filter(|entry| !entry.is_attestation()) {
            if let Some(raw) = (self.lookup)(entry)? {
                read.insert(entry.digest, raw);
                here.push(entry.clone());
            }
        }
        let images = if here.is_empty() { images } else { here };
        let mut chosen = HashSet::new();
        let mut nothing = None;
        for platform in self.platforms {
            match select(&images, platform) {
                Ok(entry) => drop(chosen.insert(entry.digest)),
                Err(error) => nothing = Some(error),
            }
        }
        self.read.extend(read.into_iter().filter(|(digest, _)| chosen.contains(digest)));
        match nothing {
            Some(error) if chosen.is_empty() && indexes.is_empty() => return Err(error.into()),
            _ => {}
        }
        let subject = |entry: &Descriptor| entry.annotation(REFERENCE_DIGEST)?.parse().ok();
        let is_wanted = |entry: &&Descriptor| {
            let about = subject(entry).filter(|_| entry.is_attestation());
            entry.is_index() || chosen.contains(&about.unwrap_or(entry.digest))
        };
        Ok(index.manifests.iter().filter(is_wanted).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer_format::media_type;

    /// A manifest whose config's digest is of `text`.
    fn manifest(text: &str) -> Vec<u8> {
        let config = Descriptor::of(media_type::OCI_CONFIG, text.as_bytes());
        serde_json::json!({"schemaVersion": 2, "config": config, "layers": []})
            .to_string()
            .into_bytes()
    }

    fn entry(raw: &[u8], platform: &str) -> Descriptor {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, raw);
        entry.platform = platform.parse().ok();
        entry
    }

    fn index(entries: &[Descriptor]) -> (Descriptor, Vec<u8>) {
        let raw = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
        (Descriptor::of(media_type::OCI_INDEX, raw.as_bytes()), raw.into_bytes())
    }

    fn gather(
        root: &Descriptor,
        platforms: &[&str],
        documents: &[&[u8]],
    ) -> Result<Option<Graph>, Error> {
        let documents: HashMap<_, _> =
            documents.iter().map(|raw| (Digest::of(raw), raw.to_vec())).collect();
        let platforms: Vec<_> = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let mut lookup = |entry: &Descriptor| Ok(documents.get(&entry.digest).cloned());
        Graph::gather(root, &platforms, &mut lookup)
    }

    #[test]
    fn absent_images_are_left_out_and_an_absent_root_is_none() {
        let (amd64, arm64) = (manifest("a"), manifest("b"));
        let (root, raw) = index(&[entry(&amd64, "linux/amd64"), entry(&arm64, "linux/arm64")]);
        let image = gather(&root, &[], &[&raw, &arm64]).unwrap().unwrap();
        assert_eq!(image.manifests.len(), 1);
        assert_eq!(image.manifests[0].raw(), arm64);
        assert!(gather(&root, &[], &[&amd64]).unwrap().is_none());
    }

    #[test]
    fn a_platform_brings_its_image_and_what_speaks_about_it() {
        let raws = [manifest("a"), manifest("b"), manifest("about a"), manifest("about b")];
        let about = |raw: &[u8], subject: &[u8]| {
            let mut entry = entry(raw, "unknown/unknown");
            entry.annotations.insert(REFERENCE_DIGEST.to_owned(), Digest::of(subject).to_string());
            entry
        };
        let (root, raw) = index(&[
            entry(&raws[0], "linux/amd64"),
            entry(&raws[1], "linux/arm64"),
            about(&raws[2], &raws[0]),
            about(&raws[3], &raws[1]),
        ]);
        let documents = [&raw[..], &raws[0], &raws[1], &raws[2], &raws[3]];
        let found = |platforms: &[&str]| {
            let image = gather(&root, platforms, &documents).unwrap().unwrap();
            let position = |manifest: &Manifest| raws.iter().position(|raw| *raw == manifest.raw());
            image.manifests.iter().filter_map(position).collect::<Vec<_>>()
        };
        assert_eq!(found(&["linux/arm64"]), [1, 3]);
        assert_eq!(found(&["linux/arm64", "linux/amd64"]), [0, 1, 2, 3]);
        assert_eq!(found(&["linux/arm64", "linux/s390x"]), [1, 3]);
        let nothing = gather(&root, &["linux/s390x"], &documents);
        assert!(matches!(nothing, Err(Error::NoPlatform { .. })));
    }

    #[test]
    fn each_document_is_read_once() {
        let raws = [manifest("a"), manifest("b")];
        let (root, raw) = index(&[entry(&raws[0], "linux/amd64"), entry(&raws[1], "linux/arm64")]);
        let platform = "linux/arm64".parse().unwrap();
        let mut n_read = HashMap::new();
        let lookup = |entry: &Descriptor| {
            *n_read.entry(entry.digest).or_insert(0) += 1;
            let documents = [&raw, &raws[0], &raws[1]];
            let found = documents.into_iter().find(|raw| Digest::of(raw) == entry.digest);
            Ok::<_, Error>(found.cloned())
        };
        let graph = Graph::gather(&root, &[platform], lookup).unwrap().unwrap();
        assert_eq!(graph.manifests[0].raw(), raws[1]);
        assert_eq!(n_read.into_values().collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_platform_is_looked_for_in_an_index_in_an_index() {
        let raws = [manifest("a"), manifest("b"), manifest("c")];
        let (inner, inner_raw) =
            index(&[entry(&raws[0], "linux/amd64"), entry(&raws[1], "linux/arm64")]);
        let (root, raw) = index(&[inner.clone(), entry(&raws[2], "linux/s390x")]);
        let (only, only_raw) = index(&[inner]);
        let documents = [&raw[..], &inner_raw, &only_raw, &raws[0], &raws[1], &raws[2]];
        let found = |root: &Descriptor, platform: &str| {
            let image = gather(root, &[platform], &documents)?.unwrap();
            assert_eq!(image.indexes.len(), 2);
            let position = |manifest: &Manifest| raws.iter().position(|raw| *raw == manifest.raw());
            Ok::<_, Error>(image.manifests.iter().filter_map(position).collect::<Vec<_>>())
        };
        assert_eq!(found(&root, "linux/amd64").unwrap(), [0]);
        assert_eq!(found(&only, "linux/arm64").unwrap(), [1]);
        let nothing = found(&only, "linux/s390x");
        assert!(matches!(nothing, Err(Error::NoPlatform { .. })));
    }

    #[test]
    fn indexes_that_repeat_themselves_take_linear_time() {
        let leaf = manifest("leaf");
        let mut below = entry(&leaf, "linux/amd64");
        let mut raws = vec![leaf];
        for _ in 0..INDEX_DEPTH {
            let (entry, raw) = index(&vec![below; 1000]);
            below = entry;
            raws.push(raw);
        }
        let documents: Vec<&[u8]> = raws.iter().map(Vec::as_slice).collect();
        assert_eq!(gather(&below, &[], &documents).unwrap().unwrap().manifests.len(), 1);
        let (deeper, raw) = index(&[below]);
        raws.push(raw);
        let documents: Vec<&[u8]> = raws.iter().map(Vec::as_slice).collect();
        assert!(matches!(gather(&deeper, &[], &documents), Err(Error::BeyondLimit { .. })));
    }
}
