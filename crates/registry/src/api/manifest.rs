//! Manifests and indexes, and the configs that they name.

use layer_format::{DOCUMENT_LIMIT, Descriptor, Digest, Document};

use super::document::{DocumentQuery, Kind};
use super::repository::Repository;
use crate::base::Error;

impl Repository {
    /// The manifest or index of this tag or digest, and the digest of its bytes.
    ///
    /// The bytes are checked against the digest that was asked for, and against the one that the registry says it sent.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::Unauthorised`] as the registry answers; [`Error::DigestMismatch`],
    /// [`Error::TooLarge`], [`Error::Malformed`] or [`Error::NotARegistry`] for what came; the errors of connections.
    pub fn manifest(&self, wanted: &str) -> Result<(Document, Digest), Error> {
        let pinned = self.pinned(wanted)?;
        let what = &self.manifest_name(wanted, pinned.as_ref());
        let wanted =
            DocumentQuery { kind: Kind::Manifest, name: wanted, pinned: pinned.as_ref(), what };
        self.read_document(wanted, |raw| {
            let digest = pinned.unwrap_or_else(|| Digest::of(&raw));
            let malformed = |source| Error::Malformed { what: what.clone(), source };
            Ok((Document::parse(raw).map_err(malformed)?, digest))
        })
    }

    /// The bytes of a config, or of a manifest that an index names, checked against size and digest.
    ///
    /// # Errors
    ///
    /// Those of [`manifest`](Self::manifest), and [`Error::SizeMismatch`].
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = descriptor.digest;
        let expected = descriptor.size;
        let what = self.name_of(&digest);
        if expected > DOCUMENT_LIMIT {
            return Err(Error::TooLarge { what, limit: DOCUMENT_LIMIT });
        }
        let raw = if is_manifest(&descriptor.media_type) {
            let name = &digest.to_string();
            let pinned = Some(&digest);
            self.read_document(
                DocumentQuery { kind: Kind::Manifest, name, pinned, what: &what },
                Ok,
            )?
        } else {
            self.whole_blob(descriptor)?
        };
        if raw.len() as u64 != expected {
            return Err(Error::SizeMismatch { what, expected, found: raw.len() as u64 });
        }
        Ok(raw)
    }
}

/// Whether a document of this type lies among manifests. Every other one is a blob.
fn is_manifest(media_type: &str) -> bool {
    media_type.contains("manifest") || media_type.contains("index")
}
