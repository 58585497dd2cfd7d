//! Blobs on their way into the store: written once, under a temporary name, and hashed as they arrive.
//!
//! They get their names when the whole archive has been read and found good. Blobs that no image needs are removed then.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use layer_format::{
    Algorithm, Codec, Config, DOCUMENT_LIMIT, Descriptor, DiffId, Digest, Error, ForeignCodec,
    Hasher, Manifest,
};
use store::{Lease, ListingDraft, Pair, Partial, Store};
use stream::Graph;
use stream::archive::Blobs;
use stream::inspect::{self, Inspection};
use stream::relay::{Chunk, Pool};

use crate::diff_ids::DiffIds;

/// The most blobs that wait for their names, each with an open file. Any more get their names at once.
const PENDING_LIMIT: usize = 200;
/// The most bytes of documents that wait for their names in memory. Any more are written at once.
const DOCUMENTS_LIMIT: usize = 16 << 20;

/// Where the blobs of an archive go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Into the store.
    Store(&'a Lease),
    /// Nowhere: a dry run looks whether the store has them, if there is one.
    Nowhere(Option<&'a Store>),
}

impl<'a> Place<'a> {
    fn store(self) -> Option<&'a Store> {
        match self {
            Self::Store(lease) => Some(lease.store()),
            Self::Nowhere(store) => store,
        }
    }

    fn has(self, digest: &Digest, size: u64) -> store::Result<bool> {
        match self {
            Self::Store(lease) => lease.has(digest, size),
            Self::Nowhere(store) => store.map_or(Ok(false), |store| store.has(digest, size)),
        }
    }

    /// The file for a blob; none in a dry run.
    fn incoming(self, expected: Option<&Descriptor>) -> store::Result<Option<Partial>> {
        match self {
            Self::Store(lease) => lease.incoming(expected).map(Some),
            Self::Nowhere(_) => Ok(None),
        }
    }

    /// What notes the changes of a layer for the store; none in a dry run.
    fn draft(self) -> Option<ListingDraft> {
        match self {
            Self::Store(lease) => Some(ListingDraft::new(lease.store())),
            Self::Nowhere(_) => None,
        }
    }
}

/// The blobs that came in an archive.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    place: Place<'a>,
    check: Check,
    pool: Pool,
    /// All blobs that came.
    received: HashMap<Digest, Received>,
    pending: HashMap<Digest, Partial>,
    /// The digests that the archive said of blobs before they came.
    claimed: HashSet<Digest>,
    documents: HashMap<Digest, Vec<u8>>,
    n_document_bytes: usize,
    diff_ids: DiffIds,
    /// The blobs that are compressed in a way that isn't allowed for layers.
    foreign: HashMap<Digest, ForeignCodec>,
    /// The layers that manifests of the archive, or of the store, name by digest.
    vouched: HashSet<Digest>,
    /// The layers of the store's images by diff id; `None` until they are needed.
    stored: Option<HashMap<DiffId, Descriptor>>,
}

/// A blob that came, with its size in bytes.
#[derive(Clone, Copy, Debug)]
struct Received {
    size: u64,
    codec: Codec,
    is_new: bool,
}

/// What is checked about a compressed layer that a manifest names by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The digest. The first program that decompresses the layer checks the rest.
    Digest,
    /// The digest and the diff id.
    DiffId,
}

/// The description of a blob that is about to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The digest that it must have; `None` if the archive doesn't say.
    pub(crate) claimed: Option<Digest>,
    pub(crate) size: u64,
}

/// The places that get the bytes of a blob.
struct Sinks {
    partial: Option<Partial>,
    /// What is found out about the content, which may be a layer; `None` if everything is known.
    inspection: Option<Inspection>,
    hasher: Hasher,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(place: Place<'a>, check: Check) -> Self {
        Self {
            place,
            check,
            pool: Pool::default(),
            received: HashMap::new(),
            pending: HashMap::new(),
            claimed: HashSet::new(),
            documents: HashMap::new(),
            n_document_bytes: 0,
            diff_ids: DiffIds::default(),
            foreign: HashMap::new(),
            vouched: HashSet::new(),
            stored: None,
        }
    }

