//! Archives with two lists of images, `index.json` and `manifest.json`. Every image that either names counts
//! (docs/decisions/0015).
//!
//! If both name the same image, `index.json` describes it, unless that half is empty or contradicts itself.

use std::collections::{HashMap, HashSet};

use layer_format::{
    Config, DOCUMENT_LIMIT, Descriptor, Digest, Document, Error, Index, Manifest, Platform,
    Reference, Verified, annotation, media_type,
};

use super::contents::{Contents, Entry, parse_name};
use super::docker::{self, Listed};
use super::kept::Kept;
use super::synthesize::Docker;
use super::{Blobs, Choice, Image, PREAMBLE_LIMIT, Step, oci};
use crate::Thin;

/// The doubt for archives of docker 25.0.0 and 25.0.1 (moby#47210).
pub(super) const EMPTY: &str = "index.json names no image, so manifest.json is taken";
/// The doubt for archives of docker 25.0.0 and its candidates (moby#47065, moby#47072, moby#47150).
pub(super) const CONTRADICTS: &str =
    "the manifest that index.json names contradicts its config, so manifest.json is taken";
/// The doubt for archives without the root that `index.json` names.
const ABSENT: &str = "what index.json names is missing from the archive, so manifest.json is taken";

/// Finds the wanted image among the members that were read so far.
pub(super) fn resolve(
    kept: &Kept,
    raw: &[u8],
    listed: &[Listed],
    choice: &Choice,
    is_at_end: bool,
) -> Result<Step, Error> {
    let by_docker = || docker::resolve(kept, listed, choice, is_at_end);
    let index = Index::parse(raw.to_vec())?;
    if !listed.is_empty() && !index.manifests.iter().any(Descriptor::is_image) {
        return by_docker().map(|step| step.doubted(EMPTY));
    }
    match oci::resolve(kept, raw, Some(listed), choice, is_at_end) {
        Err(Error::NotFound { .. }) if choice.name.is_some() => by_docker(),
        Err(error @ Error::MissingMember { .. }) if share_a_name(&index, listed) => {
            match by_docker() {
                Ok(step @ Step::Found(_)) => Ok(step.doubted(ABSENT)),
                _ => Err(error),
            }
        }
        step => step,
    }
}

/// Whether both lists have a name in common.
fn share_a_name(index: &Index, listed: &[Listed]) -> bool {
    let names = index.manifests.iter().filter_map(|entry| entry.annotation(annotation::IMAGE_NAME));
    let names: HashSet<Reference> = names.filter_map(|name| name.parse().ok()).collect();
    listed.iter().flat_map(Listed::names).any(|name| names.contains(&name))
}

/// The image that was found by `index.json`.
pub(super) struct Chosen<'a> {
    pub(super) names: &'a [String],
    /// The entries of `index.json` with its names.
    pub(super) entries: &'a [Descriptor],
    pub(super) manifest: &'a Manifest,
    pub(super) config: &'a Config,
}

impl Chosen<'_> {
    /// Checks that `manifest.json` names no other image. Returns the step that is needed to find that out, if there is
    /// one.
    pub(super) fn check_alone(
        &self,
        kept: &Kept,
        listed: &[Listed],
        is_at_end: bool,
    ) -> Result<Option<Step>, Error> {
        let digest = |listed: &Listed| docker::config_digest(&listed.config);
        let is_other = |listed: &&Listed| {
            digest(listed) != Some(self.manifest.config.digest)
                && !listed.is_about_another()
                && !self.has_names_of(listed)
        };
        let mut others: Vec<_> = listed.iter().filter(is_other).collect();
        if !others.is_empty() && !self.is_single() {
            let known = configs(kept, self.entries);
            others.retain(|listed| digest(listed).is_none_or(|it| !known.contains(&it)));
            if !others.is_empty() && !is_at_end {
                return Ok(Some(Step::Need(Vec::new())));
            }
        }
        if others.is_empty() {
            return Ok(None);
        }
        let own = self.names.first().cloned();
        let own = own.unwrap_or_else(|| self.manifest.config.digest.to_string());
        let own = layer_format::layer::escape_short(own.as_bytes());
        let names = std::iter::once(own).chain(others.into_iter().map(docker::show));
        Err(Error::Ambiguous { names: names.collect() })
    }

    /// The image that `manifest.json` describes in its place, if the description in `index.json` contradicts itself.
    pub(super) fn instead(&self, kept: &Kept, listed: &[Listed]) -> Result<Option<Image>, Error> {
        let size_of = |digest: &Digest| kept.size_of(digest.blob_path().as_bytes());
        if !is_contradictory(self.manifest, self.config, &size_of) {
            return Ok(None);
        }
        let config = self.manifest.config.digest;
        let same = listed.iter().find(|it| docker::config_digest(&it.config) == Some(config));
        let Some(listed) = same.filter(|it| it.layers.len() == self.config.diff_ids().len()) else {
            return Ok(None);
        };
        let mut image = docker::image(listed, self.config.clone())?;
        if !self.names.is_empty() {
            image.names = self.names.to_vec();
        }
        image.doubt = Some(CONTRADICTS);
        Ok(Some(image))
    }

    /// Whether `index.json` names one manifest, and not several for several platforms.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.entries, [entry] if entry.digest == self.manifest.descriptor().digest)
    }

    /// Whether an image of the list is this image for another platform, which its names tell.
    fn has_names_of(&self, listed: &Listed) -> bool {
        let is_own = |tag: &String| self.names.iter().any(|name| oci::is_same_name(name, tag));
        !self.is_single() && !listed.repo_tags.is_empty() && listed.repo_tags.iter().all(is_own)
    }
}

