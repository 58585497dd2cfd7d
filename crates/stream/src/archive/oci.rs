//! Finds an image by `index.json` (image-spec, image-layout.md).

use std::collections::{HashMap, HashSet};

use layer_format::resolve::{Documents, Selected};
use layer_format::{
    DOCUMENT_LIMIT, Descriptor, Digest, Document, Error, Index, Reference, Verified, annotation,
    check_platform, select,
};

use super::both::Chosen;
use super::docker::Listed;
use super::kept::Kept;
use super::{Choice, Image, Layer, Step, read_plain};

/// The most entries of an index, together with those of the indexes in it.
const MAX_ENTRIES: usize = 1 << 17;

/// The reason why an image can't be found yet, or can't be found at all.
enum Stop {
    /// This member must be read first.
    NotYet(Vec<u8>),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The entries of `index.json` with one name.
struct Named {
    names: Vec<String>,
    entries: Vec<Descriptor>,
}

/// Finds the wanted image among the members that were read so far. `docker` is the `manifest.json` beside it.
pub(super) fn resolve(
    kept: &Kept,
    raw: &[u8],
    docker: Option<&[Listed]>,
    choice: &Choice,
    is_at_end: bool,
) -> Result<Step, Error> {
    let index = Index::parse(raw.to_vec())?;
    let named = choose(group(index.manifests), choice)?;
    let mut search = Search { kept, is_at_end };
    let selected = match search.select(&named.entries, choice) {
        Ok(selected) => selected,
        Err(Stop::NotYet(path)) => return Ok(Step::Need(path)),
        Err(Stop::Failed(error)) => return Err(error),
    };
    let manifest = &selected.manifest;
    let config = match selected.config(&mut search) {
        Ok(config) => config,
        Err(Stop::NotYet(path)) => {
            let layers = manifest.layers.iter().map(|blob| blob.digest.blob_path().into_bytes());
            return Ok(Step::NeedConfig { path, layers: layers.collect() });
        }
        Err(Stop::Failed(error)) => return Err(error),
    };
    let chosen = Chosen { names: &named.names, entries: &named.entries, manifest, config: &config };
    if let Some(docker) = docker {
        if choice.name.is_none()
            && let Some(step) = chosen.check_alone(kept, docker, is_at_end)?
        {
            return Ok(step);
        }
        if let Some(image) = chosen.instead(kept, docker)? {
            let listed = selected.listed.as_ref();
            check_platform(choice.platform.as_ref(), listed, &config.platform)?;
            return Ok(Step::Found(Box::new(image)));
        }
    }
    let is_single = chosen.is_single();
    let layers = selected.layers(&config, choice.platform.as_ref())?;
    let layers = layers.into_iter().map(Layer::from).collect();
    Ok(Step::Found(Box::new(Image {
        names: named.names,
        manifest: Some(selected.manifest),
        config,
        layers,
        doubt: None,
        is_single,
    })))
}

/// Groups the entries with one name, and the names of one digest. Entries that are no images are left out.
///
/// Entries with one name are one image if they have platforms. Otherwise they are several images, because a name may be
/// just a tag, for example in skopeo's archives.
fn group(entries: Vec<Descriptor>) -> Vec<Named> {
    let mut groups: Vec<Named> = Vec::new();
    let mut by_name: HashMap<(String, Option<Digest>), usize> = HashMap::new();
    let mut by_digest: HashMap<Digest, usize> = HashMap::new();
    for entry in entries.into_iter().filter(Descriptor::is_image) {
        let name =
            entry.annotation(annotation::IMAGE_NAME).or(entry.annotation(annotation::REF_NAME));
        let own = entry.platform.is_none().then_some(entry.digest);
        // Entries with a platform and without a name belong together. Each other entry stands for itself.
        let shared = entry.platform.as_ref().map(|_| "");
        let key = name.or(shared).map(|name| (name.to_owned(), own));
        let known = key
            .as_ref()
            .and_then(|key| by_name.get(key))
            .or_else(|| by_digest.get(&entry.digest))
            .copied();
        let position = known.unwrap_or_else(|| {
            groups.push(Named { names: vec![], entries: vec![] });
            groups.len() - 1
        });
        let group = &mut groups[position];
        if let Some(key) = key.filter(|key| by_name.insert(key.clone(), position).is_none()) {
            group.names.extend(Some(key.0).filter(|name| !name.is_empty()));
        }
        if by_digest.insert(entry.digest, position) != Some(position) {
            group.entries.push(entry);
        }
    }
    groups
}

/// Whether all names of the group are those of a signature or the like.
fn is_about_another(group: &Named) -> bool {
    let is_about = |name: &String| Reference::is_about_another(name);
    !group.names.is_empty() && group.names.iter().all(is_about)
}

fn choose(mut groups: Vec<Named>, choice: &Choice) -> Result<Named, Error> {
    let Some(wanted) = &choice.name else {
        if groups.iter().any(|group| !is_about_another(group)) {
            groups.retain(|group| !is_about_another(group));
        }
        if groups.len() > 1 {
            return Err(Error::Ambiguous { names: shown(&groups) });
        }
        return groups
            .pop()
            .ok_or(Error::NoImage { what: "index.json".to_owned(), reason: "names no image" });
    };
    let is_named = |group: &Named| group.names.iter().any(|name| is_same_name(name, wanted));
    let (mut named, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_named);
    if named.len() > 1 {
        return Err(Error::Ambiguous { names: named.iter().map(digest_of).collect() });
    }
    let has_digest =
        |group: &Named| group.entries.iter().any(|entry| entry.digest.to_string() == *wanted);
    let found = named.pop().or_else(|| others.into_iter().find(has_digest));
    found.ok_or_else(|| Error::NotFound { what: wanted.clone() })
}

/// The choice of images in an error: their names, or their digests if they have no name or share one.
fn shown(groups: &[Named]) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in groups.iter().filter_map(|group| group.names.first()) {
        *uses.entry(name).or_default() += 1;
    }
    let is_unique = |name: &&String| uses.get(name.as_str()) == Some(&1);
    let show = |group: &Named| match group.names.first().filter(is_unique) {
        Some(name) => layer_format::layer::escape_short(name.as_bytes()),
        None => digest_of(group),
    };
    groups.iter().map(show).collect()
}

