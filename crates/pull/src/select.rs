//! What belongs to an image: from a name to manifests, configs and layers.

use layer_format::resolve::{ContainerConfig, Selected};
use layer_format::{
    DOCUMENT_LIMIT, Descriptor, DiffId, Digest, Document, Error, Index, Manifest, Platform,
    Reference, check_platform,
};
use network::RemoteDocuments;
use registry::Repository;
use store::Store;
use stream::{Graph, Name};

/// The most bytes that the documents of one name may have.
const DOCUMENTS_LIMIT: u64 = 16 * DOCUMENT_LIMIT;

/// Which images of an index to pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The one for this platform, or else for this machine.
    One(Option<Platform>),
    /// All of them, attestations included.
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

/// Where configs come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Configs<'a> {
    /// From the store if it has them, else from the registry.
    Read(Option<&'a Store>),
    /// From nowhere: a dry run fetches no blob, and a config is one.
    Unread,
}

/// An image whose documents have been downloaded, and whose layers are still to come.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedImage {
    /// The name that it was asked for by.
    pub(crate) reference: Reference,
    /// The repository that has its blobs.
    pub(crate) repository: Repository,
    /// The digest that the registry has for the name.
    pub(crate) digest: Digest,
    /// Its indexes and manifests.
    pub(crate) graph: Graph,
    /// The index that the one manifest was chosen from.
    pub(crate) chosen_from: Option<Digest>,
    /// The configs, in the order of the manifests; empty if they were not read.
    pub(crate) configs: Vec<Vec<u8>>,
    /// The diff ids of the layers of each manifest: none for an artifact, whose layers are no file systems, and `None` for a
    /// layer that isn't one.
    pub(crate) diff_ids: Vec<Vec<Option<DiffId>>>,
}

/// The verified bytes of an index, a manifest or a config.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawDocument<'a> {
    pub(crate) digest: Digest,
    pub(crate) raw: &'a [u8],
}

/// What a manifest names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) config: RawDocument<'a>,
    /// Base first.
    pub(crate) layers: &'a [Descriptor],
}

impl ResolvedImage {
    /// What the name points at in a store or a stream: the index if it is pulled too, else the manifest.
    pub(crate) fn root(&self) -> Descriptor {
        match (self.graph.indexes.first(), self.graph.manifests.first()) {
            (Some(index), _) => index.descriptor(),
            (None, Some(manifest)) => manifest.descriptor(),
            (None, None) => unreachable!("resolve gives an index or a manifest"),
        }
    }

    /// The entry for the image in a stream's index.
    pub(crate) fn name(&self) -> Name {
        Name { reference: Some(self.reference.clone()), target: self.root() }
    }

    /// The indexes and manifests, in stream order.
    pub(crate) fn documents(&self) -> impl Iterator<Item = RawDocument<'_>> {
        let Graph { indexes, manifests } = &self.graph;
        let indexes = indexes
            .iter()
            .map(|index| RawDocument { digest: index.descriptor().digest, raw: index.raw() });
        let manifests = manifests.iter().map(|manifest| RawDocument {
            digest: manifest.descriptor().digest,
            raw: manifest.raw(),
        });
        indexes.chain(manifests)
    }

    /// What each manifest names, in the order of the manifests.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Parts<'_>> {
        let pairs = self.graph.manifests.iter().zip(&self.configs);
        pairs.map(|(manifest, config)| Parts {
            config: RawDocument { digest: manifest.config.digest, raw: config },
            layers: &manifest.layers,
        })
    }

    /// The layers whose diff ids are known, with those.
    pub(crate) fn diff_ids(&self) -> impl Iterator<Item = (&Descriptor, DiffId)> {
        let pairs = self.graph.manifests.iter().zip(&self.diff_ids);
        pairs.flat_map(|(manifest, diff_ids)| {
            let pairs = manifest.layers.iter().zip(diff_ids);
            pairs.filter_map(|(layer, diff_id)| Some((layer, (*diff_id)?)))
        })
    }
}

/// Asks the registry what the name means. What configs say of the image is checked if they are read.
pub(crate) fn resolve(
    name: &Reference,
    repository: &Repository,
    choice: &Choice,
    from: Configs<'_>,
) -> anyhow::Result<ResolvedImage> {
    let (document, digest) = repository.manifest(&name.wanted())?;
    let mut graph = Graph::default();
    let mut chosen_from = None;
    let mut listed = None;
    match (document, choice) {
        (Document::Index(index), Choice::All) => {
            graph = collect(index, repository, &mut Budget::default())?;
        }
        (document, choice) => {
            chosen_from = matches!(document, Document::Index(_)).then_some(digest);
            let wanted = choice.platform().cloned().unwrap_or_else(Platform::host);
            let selected =
                Selected::descend(document, None, &wanted, &mut RemoteDocuments(repository))?;
            graph.manifests.push(selected.manifest);
            listed = selected.listed;
        }
    }
    for entry in graph.indexes.iter().flat_map(|index| &index.manifests) {
        entry.check_digest()?;
    }
    for manifest in &graph.manifests {
        manifest.check_digests()?;
    }
    let mut configs = Vec::new();
    let mut diff_ids = Vec::new();
    let entries = graph.entries();
    for manifest in &graph.manifests {
        let Some(raw) = config(manifest, repository, from)? else { break };
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
    let reference = name.clone();
    let repository = repository.clone();
    Ok(ResolvedImage { reference, repository, digest, graph, chosen_from, configs, diff_ids })
}

/// How many bytes of documents may still be downloaded for one name: all of them are kept in memory.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(DOCUMENTS_LIMIT)
    }
}

impl Budget {
    /// Subtracts the size of a document, in bytes, before it is asked for.
    ///
    /// # Errors
    /// [`Error::TooLarge`], if less is left.
    pub(crate) fn take(&mut self, n_bytes: u64) -> Result<(), Error> {
        self.0 = self.0.checked_sub(n_bytes).ok_or_else(|| {
            let what = "all that describes the image".to_owned();
            Error::TooLarge { what, limit: DOCUMENTS_LIMIT }
        })?;
        Ok(())
    }
}

/// Downloads the indexes and manifests below an index.
///
/// # Errors
/// The registry's, and [`Error::TooLarge`] if `budget` has less left than they need.
pub(crate) fn collect(
    index: Index,
    repository: &Repository,
    budget: &mut Budget,
) -> anyhow::Result<Graph> {
    Graph::gather_below(index, |entry| {
        budget.take(entry.size)?;
        RemoteDocuments(repository).listed(entry).map(Some)
    })
}

/// The bytes of a config; `None` if configs aren't read.
pub(crate) fn config(
    manifest: &Manifest,
    repository: &Repository,
    from: Configs<'_>,
) -> anyhow::Result<Option<Vec<u8>>> {
    let Configs::Read(store) = from else { return Ok(None) };
    let wanted = &manifest.config;
    match store
        // What the store can't read, the registry has.
        .filter(|store| store.has(&wanted.digest, wanted.size).unwrap_or(false))
        .map(|store| store.document(&wanted.digest))
    {
        Some(Ok(raw)) => Ok(Some(raw)),
        _ => Ok(Some(repository.document(wanted)?)),
    }
}