/// The image that was found by `index.json` before it was known whether a `manifest.json` would come.
#[derive(Debug)]
pub(super) struct Unchecked {
    names: Vec<String>,
    config: Option<Digest>,
    is_single: bool,
}

impl Unchecked {
    pub(super) fn of(image: &Image) -> Self {
        let config = image.manifest.as_ref().map(|manifest| manifest.config.digest);
        Self { names: image.names.clone(), config, is_single: image.is_single }
    }

    /// Checks that a `manifest.json` that came later names no other image.
    pub(super) fn check(&self, kept: &Kept) -> Result<(), Error> {
        let raw = kept.read(b"manifest.json", "manifest.json", PREAMBLE_LIMIT)?;
        let Some(listed) = raw.map(|raw| docker::parse(&raw)).transpose()? else { return Ok(()) };
        let is_own = |tag: &String| self.names.iter().any(|name| oci::is_same_name(name, tag));
        let is_other = |listed: &&Listed| {
            docker::config_digest(&listed.config) != self.config
                && !listed.is_about_another()
                && (self.is_single || !listed.repo_tags.iter().all(is_own))
        };
        let others: Vec<_> = listed.iter().filter(is_other).map(docker::show).collect();
        if others.is_empty() { Ok(()) } else { Err(Error::Ambiguous { names: others }) }
    }
}

/// The digests of the configs of all kept manifests that can be reached from these entries.
fn configs(kept: &Kept, entries: &[Descriptor]) -> HashSet<Digest> {
    let mut lookup = |descriptor: &Descriptor| {
        let Some(section) = kept.open(descriptor.digest.blob_path().as_bytes())? else {
            return Ok(None);
        };
        let content = Verified::new(section, "document", descriptor.digest, Some(descriptor.size));
        layer_format::read_document(content, "document", DOCUMENT_LIMIT).map(Some)
    };
    // Malformed documents are passed over.
    let gathered = entries.iter().map(|root| crate::Graph::gather(root, &[], &mut lookup));
    let images = gathered.filter_map(|gathered| gathered.ok().flatten());
    images.flat_map(|image| image.manifests).map(|manifest| manifest.config.digest).collect()
}

/// Whether a manifest must be wrong. It is if its number of layers differs from its config's. It also is if its layers
/// aren't compressed, and their order or sizes differ from the config's, which then has their digests, too.
fn is_contradictory(
    manifest: &Manifest,
    config: &Config,
    size_of: &dyn Fn(&Digest) -> Option<u64>,
) -> bool {
    let diff_ids = config.diff_ids();
    let known: HashSet<_> = diff_ids.iter().map(|diff_id| diff_id.0).collect();
    let is_plain = |layer: &Descriptor| {
        matches!(layer.media_type.as_str(), media_type::OCI_LAYER | media_type::DOCKER_LAYER)
    };
    let pairs = manifest.layers.iter().zip(diff_ids);
    manifest.layers.len() != diff_ids.len()
        || pairs.into_iter().any(|(layer, diff_id)| {
            let is_other_size = || size_of(&layer.digest).is_some_and(|size| size != layer.size);
            is_plain(layer)
                && known.contains(&layer.digest)
                && (layer.digest != diff_id.0 || is_other_size())
        })
}

