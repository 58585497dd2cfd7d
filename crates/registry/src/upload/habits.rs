//! What was found out about the way in which a registry takes uploads. It holds for the blobs that follow, so that only
//! the first one pays for it.

/// The ways of one registry, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(super) manner: Manner,
    /// The most bytes that one request may carry.
    pub(super) chunk: Option<u64>,
    /// Whether what it says about ranges is of no use.
    pub(super) is_blind: bool,
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// In chunks, if there is more than one.
    #[default]
    Chunks,
    /// In one PUT, because the registry takes no chunks.
    Whole,
    /// In one PATCH without a range and a PUT that ends it, because a PUT may not carry the blob.
    Streamed,
}
