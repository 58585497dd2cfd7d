//! What belongs to an image: from a name to manifests, configs and layers.

use std::collections::HashSet;

use layer_format::stream::{Entries, Image};
use layer_format::{
    Config, DOCUMENT_LIMIT, Descriptor, DiffId, Digest, Document, Error, Index, Manifest, Platform,
    Reference, check_platform, media_type, select,
};
use registry::Repository;
use store::Store;

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;
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

/// An image whose layers are known and still to be brought.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The name it was asked for by.
    pub(crate) reference: Reference,
    /// The digest that the registry has for the name.
    pub(crate) digest: Digest,
    /// Its documents.
    pub(crate) image: Image,
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
        let Image { indexes, manifests } = &self.image;
        let indexes = indexes.iter().map(|index| (index.descriptor().digest, &index.raw[..]));
        let manifests =
            manifests.iter().map(|manifest| (manifest.descriptor().digest, &manifest.raw[..]));
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
    let mut image = Image { indexes: vec![], manifests: vec![] };
    let (mut chosen_from, mut listed) = (None, None);
    match (document, choice) {
        (Document::Manifest(manifest), _) => image.manifests.push(manifest),
        (Document::Index(index), Choice::All) => {
            image = collect(index, repository, &mut Budget::default())?;
        }
        (Document::Index(index), Choice::One(platform)) => {
            chosen_from = Some(digest);
            let wanted = platform.clone().unwrap_or_else(Platform::host);
            let (manifest, platform) = descend(index, repository, &wanted)?;
            image.manifests.push(manifest);
            listed = platform;
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
        diff_ids.push(check(manifest, &raw, &entries, (choice, listed.as_ref()))?);
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
) -> anyhow::Result<Image> {
    let seen = HashSet::from([index.descriptor().digest]);
    let image = Image { indexes: vec![], manifests: vec![] };
    let mut collecting = Collecting { repository, budget, seen, image };
    collecting.collect(index, DEPTH_LIMIT)?;
    Ok(collecting.image)
}

/// What is below an index.
struct Collecting<'a> {
    repository: &'a Repository,
    budget: &'a mut Budget,
    seen: HashSet<Digest>,
    image: Image,
}

impl Collecting<'_> {
    /// Takes in everything below an index, each document once.
    fn collect(&mut self, index: Index, depth: usize) -> anyhow::Result<()> {
        let entries = index.manifests.clone();
        self.image.indexes.push(index);
        for entry in entries {
            if !self.seen.insert(entry.digest) {
                continue;
            }
            self.budget.take(entry.size)?;
            match child(self.repository, &entry)? {
                Document::Manifest(manifest) => self.image.manifests.push(manifest),
                Document::Index(_) if depth == 0 => return Err(too_deep().into()),
                Document::Index(index) => self.collect(index, depth - 1)?,
            }
        }
        Ok(())
    }
}

/// The manifest of an index that fits a platform best, and for which one it is listed.
fn descend(
    mut index: Index,
    repository: &Repository,
    wanted: &Platform,
) -> anyhow::Result<(Manifest, Option<Platform>)> {
    for _ in 0..=DEPTH_LIMIT {
        let entry = select(&index.manifests, wanted)?;
        match child(repository, entry)? {
            Document::Manifest(manifest) => return Ok((manifest, entry.platform.clone())),
            Document::Index(inner) => index = inner,
        }
    }
    Err(too_deep().into())
}

/// A manifest or index that an index names.
fn child(repository: &Repository, entry: &Descriptor) -> anyhow::Result<Document> {
    let mut entry = entry.clone();
    // Whatever its type claims, it is asked for where manifests are.
    if !entry.media_type.contains("manifest") && !entry.media_type.contains("index") {
        media_type::OCI_MANIFEST.clone_into(&mut entry.media_type);
    }
    Ok(Document::parse(repository.document(&entry)?)?)
}

fn too_deep() -> Error {
    Error::Malformed { what: "index".to_owned(), reason: "nested too deep" }
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

/// Checks that config and manifest agree, where the config is an image's; gives its diff ids.
fn check(
    manifest: &Manifest,
    raw: &[u8],
    entries: &Entries<'_>,
    (choice, listed): (&Choice, Option<&Platform>),
) -> anyhow::Result<Vec<Option<DiffId>>> {
    // Artifacts are passed on as they are.
    if !entries.is_runnable(manifest) {
        return Ok(vec![]);
    }
    let config = Config::parse(raw.to_vec())?;
    let diff_ids = manifest.diff_ids(&config)?;
    if let Choice::One(wanted) = choice {
        check_platform(wanted.as_ref(), listed, &config.platform)?;
    }
    Ok(diff_ids)
}
