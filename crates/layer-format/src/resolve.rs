//! Chooses one image of an index, and checks that its manifest agrees with its config (image-spec, image-index.md).
//!
//! ```text
//! document ── descend ──► Selected ── config ──► Config ── layers ──► each layer with its diff id, base first
//! ```
//!
//! Archives, stores, layouts and registries implement [`Documents`]. This module alone chooses among them.

use crate::descriptor::Descriptor;
use crate::digest::DiffId;
use crate::error::Error;
use crate::image::{Config, Document, Manifest};
use crate::platform::{Platform, check_platform, select};

/// The most indexes that may be nested in each other.
pub const INDEX_DEPTH: usize = 5;

/// Source of manifests, indexes and configs.
pub trait Documents {
    /// The error of the source.
    type Error: From<Error>;

    /// The verified bytes of a document. `what` names its kind in errors, for example a manifest or a config.
    ///
    /// # Errors
    /// The document is missing, can't be read, or doesn't match its descriptor.
    fn document(
        &mut self,
        descriptor: &Descriptor,
        what: &'static str,
    ) -> Result<Vec<u8>, Self::Error>;

    /// The entries of an index that can be chosen. These are all entries, unless the source knows that some are
    /// missing.
    ///
    /// # Errors
    /// The source can't find out whether an entry is there.
    fn candidates(&mut self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>, Self::Error> {
        Ok(entries)
    }
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The descriptor of the stored bytes, from the manifest.
    pub blob: Descriptor,
    /// The digest of the uncompressed bytes, from the config.
    pub diff_id: DiffId,
}

/// A manifest that was chosen by its platform.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The manifest.
    pub manifest: Manifest,
    /// The platform that the index lists for it; `None` if it wasn't chosen from an index, or if the index lists none.
    pub listed: Option<Platform>,
}

impl Selected {
    /// Descends from `document` to the manifest that suits `wanted` best. `listed` is the platform that is already
    /// known for the document.
    ///
    /// # Errors
    /// No image runs on `wanted`, the indexes are nested deeper than [`INDEX_DEPTH`], or `documents` fails.
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

    /// Reads the config of the image.
    ///
    /// # Errors
    /// The image has no files, or `documents` fails.
    pub fn config<D: Documents>(&self, documents: &mut D) -> Result<Config, D::Error> {
        self.manifest.check_image()?;
        Ok(Config::parse(documents.document(&self.manifest.config, "config")?)?)
    }

    /// The layers, base first. The manifest must be that of an image and agree with its config. The image must run on
    /// `platform`, unless that is `None`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this is no image with files, [`Error::Contradiction`] if the numbers of layers differ,
    /// and [`Error::NoPlatform`] if the image is for another platform.
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

/// The config of a container image, and the digests of its uncompressed layers.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// The config.
    pub config: Config,
    /// The digest of each layer's uncompressed bytes, base first; `None` for a layer that is no tar.
    pub diff_ids: Vec<Option<DiffId>>,
}

impl ContainerConfig {
    /// Parses the config of `manifest`, for a caller that passes the image on.
    ///
    /// # Errors
    /// The config is malformed, or has another number of layers ([`Error::Contradiction`]).
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
