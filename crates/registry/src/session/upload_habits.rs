//! What was found out about how a registry takes uploads. It holds for the blobs that follow, so that only the first
//! one pays for it.

/// How one registry takes uploads, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UploadHabits {
    pub(crate) mode: UploadMode,
    /// The most bytes that one request may carry.
    pub(crate) chunk: Option<u64>,
    /// Whether the ranges that it answers are of no use.
    pub(crate) has_useless_ranges: bool,
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UploadMode {
    /// In chunks, if there is more than one.
    #[default]
    Chunks,
    /// In one PUT, because the registry takes no chunks.
    Whole,
    /// In one PATCH without a range and a PUT that ends it, because a PUT may not carry the blob.
    Streamed,
}
