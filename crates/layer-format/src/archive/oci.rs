//! Finds an image by `index.json` (image-spec, image-layout.md).

use std::collections::{HashMap, HashSet};

use super::both::Chosen;
use super::docker::Listed;
use super::shelf::Shelf;
use super::{Choice, Image, Layer, Step, read_plain};
use crate::descriptor::{Descriptor, annotation, media_type};
use crate::digest::{Digest, Verified};
use crate::error::Error;
use crate::image::{Config, DOCUMENT_LIMIT, Document, Index, Manifest};
use crate::platform::{Platform, check_platform, select};
use crate::reference::Reference;

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;

/// How many entries an index may have, with those of the indexes in it.
const MAX_ENTRIES: usize = 1 << 17;

/// What a look at the shelf came to.
enum Found<T> {
    Here(T),
    NotYet(Vec<u8>),
}

/// The entries of `index.json` that bear one name.
struct Named {
    names: Vec<String>,
    entries: Vec<Descriptor>,
}

/// Finds the image that is meant, as far as what has been read tells. `docker` is the `manifest.json` beside it.
pub(super) fn resolve(
    shelf: &Shelf,
    raw: &[u8],
    docker: Option<&[Listed]>,
    choice: &Choice,
    is_at_end: bool,
) -> Result<Step, Error> {
    let index = Index::parse(raw.to_vec())?;
    let named = choose(group(index.manifests), choice)?;
    let search = Search { shelf, choice, is_at_end };
    let (manifest, listed) = match search.manifest(named.entries.clone(), DEPTH_LIMIT)? {
        Found::Here(found) => found,
        Found::NotYet(path) => return Ok(Step::Need(path)),
    };
    manifest.check_image()?;
    let config = match search.document(&manifest.config, "config")? {
        Found::Here(raw) => Config::parse(raw)?,
        Found::NotYet(path) => {
            let layers = manifest.layers.iter().map(|blob| blob.digest.blob_path().into_bytes());
            return Ok(Step::NeedConfig { path, layers: layers.collect() });
        }
    };
    let chosen = Chosen {
        names: &named.names,
        entries: &named.entries,
        manifest: &manifest,
        config: &config,
    };
    if let Some(docker) = docker {
        if choice.name.is_none()
            && let Some(step) = chosen.check_alone(shelf, docker, is_at_end)?
        {
            return Ok(step);
        }
        if let Some(image) = chosen.instead(shelf, docker)? {
            check_platform(choice.platform.as_ref(), listed.as_ref(), &config.platform)?;
            return Ok(Step::Found(Box::new(image)));
        }
    }
    let is_single = chosen.is_single();
    let layers = layers(&manifest, &config)?;
    check_platform(choice.platform.as_ref(), listed.as_ref(), &config.platform)?;
    Ok(Step::Found(Box::new(Image {
        names: named.names,
        manifest: Some(manifest),
        config,
        layers,
        doubt: None,
        is_single,
    })))
}

fn layers(manifest: &Manifest, config: &Config) -> Result<Vec<Layer>, Error> {
    let pairs = manifest.layers.iter().zip(manifest.files(config)?);
    Ok(pairs.map(|(blob, diff_id)| Layer::stored(blob.clone(), *diff_id)).collect())
}

/// Puts entries with one name together, and names of one digest; what is no image is left out.
///
/// Entries of one name are one image if they say for which platforms they are. Otherwise they are several, for a name
/// may be just a tag, as in skopeo's archives.
fn group(entries: Vec<Descriptor>) -> Vec<Named> {
    let mut groups: Vec<Named> = Vec::new();
    let mut by_name: HashMap<(String, Option<Digest>), usize> = HashMap::new();
    let mut by_digest: HashMap<Digest, usize> = HashMap::new();
    for entry in entries.into_iter().filter(Descriptor::is_image) {
        let name =
            entry.annotation(annotation::IMAGE_NAME).or(entry.annotation(annotation::REF_NAME));
        let own = entry.platform.is_none().then_some(entry.digest);
        // Entries without a name that say for which platform they are belong together; others stand for themselves.
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

/// Whether these are signatures or the like, by all their names.
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
            .ok_or(Error::Malformed { what: "index.json".to_owned(), reason: "names no image" });
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

/// What there is to choose from: names, and digests where there is no name or several images have it.
fn shown(groups: &[Named]) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in groups.iter().filter_map(|group| group.names.first()) {
        *uses.entry(name).or_default() += 1;
    }
    let is_unique = |name: &&String| uses.get(name.as_str()) == Some(&1);
    let show = |group: &Named| match group.names.first().filter(is_unique) {
        Some(name) => crate::layer::escape_short(name.as_bytes()),
        None => digest_of(group),
    };
    groups.iter().map(show).collect()
}

fn digest_of(group: &Named) -> String {
    group.entries.first().map(|entry| entry.digest.to_string()).unwrap_or_default()
}

/// Whether a name in an archive is the one that is wanted, by Docker's short forms too.
pub(super) fn is_same_name(name: &str, wanted: &str) -> bool {
    let normalised = |text: &str| text.parse::<Reference>().ok();
    name == wanted || normalised(wanted).is_some_and(|wanted| normalised(name) == Some(wanted))
}

struct Search<'a> {
    shelf: &'a Shelf,
    choice: &'a Choice,
    is_at_end: bool,
}

