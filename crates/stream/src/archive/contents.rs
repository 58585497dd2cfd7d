//! The contents of an archive or a layout, found by its `index.json`: every image, every name, every blob.

use std::collections::{HashMap, HashSet};

use layer_format::resolve::ContainerConfig;
use layer_format::{
    DOCUMENT_LIMIT, Descriptor, DiffId, Digest, Document, Error, Index, Manifest, Platform,
    Reference, annotation, check_platform, select,
};

use super::docker::{self, Listed};
use crate::{Entries, Thin};

/// Source of blobs: those of an archive, and those that the receiver has already.
pub trait Blobs {
    /// Whether a blob with this size is there.
    ///
    /// # Errors
    /// The source can't find out.
    fn has(&mut self, blob: &Descriptor) -> Result<bool, Error>;
    /// The verified bytes of a manifest, an index or a config; `None` if it isn't there.
    ///
    /// # Errors
    /// The document can't be read, or doesn't match its descriptor.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error>;
    /// A layer of the archive with these uncompressed bytes, if one is known.
    fn by_content(&mut self, diff_id: &DiffId) -> Option<Descriptor> {
        let _ = diff_id;
        None
    }
    /// A layer that was there before the archive, with these uncompressed bytes, if one is known.
    ///
    /// # Errors
    /// The source can't find out.
    fn by_base(&mut self, diff_id: &DiffId) -> Result<Option<Descriptor>, Error> {
        let _ = diff_id;
        Ok(None)
    }
}

/// The most bytes that the documents of all images of an archive may have together.
const DOCUMENTS_LIMIT: u64 = 16 * DOCUMENT_LIMIT;

/// The contents of an archive or a layout.
#[derive(Debug)]
pub struct Contents {
    /// The images, one for each name.
    pub images: Vec<LoadedImage>,
    /// The blobs that images need and that aren't there. Each is listed once.
    pub missing: Vec<Descriptor>,
    /// The `strata.json` of a thin stream.
    pub thin: Option<Thin>,
    /// The images that lack something, if there are others that don't. A thin stream has none.
    pub left_out: Vec<LeftOut>,
    /// Warnings for the user about how the archive was read.
    pub doubts: Vec<&'static str>,
    /// The manifests that were made, because the archive has none for the image.
    made: HashMap<Digest, Vec<u8>>,
    /// The number of bytes of documents. A document counts once for each name of its image.
    weight: u64,
}

/// An image that lacks something.
#[derive(Debug)]
pub struct LeftOut {
    /// The name of the image, or else its digest.
    pub name: String,
    /// The error that names what it lacks.
    pub error: Error,
}

/// An image under one of its names, or an image without a name.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// The name, if there is one.
    pub name: Option<Reference>,
    /// The descriptor of the manifest or index, without annotations.
    pub root: Descriptor,
    /// The index from which the manifest was chosen by its platform.
    pub chosen_from: Option<Digest>,
    /// The indexes and manifests. Those of a docker-archive were made, and aren't stored yet.
    pub image: crate::Graph,
    /// The platforms that the image is for.
    pub platforms: Vec<Platform>,
    /// The configs and layers in the order of a stream.
    pub parts: Vec<Part>,
}

/// A blob below a manifest: a config, a layer or something else.
#[derive(Clone, Debug)]
pub struct Part {
    /// The descriptor of the blob.
    pub blob: Descriptor,
    /// The digest of the blob's uncompressed bytes, if it is a layer of a container image.
    pub diff_id: Option<DiffId>,
}

/// An entry of `index.json` with one of its names.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The descriptor of the manifest or index.
    pub root: Descriptor,
    /// The name, if there is one.
    pub name: Option<Reference>,
}

impl Contents {
    pub(super) fn new(thin: Option<Thin>) -> Self {
        Self {
            images: vec![],
            missing: vec![],
            thin,
            left_out: vec![],
            doubts: vec![],
            made: HashMap::new(),
            weight: 0,
        }
    }

    /// Adds a manifest that was made.
    pub(super) fn make(&mut self, manifest: Manifest) -> Descriptor {
        let descriptor = manifest.descriptor();
        self.made.insert(descriptor.digest, manifest.into_raw());
        descriptor
    }

    /// Notes an image that lacks something.
    pub(super) fn leave_out(&mut self, name: Option<Reference>, error: Error) {
        let name = name.map_or_else(|| "an image without a name".to_owned(), |it| it.to_string());
        self.left_out.push(LeftOut { name, error });
    }

    /// Counts the bytes of documents and checks the limit. A thousand names for one large image must not take a
    /// thousand times its memory.
    pub(super) fn weigh(&mut self, n_bytes: u64) -> Result<(), Error> {
        self.weight += n_bytes;
        check_weight(self.weight)
    }

