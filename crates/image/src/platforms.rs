//! The images of an index, one for each platform, and the index of those that are made of them.

use layer_format::{Config, Descriptor, Document, Index, Manifest, media_type};
use store::{Error, Lease};

use crate::Result;
use crate::edit::RawObject;
use crate::stored_image::StoredImage;

/// The images of an index of the store.
#[derive(Debug)]
pub struct Platforms {
    index: Index,
    members: Vec<(Descriptor, StoredImage)>,
    away: Vec<Descriptor>,
    n_about: usize,
}

impl Platforms {
    /// Finds the images that `text` names; `None` if that is one image, and no index. gc keeps them while the lease lives.
    ///
    /// # Errors
    /// There is nothing of that name, or there are several; a document is missing or malformed; no image of the index is there.
    pub fn find(text: &str, lease: &Lease) -> Result<Option<Self>> {
        let store = lease.store();
        let found = store.find(text)?;
        lease.protect(&[found.descriptor.digest])?;
        let Document::Index(index) = Document::parse(store.document(&found.descriptor.digest)?)?
        else {
            return Ok(None);
        };
        let (about, images): (Vec<_>, Vec<_>) =
            index.manifests.iter().cloned().partition(Descriptor::is_attestation);
        let away: Vec<_> = store.lacks(&images)?.into_iter().cloned().collect();
        let here = images.into_iter().filter(|image| !away.contains(image));
        let name = found.image.name().map(str::to_owned);
        let read = |entry: Descriptor| {
            let manifest = Manifest::parse(store.document(&entry.digest)?)?;
            manifest.check_image()?;
            let config = Config::parse(store.document(&manifest.config.digest)?)?;
            Ok((entry, StoredImage { manifest, config, name: name.clone() }))
        };
        let members = here.map(read).collect::<Result<Vec<_>>>()?;
        if members.is_empty() {
            return Err(Error::MissingBlob { digest: found.descriptor.digest });
        }
        Ok(Some(Self { index, members, away, n_about: about.len() }))
    }

    /// The images that are there, in the order of the index.
    pub fn images(&self) -> impl Iterator<Item = &StoredImage> {
        self.members.iter().map(|(_, image)| image)
    }

    /// What the user should know of the index that is made: `text` is the user's word for the old one.
    pub fn notes(&self, text: &str) -> Vec<String> {
        let shown = |entry: &Descriptor| match &entry.platform {
            Some(platform) => platform.to_string(),
            None => entry.digest.to_string(),
        };
        let away = self
            .away
            .iter()
            .map(|entry| format!("{text}: {} is not in the store, and is left out", shown(entry)));
        let about = (self.n_about > 0).then(|| {
            format!("{text}: what speaks about its images (attestations) is left out, since those made are others")
        });
        away.chain(about).collect()
    }

    /// The index of the images that were made of [`images`](Self::images), in the same order. What the old one says besides stays.
    ///
    /// # Errors
    /// The old index is malformed.
    pub fn index(&self, made: &[Manifest]) -> Result<Index, layer_format::Error> {
        let entries: Vec<Descriptor> = self
            .members
            .iter()
            .zip(made)
            .map(|((entry, _), manifest)| {
                let Descriptor { media_type, digest, size, .. } = manifest.descriptor();
                Descriptor { media_type, digest, size, ..entry.clone() }
            })
            .collect();
        let is_docker = entries.iter().all(|it| it.media_type == media_type::DOCKER_MANIFEST);
        let mut index = RawObject::parse(self.index.raw())?;
        if !(is_docker && self.index.media_type == media_type::DOCKER_INDEX) {
            index.set("mediaType", &media_type::OCI_INDEX)?;
        }
        index.set("manifests", &entries)?;
        Index::parse(index.to_vec()?)
    }
}
