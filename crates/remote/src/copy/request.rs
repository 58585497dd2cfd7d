//! What a copy is asked to do.

use layer_format::{Platform, Reference};

/// What is copied, and where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) image: &'a Reference,
    pub(crate) name: &'a Reference,
    /// Of an index, only the manifest for this platform.
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) mode: Mode,
}

/// Whether a copy changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It copies.
    Copy,
    /// It only tells what it would do with each blob.
    DryRun {
        /// In JSON.
        is_json: bool,
    },
}
