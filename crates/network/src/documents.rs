//! The documents of a repository, for whoever goes down from an index to one image.

use layer_format::resolve::Documents;
use layer_format::{Descriptor, media_type};
use registry::Repository;

/// A repository as a source of manifests, indexes and configs.
#[derive(Debug)]
pub struct RemoteDocuments<'a>(pub &'a Repository);

impl RemoteDocuments<'_> {
    /// Downloads a manifest or index that an index names.
    ///
    /// # Errors
    /// The registry's.
    pub fn listed(&self, entry: &Descriptor) -> anyhow::Result<Vec<u8>> {
        let mut entry = entry.clone();
        // An entry of another type is asked for at the endpoint for manifests too.
        if !entry.media_type.contains("manifest") && !entry.media_type.contains("index") {
            media_type::OCI_MANIFEST.clone_into(&mut entry.media_type);
        }
        Ok(self.0.document(&entry)?)
    }
}

impl Documents for RemoteDocuments<'_> {
    type Error = anyhow::Error;

    fn document(&mut self, entry: &Descriptor, _what: &'static str) -> anyhow::Result<Vec<u8>> {
        self.listed(entry)
    }
}
