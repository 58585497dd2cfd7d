//! Makes manifests for the images of docker-archives, which have none. The same image always gets the same manifest.
//!
//! It is an OCI manifest of the layers in their stored form, and their media types name their codecs. Changing it
//! changes digests.

use std::collections::HashMap;

use layer_format::layer::{EntryPath, escape_short};
use layer_format::{
    Config, DOCUMENT_LIMIT, Descriptor, DiffId, Error, Manifest, Platform, media_type,
};
use serde::Serialize;

use super::contents::{Blobs, Contents};
use super::docker::{Listed, check_name};
use super::kept;
use super::read_all::ReadBlob;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// A `manifest.json`, and the members that its paths may refer to.
pub(super) struct Docker<'a> {
    pub(super) listed: &'a [Listed],
    /// The members that were read, by their paths.
    pub(super) received: &'a HashMap<Vec<u8>, ReadBlob>,
    /// The path at which the links from a path end.
    pub(super) follow: &'a dyn Fn(&[u8]) -> Vec<u8>,
}

impl Docker<'_> {
    /// The contents of an archive that has only a `manifest.json`.
    pub(super) fn contents(
        &self,
        platform: Option<&Platform>,
        blobs: &mut dyn Blobs,
    ) -> Result<Contents, Error> {
        let mut contents = Contents::new(None);
        let mut entries = Vec::new();
        for listed in self.listed {
            contents.add_listed(self, listed, None, &mut entries, blobs)?;
        }
        contents.gather(entries, platform, blobs)
    }

    /// The member at a path of the list.
    pub(super) fn member(&self, path: &str) -> Result<Option<ReadBlob>, Error> {
        let path = EntryPath::parse(path.as_bytes())?;
        Ok(self.received.get(&(self.follow)(path.as_bytes())).copied())
    }

    fn name_of_missing(&self, path: &str) -> String {
        match EntryPath::parse(path.as_bytes()) {
            Ok(path) => kept::name_of_missing(path.as_bytes(), &(self.follow)(path.as_bytes())),
            Err(_) => escape_short(path.as_bytes()),
        }
    }

    /// Makes the manifest of an image.
    pub(super) fn make(&self, listed: &Listed, blobs: &mut dyn Blobs) -> Result<Manifest, Error> {
        let missing = |path: &str| Error::MissingMember {
            what: self.name_of_missing(path),
            image: listed.repo_tags.first().map(|tag| escape_short(tag.as_bytes())),
        };
        let config = self.member(&listed.config)?.ok_or_else(|| missing(&listed.config))?;
        let what = || escape_short(listed.config.as_bytes());
        if config.size > DOCUMENT_LIMIT {
            return Err(Error::TooLarge { what: what(), limit: DOCUMENT_LIMIT });
        }
        let config = Descriptor::new(media_type::OCI_CONFIG, config.digest, config.size);
        let raw = blobs
            .document(&config)?
            .ok_or_else(|| Error::Malformed { what: what(), reason: "is no config" })?;
        check_name(&listed.config, &raw)?;
        let found = Config::parse(raw)?;
        found.check_layers(listed.layers.len())?;
        let mut layers = Vec::new();
        for (path, diff_id) in listed.layers.iter().zip(found.diff_ids()) {
            let position = layers.len() + 1;
            let absent = || match &path[..] {
                "" => Error::MissingLayer { position, diff_id: Box::new(*diff_id) },
                path => missing(path),
            };
            layers.push(self.layer(path, diff_id, blobs)?.ok_or_else(absent)?);
        }
        make(config, layers)
    }

    /// A layer by its path, or else by its uncompressed bytes: thin archives leave layers out, and links may lead
    /// nowhere.
    fn layer(
        &self,
        path: &str,
        diff_id: &DiffId,
        blobs: &mut dyn Blobs,
    ) -> Result<Option<Descriptor>, Error> {
        let blob = if path.is_empty() { None } else { self.member(path)? };
        if let Some(blob) = blob {
            return Ok(Some(layer(blob)));
        }
        let is_link = (self.follow)(path.as_bytes()) != path.as_bytes();
        match blobs.by_content(diff_id).filter(|_| is_link) {
            Some(found) => Ok(Some(found)),
            None => blobs.by_base(diff_id),
        }
    }
}

fn layer(blob: ReadBlob) -> Descriptor {
    Descriptor::new(blob.codec.layer_type(), blob.digest, blob.size)
}

fn make(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, Error> {
    let made = Made { schema_version: 2, media_type: media_type::OCI_MANIFEST, config, layers };
    let raw = serde_json::to_vec(&made)
        .map_err(|source| Error::MalformedJson { what: "manifest".to_owned(), source })?;
    Manifest::parse(raw)
}