/// Finds the images of both lists of an archive.
pub(super) fn contents(
    docker: &Docker<'_>,
    mut entries: Vec<Entry>,
    thin: Option<Thin>,
    platform: Option<&Platform>,
    blobs: &mut dyn Blobs,
) -> Result<Contents, Error> {
    let mut contents = Contents::new(thin);
    if entries.is_empty() && !docker.listed.is_empty() {
        contents.doubts.push(EMPTY);
    }
    let mut covered = HashSet::new();
    let mut absent = HashSet::new();
    let mut roots = HashSet::new();
    let mut instead = HashMap::new();
    for root in entries.iter().map(|entry| &entry.root) {
        if docker.listed.is_empty() || !roots.insert(root.digest) {
            continue;
        }
        let mut lookup = |descriptor: &Descriptor| blobs.document(descriptor);
        let Some(image) = crate::Graph::gather(root, &[], &mut lookup)? else {
            absent.insert(root.digest);
            continue;
        };
        covered.extend(image.manifests.iter().map(|manifest| manifest.config.digest));
        if let ([], [manifest]) = (&image.indexes[..], &image.manifests[..])
            && let Some(made) = docker.instead(manifest, blobs)?
        {
            instead.insert(root.digest, contents.make(made));
        }
    }
    for entry in &mut entries {
        if let Some(made) = instead.get(&entry.root.digest) {
            entry.root = made.clone();
            contents.doubts.push(CONTRADICTS);
        }
    }
    let rest = docker.rest(&covered);
    let names: HashSet<Reference> = rest.iter().flat_map(|listed| listed.names()).collect();
    if contents.thin.is_none() {
        let is_replaced = |entry: &Entry| {
            absent.contains(&entry.root.digest)
                && entry.name.as_ref().is_some_and(|name| names.contains(name))
        };
        if entries.iter().any(is_replaced) {
            contents.doubts.push(ABSENT);
            entries.retain(|entry| !is_replaced(entry));
        }
    }
    if let Some(name) =
        entries.iter().filter_map(|it| it.name.as_ref()).find(|it| names.contains(it))
    {
        let reason = "is the name of one image in index.json and of another in manifest.json";
        return Err(Error::Contradiction { what: name.to_string(), reason });
    }
    let real = if rest.is_empty() { HashMap::new() } else { docker.manifests(blobs)? };
    for listed in rest {
        let root = docker.config_of(listed).and_then(|config| real.get(&config));
        let root = root.filter(|it| docker.has_layers_of(listed, it)).map(Manifest::descriptor);
        contents.add_listed(docker, listed, root, &mut entries, blobs)?;
    }
    contents.gather(entries, platform, blobs)
}

impl Contents {
    /// Adds an image of `manifest.json` to those that are to be gathered. `root` is its manifest, if it has one.
    pub(super) fn add_listed(
        &mut self,
        docker: &Docker<'_>,
        listed: &Listed,
        root: Option<Descriptor>,
        entries: &mut Vec<Entry>,
        blobs: &mut dyn Blobs,
    ) -> Result<(), Error> {
        let names = listed.repo_tags.iter().map(|tag| parse_name(tag).map(Some));
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        let names = if names.is_empty() { vec![None] } else { names };
        let root = match root.map_or_else(|| docker.make(listed, blobs).map(|it| self.make(it)), Ok)
        {
            Ok(root) => root,
            Err(error @ (Error::MissingMember { .. } | Error::MissingLayer { .. })) => {
                let name = names.into_iter().flatten().next();
                self.leave_out(name, error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        entries.extend(names.into_iter().map(|name| Entry { root: root.clone(), name }));
        Ok(())
    }
}

impl Docker<'_> {
    /// The images that can't be reached from `index.json`.
    fn rest(&self, covered: &HashSet<Digest>) -> Vec<&Listed> {
        let is_rest = |listed: &&Listed| {
            !listed.is_about_another()
                && self.config_of(listed).is_none_or(|config| !covered.contains(&config))
        };
        self.listed.iter().filter(is_rest).collect()
    }

    /// The digest of a config, from its content or else from its name.
    fn config_of(&self, listed: &Listed) -> Option<Digest> {
        let config = self.member(&listed.config).ok().flatten();
        config.map(|config| config.digest).or_else(|| docker::config_digest(&listed.config))
    }

    /// All manifests that were read, by the digests of their configs.
    fn manifests(&self, blobs: &mut dyn Blobs) -> Result<HashMap<Digest, Manifest>, Error> {
        let mut manifests = HashMap::new();
        for blob in self.received.values().filter(|blob| blob.size <= DOCUMENT_LIMIT) {
            let raw = blobs.document(&Descriptor::new("", blob.digest, blob.size))?;
            let Some(Ok(Document::Manifest(manifest))) = raw.map(Document::parse) else { continue };
            if self.instead(&manifest, blobs)?.is_none() {
                manifests.insert(manifest.config.digest, manifest);
            }
        }
        Ok(manifests)
    }

    /// Whether an image of the list has the layers that a manifest names.
    fn has_layers_of(&self, listed: &Listed, manifest: &Manifest) -> bool {
        let has = |(path, layer): (&String, &Descriptor)| {
            let came = self.member(path).ok().flatten();
            came.is_some_and(|came| came.digest == layer.digest)
        };
        listed.layers.len() == manifest.layers.len()
            && listed.layers.iter().zip(&manifest.layers).all(has)
    }

    /// The replacement for a manifest that contradicts itself.
    fn instead(
        &self,
        manifest: &Manifest,
        blobs: &mut dyn Blobs,
    ) -> Result<Option<Manifest>, Error> {
        let same = |listed: &&Listed| self.config_of(listed) == Some(manifest.config.digest);
        let Some(listed) = self.listed.iter().find(same) else { return Ok(None) };
        let Some(raw) = blobs.document(&manifest.config)? else { return Ok(None) };
        let config = Config::parse(raw)?;
        let sizes: HashMap<_, _> = self.received.values().map(|it| (it.digest, it.size)).collect();
        let is_better = listed.layers.len() == config.diff_ids().len()
            && is_contradictory(manifest, &config, &|digest| sizes.get(digest).copied());
        is_better.then(|| self.make(listed, blobs)).transpose()
    }
}
