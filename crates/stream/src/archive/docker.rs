//! Finds an image by `manifest.json`, Docker's list of images in an archive.

use layer_format::layer::{EntryPath, escape_short};
use layer_format::{Config, Digest, Error, Reference, from_json, null_is_default};
use serde::Deserialize;

use super::kept::Kept;
use super::oci::{is_same_name, read_by_path};
use super::{Choice, Image, Layer, Step};

/// The most images of a list that may be one image for several platforms.
const MAX_PLATFORMS: usize = 100;

/// One image of the list. Its paths are those of members of the archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[serde(expecting = "an image: an object with Config, RepoTags and Layers")]
pub(super) struct Listed {
    pub(super) config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) layers: Vec<String>,
}

impl Listed {
    /// Whether all names of the image are those of a signature or the like.
    pub(super) fn is_about_another(&self) -> bool {
        let is_about = |name: &String| Reference::is_about_another(name);
        !self.repo_tags.is_empty() && self.repo_tags.iter().all(is_about)
    }

    /// The names of the image.
    pub(super) fn names(&self) -> impl Iterator<Item = Reference> {
        self.repo_tags.iter().filter_map(|tag| tag.parse().ok())
    }
}

pub(super) fn parse(raw: &[u8]) -> Result<Vec<Listed>, Error> {
    from_json("manifest.json", raw)
}

/// Whether the list stands beside an `index.json`, which has more information and may come later.
pub(super) fn is_beside_oci(images: &[Listed]) -> bool {
    images.iter().any(|image| image.config.trim_start_matches("./").starts_with("blobs/"))
}

/// Finds the wanted image among the members that were read so far.
pub(super) fn resolve(
    kept: &Kept,
    images: &[Listed],
    choice: &Choice,
    is_at_end: bool,
) -> Result<Step, Error> {
    let candidates = candidates(images, choice)?;
    let mut best: Option<(u32, &Listed, Config)> = None;
    let mut present = Vec::new();
    for listed in &candidates {
        let path = EntryPath::parse(listed.config.as_bytes())?;
        let Some(raw) = read_by_path(kept, path.as_bytes(), "config")? else {
            if is_at_end {
                return Err(Error::MissingMember {
                    what: kept.name_of_missing(path.as_bytes()),
                    image: listed.repo_tags.first().map(|tag| escape_short(tag.as_bytes())),
                });
            }
            return Ok(Step::Need(path.as_bytes().to_vec()));
        };
        check_name(&listed.config, &raw)?;
        let config = Config::parse(raw)?;
        present.push(config.platform.to_string());
        let Some(rank) = rank(&config, choice, candidates.len()) else { continue };
        if best.as_ref().is_none_or(|(other, ..)| rank < *other) {
            best = Some((rank, listed, config));
        }
    }
    let Some((_, listed, config)) = best else {
        return Err(Error::NoPlatform { wanted: choice.wanted().to_string(), present });
    };
    Ok(Step::Found(Box::new(image(listed, config)?)))
}

/// The image of an entry, with the paths of the archive's members.
pub(super) fn image(listed: &Listed, config: Config) -> Result<Image, Error> {
    let layers = layers(listed, &config)?;
    let names = listed.repo_tags.clone();
    Ok(Image { names, manifest: None, config, layers, doubt: None, is_single: true })
}

/// The rank of an image for the choice. A single image fits if no platform was asked for.
fn rank(config: &Config, choice: &Choice, n_candidates: usize) -> Option<u32> {
    if choice.platform.is_none() && n_candidates == 1 {
        return Some(0);
    }
    choice.wanted().rank(&config.platform)
}

fn candidates<'a>(images: &'a [Listed], choice: &Choice) -> Result<Vec<&'a Listed>, Error> {
    let malformed =
        || Error::NoImage { what: "manifest.json".to_owned(), reason: "names no image" };
    let first = images.first().ok_or_else(malformed)?;
    let Some(wanted) = &choice.name else {
        // Several entries with one config are one image. Several platforms of an image have no names of their own.
        let is_one = images.iter().all(|image| image.config == first.config);
        let n_named = images.iter().filter(|image| !image.repo_tags.is_empty()).count();
        if is_one {
            return Ok(vec![first]);
        }
        if choice.platform.is_some() && n_named <= 1 && images.len() <= MAX_PLATFORMS {
            return Ok(images.iter().collect());
        }
        return Err(Error::Ambiguous { names: images.iter().map(show).collect() });
    };
    let id = wanted.parse::<Digest>().map(|digest| digest.hex());
    let is_wanted = |image: &&Listed| {
        image.repo_tags.iter().any(|name| is_same_name(name, wanted))
            || id.as_ref().is_ok_and(|id| image.config.contains(id))
    };
    match images.iter().find(is_wanted) {
        Some(image) => Ok(vec![image]),
        None => Err(Error::NotFound { what: wanted.clone() }),
    }
}

/// The text that stands for an image in messages: a name, or else its config's digest.
pub(super) fn show(image: &Listed) -> String {
    let digest = || config_digest(&image.config).map(|digest| digest.to_string());
    let name = image.repo_tags.first().cloned().or_else(digest);
    escape_short(name.unwrap_or_else(|| image.config.clone()).as_bytes())
}

/// The digest in a config's name, which is normally correct.
pub(super) fn config_digest(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hex = name.trim_start_matches("sha256:").trim_end_matches(".json");
    format!("sha256:{hex}").parse().ok()
}

/// Checks that a config whose name is a digest has that digest.
pub(super) fn check_name(path: &str, raw: &[u8]) -> Result<(), Error> {
    let Some(expected) = config_digest(path) else { return Ok(()) };
    let found = Digest::of(raw);
    if found == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: "config", expected: expected.into(), found: found.into() })
}

fn layers(listed: &Listed, config: &Config) -> Result<Vec<Layer>, Error> {
    config.check_layers(listed.layers.len())?;
    let pairs = listed.layers.iter().zip(config.diff_ids());
    let layer = |(path, diff_id): (&String, &_)| {
        // A thin archive has an empty path for a layer that it leaves out.
        let path = match &path[..] {
            "" => Vec::new(),
            path => EntryPath::parse(path.as_bytes())?.as_bytes().to_vec(),
        };
        Ok(Layer { blob: None, diff_id: *diff_id, path })
    };
    pairs.map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_images_of_one_name_are_one_for_several_platforms_and_no_more() {
        let listed =
            |n: usize| Listed { config: format!("{n}.json"), repo_tags: vec![], layers: vec![] };
        let platform = "linux/amd64".parse().ok();
        let choice = Choice { name: None, platform };
        let n_candidates = |n: usize| {
            let images: Vec<_> = (0..n).map(listed).collect();
            candidates(&images, &choice).map(|found| found.len())
        };
        assert_eq!(n_candidates(MAX_PLATFORMS).unwrap(), MAX_PLATFORMS);
        assert!(matches!(n_candidates(MAX_PLATFORMS + 1), Err(Error::Ambiguous { .. })));
    }
}