fn digest_of(group: &Named) -> String {
    group.entries.first().map(|entry| entry.digest.to_string()).unwrap_or_default()
}

/// Whether a name in an archive is the wanted one, also in one of Docker's short forms.
pub(super) fn is_same_name(name: &str, wanted: &str) -> bool {
    let normalised = |text: &str| text.parse::<Reference>().ok();
    name == wanted || normalised(wanted).is_some_and(|wanted| normalised(name) == Some(wanted))
}

/// The kept documents, as a source for the choice of an image.
struct Search<'a> {
    kept: &'a Kept,
    is_at_end: bool,
}

impl Documents for Search<'_> {
    type Error = Stop;

    fn document(&mut self, descriptor: &Descriptor, what: &'static str) -> Result<Vec<u8>, Stop> {
        match self.read(descriptor, what)? {
            Some(raw) => Ok(raw),
            None if self.is_at_end => {
                let what = format!("{what} {}", descriptor.digest);
                Err(Error::MissingMember { what, image: None }.into())
            }
            None => Err(Stop::NotYet(descriptor.digest.blob_path().into_bytes())),
        }
    }

    fn candidates(&mut self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>, Stop> {
        Ok(self.present(self.unfold(entries)?))
    }
}

impl Search<'_> {
    /// The manifest that these entries of `index.json` lead to.
    fn select(&mut self, entries: &[Descriptor], choice: &Choice) -> Result<Selected, Stop> {
        let wanted = choice.wanted();
        let entries = self.present(entries.to_vec());
        let entry = match &entries[..] {
            [only] => only,
            entries => select(entries, &wanted)?,
        };
        let document = Document::parse(self.document(entry, "manifest")?)?;
        Selected::descend(document, entry.platform.clone(), &wanted, self)
    }

    /// The entries that may be in the archive. These are all entries until the archive has been read to its end; some
    /// producers list platforms that they don't save.
    fn present(&self, entries: Vec<Descriptor>) -> Vec<Descriptor> {
        if !self.is_at_end || entries.len() < 2 {
            return entries;
        }
        let is_here = |entry: &Descriptor| self.kept.has(&entry.digest.blob_path().into_bytes());
        let (here, away): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_here);
        if here.is_empty() { away } else { here }
    }

    /// The entries of an index, together with those of the indexes in it that were read.
    fn unfold(&self, listed: Vec<Descriptor>) -> Result<Vec<Descriptor>, Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for entry in listed {
            let is_index = entry.is_index();
            if is_index && !seen.insert(entry.digest) {
                continue;
            }
            match is_index.then(|| self.read(&entry, "index")).transpose()?.flatten() {
                Some(raw) => entries.extend(Index::parse(raw)?.manifests),
                None => entries.push(entry),
            }
            if entries.len() > MAX_ENTRIES {
                let reason = "lists more images than an archive needs";
                return Err(Error::BeyondLimit { what: "index".to_owned(), reason });
            }
        }
        Ok(entries)
    }

    /// The verified bytes of a document; `None` if it wasn't read yet.
    fn read(&self, descriptor: &Descriptor, what: &'static str) -> Result<Option<Vec<u8>>, Error> {
        let path = descriptor.digest.blob_path().into_bytes();
        let Some(section) = self.kept.open(&path)? else { return Ok(None) };
        let content = Verified::new(section, what, descriptor.digest, Some(descriptor.size));
        layer_format::read_document(content, what, DOCUMENT_LIMIT).map(Some)
    }
}

/// Reads a document of a docker-archive, which has a path and no digest.
pub(super) fn read_by_path(kept: &Kept, path: &[u8], what: &str) -> Result<Option<Vec<u8>>, Error> {
    kept.open(path)?.map(|section| read_plain(section, what, DOCUMENT_LIMIT)).transpose()
}