    /// Reads a blob into the store, and returns its digest and how it is compressed.
    pub(crate) fn take(
        &mut self,
        offer: Offer,
        content: &mut impl Read,
    ) -> anyhow::Result<(Digest, Codec)> {
        let reading = |source| Error::io("reading the archive", source);
        let first = Chunk::read_from(&self.pool, content).map_err(reading)?;
        let start = first.as_ref().map_or(&[][..], |chunk| &chunk[..]);
        if offer.size <= DOCUMENT_LIMIT && is_document(start) {
            let mut document = start.to_vec();
            content.read_to_end(&mut document).map_err(reading)?;
            return Ok((self.document(offer.claimed, document)?, Codec::None));
        }
        let codec = Codec::sniff(start);
        let foreign = ForeignCodec::sniff(start);
        let mut sinks = self.open(offer, codec)?;
        let mut next = first;
        while let Some(chunk) = next {
            cli::interrupt::check()?;
            sinks.write(chunk)?;
            next = Chunk::read_from(&self.pool, content).map_err(reading)?;
        }
        let digest = self.close(offer, codec, sinks)?;
        self.foreign.extend(foreign.map(|codec| (digest, codec)));
        Ok((digest, codec))
    }

    /// Takes a blob that may be a manifest, an index or a config. It is small, and waits in memory.
    fn document(&mut self, claimed: Option<Digest>, content: Vec<u8>) -> anyhow::Result<Digest> {
        let algorithm = claimed.map_or(Algorithm::Sha256, |it| it.algorithm());
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&content);
        let digest = hasher.finish();
        check_claim(claimed, digest)?;
        let size = content.len() as u64;
        let is_new = !self.is_there(&digest, size)?;
        self.received.entry(digest).or_insert(Received { size, codec: Codec::None, is_new });
        self.diff_ids.note(digest, digest);
        if !is_new {
            return Ok(digest);
        }
        self.n_document_bytes += content.len();
        if self.n_document_bytes <= DOCUMENTS_LIMIT {
            self.documents.insert(digest, content);
        } else if !self.write(digest, &content)? {
            let what = "what the archive has of manifests and configs".to_owned();
            return Err(Error::TooLarge { what, limit: DOCUMENTS_LIMIT as u64 }.into());
        }
        Ok(digest)
    }

    /// Writes a document into the store; `false` in a dry run.
    fn write(&self, digest: Digest, content: &[u8]) -> anyhow::Result<bool> {
        let blob = Descriptor::new("", digest, content.len() as u64);
        let Some(mut partial) = self.place.incoming(Some(&blob))? else { return Ok(false) };
        partial.write_all(content)?;
        partial.commit()?;
        Ok(true)
    }

    /// Takes a document that this program has made.
    pub(crate) fn put(&mut self, content: &[u8]) -> anyhow::Result<()> {
        self.document(None, content.to_vec()).map(drop)
    }

    fn open(&self, offer: Offer, codec: Codec) -> anyhow::Result<Sinks> {
        let Offer { claimed, size } = offer;
        let is_there = claimed.map(|digest| self.is_there(&digest, size)).transpose()?;
        let partial = if is_there == Some(true) {
            None
        } else {
            let expected = claimed.map(|digest| Descriptor::new("", digest, size));
            self.place.incoming(expected.as_ref())?
        };
        let inspection = self.inspection(claimed, codec);
        let algorithm = claimed.map_or(Algorithm::Sha256, |it| it.algorithm());
        Ok(Sinks { partial, inspection, hasher: Hasher::new(algorithm) })
    }

    fn close(&mut self, offer: Offer, codec: Codec, sinks: Sinks) -> anyhow::Result<Digest> {
        let Sinks { partial, inspection, hasher } = sinks;
        let digest = partial.as_ref().map_or_else(|| hasher.finish(), Partial::digest);
        check_claim(offer.claimed, digest)?;
        self.claimed.extend(offer.claimed);
        if let Some(pending) = inspection.and_then(|inspection| inspection.end(&digest)) {
            self.diff_ids.add(digest, pending);
        }
        if codec == Codec::None {
            self.diff_ids.note(digest, digest);
        } else if let Some(DiffId(diff_id)) = self.stored_diff_id(&digest) {
            self.diff_ids.note(digest, diff_id);
        }
        let size = offer.size;
        let is_new = !self.is_there(&digest, size)?;
        self.received.entry(digest).or_insert(Received { size, codec, is_new });
        if let Some(partial) = partial.filter(|_| is_new) {
            if self.pending.len() < PENDING_LIMIT {
                self.pending.insert(digest, partial);
            } else {
                partial.commit()?;
            }
        }
        Ok(digest)
    }

    /// Begins to find out what isn't known about a blob: its listing, and its diff id if it is compressed and nothing but that
    /// says what it is.
    fn inspection(&self, claimed: Option<Digest>, codec: Codec) -> Option<Inspection> {
        if codec == Codec::None {
            let draft = match (claimed, self.place) {
                (Some(digest), Place::Store(lease)) => {
                    ListingDraft::if_missing(lease.store(), &DiffId(digest))
                }
                _ => self.place.draft(),
            };
            return draft.map(|draft| Inspection::of_plain(draft.watcher()));
        }
        let is_known =
            |digest: Digest| self.check == Check::Digest || self.stored_diff_id(&digest).is_some();
        if claimed.is_some_and(is_known) {
            return None;
        }
        let watcher = self.place.draft().map(ListingDraft::watcher);
        let stop = cli::interrupt::requested;
        Some(Inspection::of_compressed(Algorithm::Sha256, stop, watcher))
    }

    /// The diff id of a blob, if the store knows it.
    fn stored_diff_id(&self, blob: &Digest) -> Option<DiffId> {
        self.place.store().and_then(|store| store.diff_id_of(blob))
    }

    /// Computes the diff ids of all compressed blobs that weren't inspected.
    fn inspect_rest(&mut self) {
        let is_unknown = |blob: &&Digest| !self.diff_ids.has(blob);
        let rest: Vec<Digest> = self.received.keys().filter(is_unknown).copied().collect();
        for blob in rest {
            // What can't be decompressed is no layer.
            if let Ok(found) = self.find_diff_id(&blob, Algorithm::Sha256) {
                self.diff_ids.note(blob, found);
            }
        }
    }

    /// Whether a blob has come, or is in the store.
    pub(crate) fn is_there(&self, digest: &Digest, size: u64) -> store::Result<bool> {
        let is_read = matches!(self.place, Place::Nowhere(_)) && self.received.contains_key(digest);
        if is_read || self.pending.contains_key(digest) || self.documents.contains_key(digest) {
            return Ok(self.received.get(digest).is_some_and(|blob| blob.size == size));
        }
        self.place.has(digest, size)
    }

    /// Whether a blob that came is new to the store.
    pub(crate) fn is_new(&self, blob: &Digest) -> bool {
        self.received.get(blob).is_some_and(|received| received.is_new)
    }

    /// Notes the layers that a manifest names by digest, unless this program has made it.
    pub(crate) fn vouch(&mut self, manifest: &Manifest) -> store::Result<()> {
        let Descriptor { digest, size, .. } = manifest.descriptor();
        if self.is_there(&digest, size)? {
            self.vouched.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
        Ok(())
    }

    /// Checks that a layer decompresses to bytes with the diff id in its config; `false` if that is left to the first program
    /// that decompresses it.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if not; or the layer can't be decompressed or read.
    pub(crate) fn check(&mut self, layer: &Descriptor, expected: DiffId) -> anyhow::Result<bool> {
        let blob = &layer.digest;
        let algorithm = expected.0.algorithm();
        let known = match self.diff_ids.take(blob) {
            Some(found) => Some(found?),
            None => self.stored_diff_id(blob).map(|DiffId(found)| found),
        };
        let found = match known.filter(|found| found.algorithm() == algorithm) {
            Some(found) => found,
            None if self.check == Check::Digest && self.vouched.contains(blob) => {
                return Ok(false);
            }
            // What a dry run has read is gone.
            None if matches!(self.place, Place::Nowhere(_)) => return Ok(false),
            None => self.find_diff_id(blob, algorithm)?,
        };
        if let Some(foreign) = self.foreign.get(blob).filter(|_| found != expected.0) {
            return Err(foreign.refuse("the layer").into());
        }
        Pair::new(*blob, expected).check(found)?;
        self.diff_ids.note(*blob, found);
        Ok(true)
    }

    /// Computes the diff id of a blob whose content wasn't inspected, for example one that a thin stream left out.
    fn find_diff_id(&self, blob: &Digest, algorithm: Algorithm) -> anyhow::Result<Digest> {
        if let Some(content) = self.documents.get(blob) {
            let stop = cli::interrupt::requested;
            return Ok(inspect::diff_id(&content[..], algorithm, stop, None)?);
        }
        let file = if let Some(partial) = self.pending.get(blob) {
            partial.reader()?
        } else {
            let stored = self.place.store().map(|store| store.blob(blob)).transpose()?;
            stored.flatten().ok_or(store::Error::MissingBlob { digest: *blob })?
        };
        let watcher = self.place.draft().map(ListingDraft::watcher);
        Ok(inspect::diff_id(file, algorithm, cli::interrupt::requested, watcher)?)
    }

    /// Gives a blob its name in the store.
    pub(crate) fn commit(&mut self, blob: &Digest) -> anyhow::Result<()> {
        if let Some(partial) = self.pending.remove(blob) {
            partial.commit()?;
        }
        if let Some(content) = self.documents.remove(blob) {
            self.write(*blob, &content)?;
        }
        Ok(())
    }

    /// Makes the store remember that a blob has this diff id.
    pub(crate) fn note_pair(&self, blob: &Digest, diff_id: &DiffId) {
        let pair = Pair::new(*blob, *diff_id);
        let store = self.place.store();
        if !pair.is_known(store) {
            pair.remember(store);
        }
    }

    /// Gives all blobs their names that came whole under a digest, so that a later run need not be sent them again: the archive
    /// was cut. No image leads to them, and gc removes them.
    pub(crate) fn keep_whole(&mut self) -> anyhow::Result<()> {
        let whole: Vec<_> =
            self.pending.keys().filter(|it| self.claimed.contains(it)).copied().collect();
        whole.iter().try_for_each(|blob| self.commit(blob))
    }

    /// The size of a blob in bytes if it is new to the store, else 0. A blob counts as new the first time only.
    pub(crate) fn count_new(&mut self, blob: &Digest) -> u64 {
        match self.received.get_mut(blob) {
            Some(received) if received.is_new => {
                received.is_new = false;
                received.size
            }
            _ => 0,
        }
    }
}

