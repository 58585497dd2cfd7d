//! A layer's blob and the repository that has it.

use std::collections::BTreeSet;

use layer_format::{Descriptor, DiffId};
use registry::Repository;

/// A blob of an image, and where to download it.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) descriptor: Descriptor,
    pub(crate) repository: Repository,
    /// The diff ids that configs give for it; it must decompress to each of them.
    pub(crate) diff_ids: BTreeSet<DiffId>,
}

impl Blob {
    /// The name of the blob in error messages: `layer sha256:0123456789ab`.
    pub(crate) fn label(&self) -> String {
        let digest = &self.descriptor.digest;
        format!("layer {}:{}", digest.algorithm().name(), digest.short())
    }
}