impl Search<'_> {
    /// The manifest among `entries` that fits the platform best, and for which one it is listed.
    fn manifest(
        &self,
        entries: Vec<Descriptor>,
        depth: usize,
    ) -> Result<Found<(Manifest, Option<Platform>)>, Error> {
        let malformed = |reason| Error::Malformed { what: "index".to_owned(), reason };
        let entries = self.present(entries);
        let entry = match &entries[..] {
            [only] if depth == DEPTH_LIMIT => only,
            entries => select(entries, &self.choice.wanted())?,
        };
        let raw = match self.document(entry, "manifest")? {
            Found::Here(raw) => raw,
            Found::NotYet(path) => return Ok(Found::NotYet(path)),
        };
        match Document::parse(raw)? {
            Document::Manifest(manifest) => Ok(Found::Here((manifest, entry.platform.clone()))),
            Document::Index(_) if depth == 0 => Err(malformed("nested too deep")),
            Document::Index(index) => self.manifest(self.unfold(index)?, depth - 1),
        }
    }

    /// The entries that may be in the archive: all of them until it has been read to the end, as some producers list
    /// platforms that they don't save.
    fn present(&self, entries: Vec<Descriptor>) -> Vec<Descriptor> {
        if !self.is_at_end || entries.len() < 2 {
            return entries;
        }
        let is_here = |entry: &Descriptor| self.shelf.has(&entry.digest.blob_path().into_bytes());
        let (here, away): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_here);
        if here.is_empty() { away } else { here }
    }

    /// The entries of an index, with those of the indexes in it that have come.
    fn unfold(&self, index: Index) -> Result<Vec<Descriptor>, Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for entry in index.manifests {
            let is_index = matches!(
                entry.media_type.as_str(),
                media_type::OCI_INDEX | media_type::DOCKER_INDEX
            );
            if is_index && !seen.insert(entry.digest) {
                continue;
            }
            match is_index.then(|| self.document(&entry, "index")).transpose()? {
                Some(Found::Here(raw)) => entries.extend(Index::parse(raw)?.manifests),
                _ => entries.push(entry),
            }
            if entries.len() > MAX_ENTRIES {
                let reason = "lists more images than anyone needs";
                return Err(Error::Malformed { what: "index".to_owned(), reason });
            }
        }
        Ok(entries)
    }

    fn document(
        &self,
        descriptor: &Descriptor,
        what: &'static str,
    ) -> Result<Found<Vec<u8>>, Error> {
        let path = descriptor.digest.blob_path().into_bytes();
        match self.shelf.open(&path)? {
            Some(section) => {
                let content =
                    Verified::new(section, what, descriptor.digest, Some(descriptor.size));
                Ok(Found::Here(crate::image::read_document(content, what, DOCUMENT_LIMIT)?))
            }
            None if self.is_at_end => {
                let what = format!("{what} {}", descriptor.digest);
                Err(Error::MissingMember { what, image: None })
            }
            None => Ok(Found::NotYet(path)),
        }
    }
}

/// Reads a document of a docker-archive: named by a path, not by a digest.
pub(super) fn read_by_path(
    shelf: &Shelf,
    path: &[u8],
    what: &str,
) -> Result<Option<Vec<u8>>, Error> {
    shelf.open(path)?.map(|section| read_plain(section, what, DOCUMENT_LIMIT)).transpose()
}
