//! An image of the store that a new one is made of.

use layer_format::{Config, DiffId, Manifest, Platform};
use store::{Error, FoundBy, Lease, Store};

use crate::Result;
use crate::source::about;
use crate::stored::read_image;

/// An image of the store: its documents, and what it is called.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: Config,
    /// The full name that the store has for it; `None` if it was found by a digest and the name is that of an index.
    pub name: Option<String>,
}

impl StoredImage {
    /// Finds the image that `text` names, a name or a digest. Of an index, that is the one for `platform`, or for this machine's
    /// platform if that is `None` and the index has several. gc keeps it while the lease lives, if there is one.
    ///
    /// # Errors
    /// There is no such image, there are several, or none for the platform; a document is missing or malformed.
    pub fn find(
        text: &str,
        platform: Option<&Platform>,
        store: &Store,
        lease: Option<&Lease>,
    ) -> Result<Self> {
        let found = store.find(text)?;
        if let Some(lease) = lease {
            lease.protect(&[found.descriptor.digest])?;
        }
        // The entry of the store may point at an index that lists the image.
        let is_whole = found.descriptor.digest == *found.image.digest();
        let name = found.image.name().filter(|_| found.by == FoundBy::Name || is_whole);
        let image = read_image(store, &found.descriptor, vec![], platform).map_err(about(text))?;
        let missing = Error::MissingBlob { digest: found.descriptor.digest };
        let manifest = image.manifest.ok_or(missing)?;
        Ok(Self { manifest, config: image.config, name: name.map(str::to_owned) })
    }

    /// The digests of the layers' uncompressed bytes, base first.
    pub fn diff_ids(&self) -> &[DiffId] {
        self.config.diff_ids()
    }
}