    /// Finds the images of a layout from the entries of its `index.json`.
    ///
    /// # Errors
    /// [`Error::NoImage`] if there is no image, [`Error::NoPlatform`] if no image runs on `platform`,
    /// [`Error::MissingMember`] if all images lack something, and the errors of malformed documents and of `blobs`.
    pub fn of_layout(
        manifests: Vec<Descriptor>,
        platform: Option<&Platform>,
        blobs: &mut dyn Blobs,
    ) -> Result<Self, Error> {
        let entries = entries(manifests, None, blobs)?;
        Self::new(None).gather(entries, platform, blobs)
    }

    pub(super) fn gather(
        mut self,
        entries: Vec<Entry>,
        platform: Option<&Platform>,
        blobs: &mut dyn Blobs,
    ) -> Result<Self, Error> {
        let mut other_platforms = None;
        for entry in entries {
            match self.find(&entry, platform, blobs) {
                Ok(Some(found)) => self.images.push(found),
                Ok(None) => {}
                Err(error @ Error::NoPlatform { .. }) => other_platforms = Some(error),
                Err(error) => return Err(error),
            }
        }
        self.finish(other_platforms)
    }

    /// Checks that there is something to load, and lists each missing blob once.
    pub(super) fn finish(mut self, other_platforms: Option<Error>) -> Result<Self, Error> {
        let mut seen = HashSet::new();
        self.missing.retain(|blob| seen.insert(blob.digest));
        let is_nothing = self.images.is_empty() && self.missing.is_empty();
        let first = if is_nothing { self.left_out.drain(..).next() } else { None };
        if let Some(left_out) = first {
            return Err(left_out.error);
        }
        match other_platforms {
            _ if !is_nothing => Ok(self),
            Some(error) => Err(error),
            None => Err(Error::NoImage {
                what: "the image archive".to_owned(),
                reason: "names no image",
            }),
        }
    }

    /// Finds the image of an entry; `None` if it lacks something, which is noted.
    fn find(
        &mut self,
        entry: &Entry,
        platform: Option<&Platform>,
        blobs: &mut dyn Blobs,
    ) -> Result<Option<LoadedImage>, Error> {
        let platforms = platform.map_or(&[][..], std::slice::from_ref);
        let made = &self.made;
        let mut lookup = |descriptor: &Descriptor| match made.get(&descriptor.digest) {
            Some(raw) => Ok(Some(raw.clone())),
            None => blobs.document(descriptor),
        };
        let gathered = crate::Graph::gather(&entry.root, platforms, &mut lookup)?;
        let Some(image) = gathered else {
            self.lack(entry, vec![entry.root.clone()]);
            return Ok(None);
        };
        self.weigh(image.n_bytes())?;
        if image.manifests.is_empty() {
            let is_empty = image.indexes.iter().all(|index| index.manifests.is_empty());
            let reason = if is_empty {
                "the index names no manifest"
            } else {
                "lists no image that is in the archive"
            };
            let error = Error::NoImage { what: entry.root.digest.to_string(), reason };
            self.leave_out(entry.name.clone(), error);
            return Ok(None);
        }
        let mut found = LoadedImage {
            name: entry.name.clone(),
            root: bare(&entry.root, &image),
            chosen_from: None,
            image,
            platforms: vec![],
            parts: vec![],
        };
        let listed = if platform.is_some() { found.choose()? } else { None };
        let listed = listed.or_else(|| entry.root.platform.clone());
        let is_foreign = self.thin.is_none();
        let incomplete = if is_foreign { Incomplete::LeaveOut } else { Incomplete::Tell };
        let missing = found.fill(incomplete, blobs)?;
        if !missing.is_empty() && is_foreign {
            self.lack(entry, missing);
            return Ok(None);
        }
        self.missing.extend(missing);
        // One image of the index has been chosen.
        if let Some(config) = found.platforms.first() {
            check_platform(platform, listed.as_ref(), config)?;
        }
        Ok(Some(found))
    }

    /// Notes the blobs that an entry needs and that aren't there.
    fn lack(&mut self, entry: &Entry, missing: Vec<Descriptor>) {
        match missing.first() {
            Some(first) if self.thin.is_none() => {
                let image = entry.name.as_ref().map(Reference::to_string);
                let what = format!("blob {}", first.digest);
                self.leave_out(entry.name.clone(), Error::MissingMember { what, image });
            }
            _ => self.missing.extend(missing),
        }
    }
}