impl Sinks {
    fn write(&mut self, chunk: std::sync::Arc<Chunk>) -> anyhow::Result<()> {
        match &mut self.partial {
            Some(partial) => partial.write_all(&chunk)?,
            None => self.hasher.update(&chunk),
        }
        if let Some(inspection) = &self.inspection {
            inspection.feed(chunk);
        }
        Ok(())
    }
}

impl Blobs for Intake<'_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool, Error> {
        self.is_there(&blob.digest, blob.size).map_err(of_store)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        let stored = || {
            let store = self.place.store();
            store.map(|store| store.document_if_here(&descriptor.digest)).transpose()
        };
        let raw = match self.documents.get(&descriptor.digest) {
            Some(raw) => Some(raw.clone()),
            None => stored().map_err(of_store)?.flatten(),
        };
        let Some(raw) = raw else { return Ok(None) };
        let found = raw.len() as u64;
        if found == descriptor.size {
            return Ok(Some(raw));
        }
        Err(Error::SizeMismatch { digest: descriptor.digest, expected: descriptor.size, found })
    }

    fn by_content(&mut self, diff_id: &DiffId) -> Option<Descriptor> {
        let blob = if let Some(blob) = self.diff_ids.blob_of(&diff_id.0) {
            blob
        } else {
            self.inspect_rest();
            self.diff_ids.blob_of(&diff_id.0)?
        };
        let received = self.received.get(&blob)?;
        Some(Descriptor::new(received.codec.layer_type(), blob, received.size))
    }

    fn by_base(&mut self, diff_id: &DiffId) -> Result<Option<Descriptor>, Error> {
        if self.stored.is_none() {
            let layers = self.place.store().map(stored_layers).transpose().map_err(of_store)?;
            self.stored = Some(layers.unwrap_or_default());
        }
        let known = self.stored.as_ref().and_then(|stored| stored.get(diff_id)).cloned();
        match known {
            Some(blob) if self.has(&blob)? => Ok(Some(blob)),
            _ => Ok(None),
        }
    }
}

