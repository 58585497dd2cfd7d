//! From an index to one image: which manifest is meant, and whether it agrees with its config (image-spec, image-index.md).
//!
//! ```text
//! document ── descend ──► Selected ── config ──► Config ── layers ──► each layer with its diff id, base first
//! ```
//!
//! Archives, stores, layouts and registries give the [`Documents`]; what is chosen of them is decided here alone.

use crate::descriptor::Descriptor;
use crate::digest::DiffId;
use crate::error::Error;
use crate::image::{Config, Document, Manifest};
use crate::platform::{Platform, check_platform, select};

/// How many indexes may lie one in the other.
pub const INDEX_DEPTH: usize = 5;

/// Where manifests, indexes and configs are read from.
pub trait Documents {
    /// What goes wrong there.
    type Error: From<Error>;

    /// The verified bytes of a document; `what` it is (a manifest, a config) is for errors.
    ///
    /// # Errors
    /// It isn't there, can't be read, or isn't what its descriptor says.
    fn document(
        &mut self,
        descriptor: &Descriptor,
        what: &'static str,
    ) -> Result<Vec<u8>, Self::Error>;

    /// The entries of an index that can be chosen: all of them, unless some are known to be absent.
    ///
    /// # Errors
    /// Whether an entry is there can't be found out.
    fn candidates(&mut self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>, Self::Error> {
        Ok(entries)
    }
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The stored bytes, as the manifest lists them.
    pub blob: Descriptor,
    /// What they must decompress to, as the config says.
    pub diff_id: DiffId,
}

/// A manifest that was chosen by its platform.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The manifest.
    pub manifest: Manifest,
    /// The platform that the index lists it for; nothing where it wasn't chosen from an index, or the index doesn't say.
    pub listed: Option<Platform>,
}

impl Selected {
    /// Goes down from a document that `listed` was said about, to the manifest that suits `wanted` best.
    ///
    /// # Errors
    /// No image runs there, the indexes are nested deeper than [`INDEX_DEPTH`], and those of `documents`.
    pub fn descend<D: Documents>(
        document: Document,
        listed: Option<Platform>,
        wanted: &Platform,
        documents: &mut D,
    ) -> Result<Self, D::Error> {
        let mut document = document;
        let mut listed = listed;
        for _ in 0..=INDEX_DEPTH {
            let index = match document {
                Document::Manifest(manifest) => return Ok(Self { manifest, listed }),
                Document::Index(index) => index,
            };
            let entries = documents.candidates(index.manifests)?;
            let entry = select(&entries, wanted)?;
            document = Document::parse(documents.document(entry, "manifest")?)?;
            listed.clone_from(&entry.platform);
        }
        Err(too_deep().into())
    }

    /// Reads the config of an image.
    ///
    /// # Errors
    /// It is no image that has files, and those of `documents`.
    pub fn config<D: Documents>(&self, documents: &mut D) -> Result<Config, D::Error> {
        self.manifest.check_image()?;
        Ok(Config::parse(documents.document(&self.manifest.config, "config")?)?)
    }

    /// Checks that the manifest is an image's and agrees with its config, and that it runs on `platform` if that was asked for;
    /// gives the layers, base first.
    ///
    /// # Errors
    /// It is no image, their numbers of layers differ, or it is for another platform.
    pub fn layers(
        &self,
        config: &Config,
        platform: Option<&Platform>,
    ) -> Result<Vec<Layer>, Error> {
        let diff_ids = self.manifest.files(config)?;
        check_platform(platform, self.listed.as_ref(), &config.platform)?;
        let pairs = self.manifest.layers.iter().zip(diff_ids);
        Ok(pairs.map(|(blob, diff_id)| Layer { blob: blob.clone(), diff_id: *diff_id }).collect())
    }
}

/// The config of a container image, and what its layers are.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// The config.
    pub config: Config,
    /// What each layer must decompress to, base first; nothing of one that is no tar.
    pub diff_ids: Vec<Option<DiffId>>,
}

impl ContainerConfig {
    /// Reads the config that `manifest` names, for whoever passes the image on.
    ///
    /// # Errors
    /// It is malformed, or tells of another number of layers.
    pub fn parse(manifest: &Manifest, raw: Vec<u8>) -> Result<Self, Error> {
        let config = Config::parse(raw)?;
        let diff_ids = manifest.diff_ids(&config)?;
        Ok(Self { config, diff_ids })
    }
}

/// The error for indexes that are nested deeper than [`INDEX_DEPTH`].
pub fn too_deep() -> Error {
    Error::BeyondLimit { what: "index".to_owned(), reason: "nested too deep" }
}