impl LoadedImage {
    /// Replaces an index by the one manifest that was gathered for a platform. Returns the platform that the index
    /// lists for it.
    fn choose(&mut self) -> Result<Option<Platform>, Error> {
        if self.image.indexes.is_empty() {
            return Ok(None);
        }
        let entries = self.image.entries();
        let position = self.image.manifests.iter().position(|it| !entries.is_attestation(it));
        let manifest = position.map(|position| self.image.manifests.swap_remove(position));
        let what = || self.root.digest.to_string();
        let manifest = manifest.ok_or_else(|| Error::Malformed {
            what: what(),
            reason: "lists an image for this platform that isn't in the archive",
        })?;
        self.chosen_from = Some(self.root.digest);
        self.root = manifest.descriptor();
        let mut listed = self.image.indexes.iter().flat_map(|index| &index.manifests);
        let listed = listed.find(|entry| entry.digest == self.root.digest);
        let listed = listed.and_then(|entry| entry.platform.clone());
        self.image = crate::Graph { indexes: vec![], manifests: vec![manifest] };
        Ok(listed)
    }

    /// Adds the blobs that the manifests need. Returns those that aren't there.
    pub(super) fn fill(
        &mut self,
        incomplete: Incomplete,
        blobs: &mut dyn Blobs,
    ) -> Result<Vec<Descriptor>, Error> {
        let manifests = std::mem::take(&mut self.image.manifests);
        let entries = self.image.entries();
        let needs = manifests.into_iter().map(|manifest| need(manifest, &entries, blobs));
        let needs: Vec<Need> = needs.collect::<Result<_, _>>()?;
        let is_whole = |need: &Need| need.platform.is_some() && need.missing.is_empty();
        let leaves_out = incomplete == Incomplete::LeaveOut && needs.iter().any(is_whole);
        let mut missing = Vec::new();
        for need in needs.into_iter().filter(|need| !leaves_out || need.missing.is_empty()) {
            self.image.manifests.push(need.manifest);
            self.platforms.extend(need.platform);
            self.parts.extend(need.parts);
            missing.extend(need.missing);
        }
        Ok(missing)
    }
}

/// The blobs that a manifest needs.
struct Need {
    manifest: Manifest,
    platform: Option<Platform>,
    parts: Vec<Part>,
    missing: Vec<Descriptor>,
}

fn need(manifest: Manifest, entries: &Entries<'_>, blobs: &mut dyn Blobs) -> Result<Need, Error> {
    manifest.check_digests()?;
    let part = |blob: &Descriptor| Part { blob: blob.clone(), diff_id: None };
    let mut parts: Vec<Part> = manifest.parts().map(part).collect();
    let mut platform = None;
    let mut missing = Vec::new();
    if entries.is_runnable(&manifest)
        && let Some(raw) = blobs.document(&manifest.config)?
    {
        let container = ContainerConfig::parse(&manifest, raw)?;
        for (part, diff_id) in parts[1..].iter_mut().zip(container.diff_ids) {
            part.diff_id = diff_id;
        }
        platform = Some(container.config.platform);
    }
    for part in &parts {
        if !blobs.has(&part.blob)? {
            missing.push(part.blob.clone());
        }
    }
    Ok(Need { manifest, platform, parts, missing })
}

/// Refuses documents beyond the limit.
pub(super) fn check_weight(n_bytes: u64) -> Result<(), Error> {
    if n_bytes > DOCUMENTS_LIMIT {
        let what = "all that describes the archive's images".to_owned();
        return Err(Error::TooLarge { what, limit: DOCUMENTS_LIMIT });
    }
    Ok(())
}

/// What to do about images of an index that lack something, if others don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incomplete {
    /// Ignore them: some producers list images that they don't save.
    LeaveOut,
    Tell,
}

/// A descriptor of the root with only those fields that the document itself determines.
fn bare(root: &Descriptor, image: &crate::Graph) -> Descriptor {
    let documents = [
        image.indexes.first().map(Index::descriptor),
        image.manifests.first().map(Manifest::descriptor),
    ];
    let media_type = documents.into_iter().flatten().next().map(|it| it.media_type);
    Descriptor::new(&media_type.unwrap_or_default(), root.digest, root.size)
}

/// The images of `index.json`, each with the names from there or from the `manifest.json` beside it.
pub(super) fn entries(
    manifests: Vec<Descriptor>,
    listed: Option<&[Listed]>,
    blobs: &mut dyn Blobs,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut names = DockerNames::of(listed.unwrap_or_default());
    for root in manifests.into_iter().filter(Descriptor::is_image) {
        let names = match root.annotation(annotation::IMAGE_NAME) {
            Some(name) => vec![Some(parse_name(name)?)],
            None => match names.take(&root, blobs)? {
                names if names.is_empty() => vec![ref_name(&root)?],
                names => names.into_iter().map(Some).collect(),
            },
        };
        entries.extend(names.into_iter().map(|name| Entry { root: root.clone(), name }));
    }
    one_image_a_name(&mut entries);
    Ok(entries)
}