/// The layers of the store's images, by their diff ids.
fn stored_layers(store: &Store) -> store::Result<HashMap<DiffId, Descriptor>> {
    let mut layers = HashMap::new();
    let mut seen = HashSet::new();
    for entry in store.images()? {
        if !seen.insert(*entry.digest()) {
            continue;
        }
        let lookup = |it: &Descriptor| store.document_if_here(&it.digest);
        let Some(image) = Graph::gather(&entry.descriptor, &[], lookup)? else { continue };
        let entries = image.entries();
        for manifest in image.manifests.iter().filter(|manifest| entries.is_runnable(manifest)) {
            let Some(raw) = lookup(&manifest.config)? else { continue };
            let config = Config::parse(raw)?;
            let pairs = config.diff_ids().iter().copied().zip(manifest.layers.iter().cloned());
            layers.extend(pairs);
        }
    }
    Ok(layers)
}

/// A store's error as one of the format.
pub(crate) fn of_store(error: store::Error) -> Error {
    match error {
        store::Error::Layer(error) => error,
        error => Error::io("asking the store", std::io::Error::other(error)),
    }
}

fn is_document(start: &[u8]) -> bool {
    start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn check_claim(claimed: Option<Digest>, found: Digest) -> Result<(), Error> {
    match claimed {
        Some(claimed) if claimed != found => {
            let expected = claimed.into();
            Err(Error::DigestMismatch { what: "blob", expected, found: found.into() })
        }
        _ => Ok(()),
    }
}
