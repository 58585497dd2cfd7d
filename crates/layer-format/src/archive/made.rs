//! Images of docker-archives, which have no manifests: one is made, always the same for the same image.
//!
//! It is OCI's, its layers are as they are stored, and their media types say how they are compressed. Changing it changes
//! digests.

use serde::Serialize;

use super::all::Came;
use super::contents::{Blobs, Contents, Found, Incomplete, parse_name};
use super::docker::{Listed, check_name};
use crate::codec::Codec;
use crate::descriptor::{Descriptor, media_type};
use crate::error::Error;
use crate::image::{Config, Manifest};
use crate::layer::EntryPath;
use crate::platform::{Platform, check_platform};
use crate::stream;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Makes the images of a `manifest.json`, given what its paths turned out to be.
pub(super) fn images(
    listed: &[Listed],
    member: &dyn Fn(&[u8]) -> Option<Came>,
    platform: Option<&Platform>,
    blobs: &mut dyn Blobs,
) -> Result<Contents, Error> {
    let mut contents = Contents::new(None);
    let mut other_platforms = None;
    for listed in listed {
        let came = |path: &str| -> Result<Came, Error> {
            let path = EntryPath::parse(path.as_bytes())?;
            let missing = || Error::Malformed {
                what: path.to_string(),
                reason: "is missing from the archive",
            };
            member(path.as_bytes()).ok_or_else(missing)
        };
        let config = came(&listed.config)?;
        let config = Descriptor::new(media_type::OCI_CONFIG, config.digest, config.size);
        let raw = blobs.document(&config)?.ok_or_else(|| Error::Malformed {
            what: crate::layer::escape(listed.config.as_bytes()),
            reason: "is no config",
        })?;
        contents.weigh(config.size)?;
        check_name(&listed.config, &raw)?;
        let found = Config::parse(raw)?;
        found.check_layers(listed.layers.len())?;
        if let Err(error) = check_platform(platform, None, &found.platform) {
            other_platforms = Some(error);
            continue;
        }
        let layers = listed.layers.iter().map(|path| Ok(layer(came(path)?)));
        let manifest = make(config, layers.collect::<Result<_, Error>>()?)?;
        contents.add(listed, &manifest, blobs)?;
    }
    contents.finish(other_platforms)
}

impl Contents {
    fn add(
        &mut self,
        listed: &Listed,
        manifest: &Manifest,
        blobs: &mut dyn Blobs,
    ) -> Result<(), Error> {
        let names = listed.repo_tags.iter().map(|tag| parse_name(tag).map(Some));
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        let names = if names.is_empty() { vec![None] } else { names };
        for name in names {
            self.weigh(manifest.raw.len() as u64)?;
            let image = stream::Image { indexes: vec![], manifests: vec![manifest.clone()] };
            let root = manifest.descriptor();
            let (platforms, parts) = (vec![], vec![]);
            let mut found = Found { name, root, chosen_from: None, image, platforms, parts };
            self.missing.extend(found.fill(Incomplete::Tell, blobs)?);
            self.images.push(found);
        }
        Ok(())
    }
}

fn layer(came: Came) -> Descriptor {
    let media_type = match came.codec {
        Codec::None => media_type::OCI_LAYER,
        Codec::Gzip => media_type::OCI_LAYER_GZIP,
        Codec::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    Descriptor::new(media_type, came.digest, came.size)
}

fn make(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, Error> {
    let made = Made { schema_version: 2, media_type: media_type::OCI_MANIFEST, config, layers };
    let raw = serde_json::to_vec(&made)
        .map_err(|source| Error::MalformedJson { what: "manifest", source })?;
    Manifest::parse(raw)
}
