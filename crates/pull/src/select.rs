//! What belongs to an image: from a name to manifests, configs and layers.

use layer_format::resolve::{ContainerConfig, Documents, Selected};
use layer_format::stream::Graph;
use layer_format::{
    DOCUMENT_LIMIT, Descriptor, DiffId, Digest, Document, Error, Index, Manifest, Platform,
    Reference, check_platform, media_type,
};
use registry::Repository;
use store::Store;

/// The most bytes that the documents of one name may have.
const DOCUMENTS_LIMIT: u64 = 16 * DOCUMENT_LIMIT;

/// Which of an index's images are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The one for this platform, or else for this machine.
    One(Option<Platform>),
    /// All of them, with whatever speaks about them.
    All,
}

impl Choice {
    /// The platform that was asked for.
    fn platform(&self) -> Option<&Platform> {
        match self {
            Self::One(platform) => platform.as_ref(),
            Self::All => None,
        }
    }
}

/// An image whose layers are known and still to be brought.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The name it was asked for by.
    pub(crate) reference: Reference,
    /// The digest that the registry has for the name.
    pub(crate) digest: Digest,
    /// Its documents.
    pub(crate) image: Graph,
    /// The index that the one manifest was chosen from.
    pub(crate) chosen_from: Option<Digest>,
    /// The configs, in the order of the manifests.
    pub(crate) configs: Vec<Vec<u8>>,
    /// Of each manifest what its layers must decompress to, as far as they are layers of files.
    pub(crate) diff_ids: Vec<Vec<Option<DiffId>>>,
}

impl Pulled {
    /// What the name points at in a store or a stream: the index if it travels, else the manifest.
    pub(crate) fn root(&self) -> Descriptor {
        match (self.image.indexes.first(), self.image.manifests.first()) {
            (Some(index), _) => index.descriptor(),
            (None, Some(manifest)) => manifest.descriptor(),
            (None, None) => unreachable!("resolve gives an index or a manifest"),
        }
    }

    /// Indexes and manifests, in stream order.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Digest, &[u8])> {
        let Graph { indexes, manifests } = &self.image;
        let indexes = indexes.iter().map(|index| (index.descriptor().digest, index.raw()));
        let manifests =
            manifests.iter().map(|manifest| (manifest.descriptor().digest, manifest.raw()));
        indexes.chain(manifests)
    }

    /// Of each manifest the config's digest, the config, and the layers, base first.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (Digest, &[u8], &[Descriptor])> {
        let pairs = self.image.manifests.iter().zip(&self.configs);
        pairs.map(|(manifest, config)| (manifest.config.digest, &config[..], &manifest.layers[..]))
    }

    /// The layers, and what each must decompress to.
    pub(crate) fn diff_ids(&self) -> impl Iterator<Item = (&Descriptor, DiffId)> {
        let pairs = self.image.manifests.iter().zip(&self.diff_ids);
        pairs.flat_map(|(manifest, diff_ids)| {
            let pairs = manifest.layers.iter().zip(diff_ids);
            pairs.filter_map(|(layer, diff_id)| Some((layer, (*diff_id)?)))
        })
    }
}

/// Asks the registry what the name means. Configs that the store has are not asked for.
pub(crate) fn resolve(
    name: &Reference,
    repository: &Repository,
    choice: &Choice,
    store: Option<&Store>,
) -> anyhow::Result<Pulled> {
    let (document, digest) = repository.manifest(&name.wanted())?;
    let mut image = Graph::default();
    let mut chosen_from = None;
    let mut listed = None;
    match (document, choice) {
        (Document::Index(index), Choice::All) => {
            image = collect(index, repository, &mut Budget::default())?;
        }
        (document, choice) => {
            chosen_from = matches!(document, Document::Index(_)).then_some(digest);
            let wanted = choice.platform().cloned().unwrap_or_else(Platform::host);
            let selected = Selected::descend(document, None, &wanted, &mut Remote { repository })?;
            image.manifests.push(selected.manifest);
            listed = selected.listed;
        }
    }
    for entry in image.indexes.iter().flat_map(|index| &index.manifests) {
        entry.check_digest()?;
    }
    for manifest in &image.manifests {
        manifest.check_digests()?;
    }
    let (mut configs, mut diff_ids) = (Vec::new(), Vec::new());
    let entries = image.entries();
    for manifest in &image.manifests {
        let raw = config(manifest, repository, store)?;
        // Artifacts are passed on as they are.
        let checked = if entries.is_runnable(manifest) {
            let container = ContainerConfig::parse(manifest, raw.clone())?;
            check_platform(choice.platform(), listed.as_ref(), &container.config.platform)?;
            container.diff_ids
        } else {
            vec![]
        };
        diff_ids.push(checked);
        configs.push(raw);
    }
    Ok(Pulled { reference: name.clone(), digest, image, chosen_from, configs, diff_ids })
}

/// How many bytes of documents may still be brought for one name: all are in memory.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(DOCUMENTS_LIMIT)
    }
}

impl Budget {
    /// Takes note of a document before it is asked for.
    pub(crate) fn take(&mut self, n_bytes: u64) -> Result<(), Error> {
        self.0 = self.0.checked_sub(n_bytes).ok_or_else(|| {
            let what = "all that describes the image".to_owned();
            Error::TooLarge { what, limit: DOCUMENTS_LIMIT }
        })?;
        Ok(())
    }
}

/// An index and everything below it.
pub(crate) fn collect(
    index: Index,
    repository: &Repository,
    budget: &mut Budget,
) -> anyhow::Result<Graph> {
    Graph::gather_below(index, |entry| {
        budget.take(entry.size)?;
        document(repository, entry).map(Some)
    })
}

/// The documents of a repository.
struct Remote<'a> {
    repository: &'a Repository,
}

impl Documents for Remote<'_> {
    type Error = anyhow::Error;

    fn document(&mut self, entry: &Descriptor, _what: &'static str) -> anyhow::Result<Vec<u8>> {
        document(self.repository, entry)
    }
}

/// A manifest or index that an index names.
fn document(repository: &Repository, entry: &Descriptor) -> anyhow::Result<Vec<u8>> {
    let mut entry = entry.clone();
    // Whatever its type claims, it is asked for where manifests are.
    if !entry.media_type.contains("manifest") && !entry.media_type.contains("index") {
        media_type::OCI_MANIFEST.clone_into(&mut entry.media_type);
    }
    Ok(repository.document(&entry)?)
}

/// The bytes of a config, out of the store if it is there.
pub(crate) fn config(
    manifest: &Manifest,
    repository: &Repository,
    store: Option<&Store>,
) -> anyhow::Result<Vec<u8>> {
    let wanted = &manifest.config;
    match store
        // What the store can't read, the registry has.
        .filter(|store| store.has(&wanted.digest, wanted.size).unwrap_or(false))
        .map(|store| store.document(&wanted.digest))
    {
        Some(Ok(raw)) => Ok(raw),
        _ => Ok(repository.document(wanted)?),
    }
}
