//! What refers to an image: signatures, SBOMs, attestations. Each list of them is one more image, under the tag that a
//! registry without the referrers API has it at; what cosign made has its own tags.

use std::collections::{BTreeMap, HashSet};

use layer_format::{
    Algorithm, COSIGN_KINDS, Descriptor, Digest, Document, Error, Index, Reference, media_type,
};
use registry::{Referrers, ReferrersTag, Repository};
use stream::Graph;

use crate::select::{Budget, Configs, ResolvedImage, collect, config};

/// How many steps a referrer may be away from the image: a signature of an SBOM is two steps away.
const DEPTH: usize = 3;
/// The most manifests and indexes whose referrers are asked for, for one image.
const SUBJECTS_LIMIT: usize = 512;

/// Everything that refers to an image, as images. `warn` is called with what the registry refuses to list.
///
/// # Errors
/// The registry's, [`Error::BeyondLimit`] if there are too many of them, and [`Error::TooLarge`] if their documents are.
pub(crate) fn of(
    image: &ResolvedImage,
    from: Configs<'_>,
    warn: &dyn Fn(&str),
) -> anyhow::Result<Vec<ResolvedImage>> {
    let mut search = Search {
        reference: &image.reference,
        repository: &image.repository,
        from,
        budget: Budget::default(),
        lacks_api: false,
        refusal: None,
        has_list: false,
        oddities: vec![],
    };
    let mut seen = HashSet::new();
    let mut next: Vec<Digest> = std::iter::once(image.digest).chain(digests(image)).collect();
    let mut found: Vec<ResolvedImage> = vec![];
    for _ in 0..DEPTH {
        let start = found.len();
        for subject in std::mem::take(&mut next) {
            if !seen.insert(subject) {
                continue;
            }
            if seen.len() > SUBJECTS_LIMIT {
                let reason = "more things refer to each other than an image needs";
                let what = image.reference.to_string();
                return Err(Error::BeyondLimit { what, reason }.into());
            }
            found.extend(search.referrers(&subject)?);
        }
        next.extend(found[start..].iter().flat_map(digests));
    }
    // Where a list was found by its tag, that is how this registry lists them.
    let refusal = search.refusal.iter().filter(|_| !search.has_list);
    refusal.chain(&search.oddities).for_each(|text| warn(text));
    Ok(found)
}

/// The digests of the documents that something may refer to.
fn digests(image: &ResolvedImage) -> impl Iterator<Item = Digest> {
    image.documents().map(|document| document.digest)
}

/// The search in one repository for what refers to one image.
struct Search<'a> {
    reference: &'a Reference,
    repository: &'a Repository,
    from: Configs<'a>,
    budget: Budget,
    /// Whether the registry has said that it lacks the referrers API.
    lacks_api: bool,
    /// The warning about a registry that has the API and refused to answer.
    refusal: Option<String>,
    /// Whether a list was found by its tag.
    has_list: bool,
    /// Warnings about tags that should have lists and have something else.
    oddities: Vec<String>,
}

impl Search<'_> {
    /// What refers to a manifest: the list of referrers, and what cosign put at its own tags.
    fn referrers(&mut self, subject: &Digest) -> anyhow::Result<Vec<ResolvedImage>> {
        let tag = subject.referrers_tag();
        let name = self.reference.tagged(&tag)?;
        let mut found = vec![];
        let listed = self.listed(subject, &tag)?;
        if !listed.is_empty() {
            let index = list(listed)?;
            found.push(self.complete(name, Document::Index(index))?);
        }
        // Cosign's tags have the whole of a hash, and no tag has room for a longer one.
        let kinds = COSIGN_KINDS.iter().filter(|_| subject.algorithm() == Algorithm::Sha256);
        for kind in kinds {
            let tag = format!("{tag}.{kind}");
            if let Some(document) = self.tagged(&tag)? {
                found.push(self.complete(self.reference.tagged(&tag)?, document)?);
            }
        }
        Ok(found)
    }

    /// The entries of the list of referrers, by the API, else by the tag that replaces it.
    fn listed(&mut self, subject: &Digest, tag: &str) -> anyhow::Result<Vec<Descriptor>> {
        if !self.lacks_api {
            match self.repository.referrers(subject)? {
                Referrers::Listed(listed) => return Ok(listed),
                Referrers::Unsupported => self.lacks_api = true,
                Referrers::Refused(error) => {
                    self.lacks_api = true;
                    let reference = &self.reference;
                    let refusal = format!("{reference}: can't tell what refers to it: {error}");
                    self.refusal = Some(refusal);
                }
            }
        }
        match self.repository.referrers_by_tag(subject)? {
            ReferrersTag::Absent => Ok(vec![]),
            ReferrersTag::Listed(entries) => {
                self.has_list = true;
                Ok(entries)
            }
            ReferrersTag::NoList => {
                let name = self.reference.tagged(tag)?;
                self.oddities.push(format!("{name}: this is no list of referrers"));
                Ok(vec![])
            }
        }
    }

    /// The document at a tag; `None` if there is no such tag.
    fn tagged(&self, tag: &str) -> anyhow::Result<Option<Document>> {
        match self.repository.manifest(tag) {
            Ok((document, _)) => Ok(Some(document)),
            Err(registry::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Downloads all documents below one. Diff ids aren't needed: the layers are no file systems.
    fn complete(
        &mut self,
        reference: Reference,
        document: Document,
    ) -> anyhow::Result<ResolvedImage> {
        let digest = document.descriptor().digest;
        let mut graph = Graph { indexes: vec![], manifests: vec![] };
        match document {
            Document::Manifest(manifest) => graph.manifests.push(manifest),
            Document::Index(index) => graph = collect(index, self.repository, &mut self.budget)?,
        }
        let mut configs = Vec::new();
        for manifest in &graph.manifests {
            self.budget.take(manifest.config.size)?;
            configs.extend(config(manifest, self.repository, self.from)?);
        }
        let diff_ids = vec![vec![]; configs.len()];
        let repository = self.repository.clone();
        let chosen_from = None;
        Ok(ResolvedImage { reference, repository, digest, graph, chosen_from, configs, diff_ids })
    }
}

/// The index that a registry without the API would have at the tag. The entries are sorted by digest, so that the index is the
/// same whatever order the registry lists them in. Entries that are no manifests or indexes are left out: they could not be
/// pushed as such.
fn list(referrers: Vec<Descriptor>) -> anyhow::Result<Index> {
    const TYPES: [&str; 2] = [media_type::OCI_MANIFEST, media_type::OCI_INDEX];
    let is_known = |entry: &Descriptor| TYPES.contains(&entry.media_type.as_str());
    let by_digest: BTreeMap<Digest, Descriptor> =
        referrers.into_iter().filter(is_known).map(|entry| (entry.digest, entry)).collect();
    Ok(Index::listing(&by_digest.into_values().collect::<Vec<_>>())?)
}
