//! What refers to an image: signatures, SBOMs, attestations. Each list of them is one more image, under the tag that a
//! registry without the referrers API has it at; what cosign made has its own tags.

use std::collections::{BTreeMap, HashSet};

use layer_format::stream::Image;
use layer_format::{
    COSIGN_KINDS, Descriptor, Digest, Document, Error, Index, Reference, media_type,
};
use registry::Repository;
use store::Store;

use crate::select::{Budget, Pulled, collect, config};

/// What refers to an image, and to that, and to that.
const DEPTH: usize = 3;
/// The most manifests and indexes whose referrers are asked for.
const SUBJECTS_LIMIT: usize = 512;

/// Everything that refers to an image, as images. `warn` is told what can't be asked for.
pub(crate) fn of(
    pulled: &Pulled,
    repository: &Repository,
    store: Option<&Store>,
    warn: &dyn Fn(&str),
) -> anyhow::Result<Vec<Pulled>> {
    let mut search = Search {
        reference: &pulled.reference,
        repository,
        store,
        budget: Budget::default(),
        lacks_api: false,
        n_skipped: 0,
    };
    let mut seen = HashSet::new();
    let mut next: Vec<Digest> = std::iter::once(pulled.digest).chain(digests(pulled)).collect();
    let mut found: Vec<Pulled> = vec![];
    for _ in 0..DEPTH {
        let start = found.len();
        for subject in std::mem::take(&mut next) {
            if !seen.insert(subject) {
                continue;
            }
            if seen.len() > SUBJECTS_LIMIT {
                let reason = "more things refer to each other than anyone needs";
                let what = pulled.reference.to_string();
                return Err(Error::Malformed { what, reason }.into());
            }
            found.extend(search.referrers(&subject)?);
        }
        next.extend(found[start..].iter().flat_map(digests));
    }
    if search.n_skipped > 0 {
        warn(&format!(
            "{}: what refers to SHA-512 digests is not asked for: {} left out",
            pulled.reference, search.n_skipped
        ));
    }
    Ok(found)
}

/// The documents that something may refer to.
fn digests(pulled: &Pulled) -> impl Iterator<Item = Digest> {
    pulled.heads().map(|(digest, _)| digest)
}

struct Search<'a> {
    reference: &'a Reference,
    repository: &'a Repository,
    store: Option<&'a Store>,
    budget: Budget,
    /// Whether the registry has said that it hasn't the referrers API.
    lacks_api: bool,
    /// How many manifests have digests that no tag has room for.
    n_skipped: usize,
}

impl Search<'_> {
    /// What refers to a manifest: the list, and what cosign made.
    fn referrers(&mut self, subject: &Digest) -> anyhow::Result<Vec<Pulled>> {
        let tag = subject.to_string().replace(':', "-");
        // Such a digest is too long for a tag, which is the only name that the list can have here.
        let Ok(name) = self.reference.tagged(&tag) else {
            self.n_skipped += 1;
            return Ok(vec![]);
        };
        let mut found = vec![];
        let listed = self.listed(subject, &tag)?;
        if !listed.is_empty() {
            let index = list(listed)?;
            found.push(self.complete(name, Document::Index(index))?);
        }
        for kind in COSIGN_KINDS {
            let tag = format!("{tag}.{kind}");
            if let Some(document) = self.tagged(&tag)? {
                found.push(self.complete(self.reference.tagged(&tag)?, document)?);
            }
        }
        Ok(found)
    }

    /// By the API, else by the tag that stands in for it.
    fn listed(&mut self, subject: &Digest, tag: &str) -> anyhow::Result<Vec<Descriptor>> {
        if !self.lacks_api {
            match self.repository.referrers(subject)? {
                Some(listed) => return Ok(listed),
                None => self.lacks_api = true,
            }
        }
        match self.tagged(tag)? {
            None => Ok(vec![]),
            Some(Document::Index(index)) => Ok(index.manifests),
            Some(Document::Manifest(_)) => {
                let what = self.reference.tagged(tag)?.to_string();
                Err(Error::Malformed { what, reason: "this is no list of referrers" }.into())
            }
        }
    }

    fn tagged(&self, tag: &str) -> anyhow::Result<Option<Document>> {
        match self.repository.manifest(tag) {
            Ok((document, _)) => Ok(Some(document)),
            Err(registry::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings all documents below one. What the layers decompress to is nobody's concern: they are no file system.
    fn complete(&mut self, reference: Reference, document: Document) -> anyhow::Result<Pulled> {
        let digest = document.descriptor().digest;
        let mut image = Image { indexes: vec![], manifests: vec![] };
        match document {
            Document::Manifest(manifest) => image.manifests.push(manifest),
            Document::Index(index) => image = collect(index, self.repository, &mut self.budget)?,
        }
        let mut configs = Vec::new();
        for manifest in &image.manifests {
            self.budget.take(manifest.config.size)?;
            configs.push(config(manifest, self.repository, self.store)?);
        }
        let diff_ids = vec![vec![]; configs.len()];
        Ok(Pulled { reference, digest, image, chosen_from: None, configs, diff_ids })
    }
}

/// The index that a registry without the API would have: in one order, whatever the registry's; of manifests and indexes
/// only, for nothing else could be put there.
fn list(referrers: Vec<Descriptor>) -> anyhow::Result<Index> {
    const TYPES: [&str; 2] = [media_type::OCI_MANIFEST, media_type::OCI_INDEX];
    let is_known = |entry: &Descriptor| TYPES.contains(&entry.media_type.as_str());
    let by_digest: BTreeMap<Digest, Descriptor> =
        referrers.into_iter().filter(is_known).map(|entry| (entry.digest, entry)).collect();
    Ok(Index::listing(&by_digest.into_values().collect::<Vec<_>>())?)
}