/// The names in `manifest.json`, by the digests of the configs.
struct DockerNames<'a> {
    by_config: HashMap<Digest, Vec<&'a String>>,
    seen: HashSet<Digest>,
}

impl<'a> DockerNames<'a> {
    fn of(listed: &'a [Listed]) -> Self {
        let mut by_config: HashMap<_, Vec<_>> = HashMap::new();
        for image in listed {
            if let Some(config) = docker::config_digest(&image.config) {
                by_config.entry(config).or_default().extend(&image.repo_tags);
            }
        }
        Self { by_config, seen: HashSet::new() }
    }

    /// The names for the image of an entry. Only the first of several entries with one digest gets them.
    fn take(&mut self, root: &Descriptor, blobs: &mut dyn Blobs) -> Result<Vec<Reference>, Error> {
        if self.by_config.is_empty() || !self.seen.insert(root.digest) {
            return Ok(vec![]);
        }
        let Some(raw) = blobs.document(root)? else { return Ok(vec![]) };
        let Document::Manifest(manifest) = Document::parse(raw)? else { return Ok(vec![]) };
        let tags = self.by_config.get(&manifest.config.digest).into_iter().flatten();
        tags.map(|tag| parse_name(tag)).collect()
    }
}

/// The name in the annotation that other tools use for arbitrary text. It is accepted if it can be pulled and is more
/// than a tag.
fn ref_name(root: &Descriptor) -> Result<Option<Reference>, Error> {
    let Some(name) = root.annotation(annotation::REF_NAME) else { return Ok(None) };
    if name.chars().any(char::is_control) {
        return parse_name(name).map(Some);
    }
    Ok(name.contains(['/', ':']).then(|| name.parse().ok()).flatten())
}

pub(super) fn parse_name(name: &str) -> Result<Reference, Error> {
    let quoted = || match name {
        "" => "\"\"".to_owned(),
        name => {
            layer_format::layer::escape_short(name.chars().take(160).collect::<String>().as_bytes())
        }
    };
    name.parse().map_err(|_| Error::Malformed {
        what: quoted(),
        reason: "is no name that an image can have",
    })
}

/// Leaves a name to only one of several images for several platforms: to the one for this machine, or else to the
/// first.
fn one_image_a_name(entries: &mut [Entry]) {
    let mut groups: HashMap<Reference, Vec<usize>> = HashMap::new();
    for (position, entry) in entries.iter().enumerate() {
        if let Some(name) = &entry.name {
            groups.entry(name.clone()).or_default().push(position);
        }
    }
    for positions in groups.into_values().filter(|positions| positions.len() > 1) {
        let roots: Vec<_> = positions.iter().map(|&it| entries[it].root.clone()).collect();
        let chosen = select(&roots, &Platform::host()).map_or(roots[0].digest, |it| it.digest);
        let mut is_taken = false;
        for position in positions {
            let entry = &mut entries[position];
            if is_taken || entry.root.digest != chosen {
                entry.name = None;
            } else {
                is_taken = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_may_weigh_as_much_as_their_limit_in_sum() {
        assert!(check_weight(DOCUMENTS_LIMIT - 1).is_ok() && check_weight(DOCUMENTS_LIMIT).is_ok());
        assert!(matches!(check_weight(DOCUMENTS_LIMIT + 1), Err(Error::TooLarge { .. })));
        let mut contents = Contents::new(None);
        contents.weigh(DOCUMENTS_LIMIT - 1).unwrap();
        contents.weigh(1).unwrap();
        assert!(contents.weigh(1).is_err());
    }

    /// One manifest, which is there.
    struct One(Vec<u8>);

    impl Blobs for One {
        fn has(&mut self, _: &Descriptor) -> Result<bool, Error> {
            Ok(true)
        }

        fn document(&mut self, _: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
            Ok(Some(self.0.clone()))
        }
    }

    #[test]
    fn the_first_of_two_entries_for_an_image_gets_the_names_of_the_manifest_json() {
        let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"{}");
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [],
        });
        let manifest = manifest.to_string().into_bytes();
        let root = Descriptor::of("application/vnd.oci.image.manifest.v1+json", &manifest);
        let listed = [Listed {
            config: format!("blobs/sha256/{}", config.digest.hex()),
            repo_tags: vec!["app:1".to_owned()],
            layers: vec![],
        }];
        let mut blobs = One(manifest);
        let mut names = DockerNames::of(&listed);
        assert_eq!(names.take(&root, &mut blobs).unwrap(), ["app:1".parse().unwrap()]);
        assert_eq!(names.take(&root, &mut blobs).unwrap(), []);
        // Without a manifest.json the manifest isn't even read.
        assert_eq!(DockerNames::of(&[]).take(&root, &mut One(b"no JSON".to_vec())).unwrap(), []);
    }
}
