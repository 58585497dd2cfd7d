//! What the caller of an [`Applier`](super::Applier) decides.

use crate::metadata::{Owner, SpecialBits};

/// How layers are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which owner the files get.
    pub owner: Owner,
    /// What becomes of the setuid and setgid bits of files whose owner is not set.
    pub special_bits: SpecialBits,
    /// What happens to a lower layer's link to a directory when an entry has it as a parent.
    pub symlinked_dirs: SymlinkedDirs,
    /// A name in the root that doesn't belong to the layers. Whiteouts don't remove it, and entries that would touch it are
    /// refused.
    pub reserved: Option<&'static str>,
}

/// What happens if an entry's parent is a lower layer's link to a directory, for example `lib` to `usr/lib`.
///
/// A link of the entry's own layer is followed in both cases, beneath the root, if it leads to a directory there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkedDirs {
    /// A real directory takes the link's place. docker, podman and containerd do the same.
    Replace,
    /// The link stays and is followed, beneath the root. Whiteouts and directory entries of its name follow it too.
    Follow,
}
