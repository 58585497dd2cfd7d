//! Layers as the kernel's overlayfs takes them: a directory for each, and a mount that shows them as one tree.
//!
//! A layer's directory is filled in one of two ways, and both leave to others what they can do:
//!
//! - A layer that [stands alone](StandsAlone) means the same over any other: its directory is what the
//!   [`Applier`](crate::Applier) makes of it in an empty one.
//! - Any other layer is applied, by the same applier, to an [`Overlay`] of the layers below, with its own directory as
//!   the upper one. Whiteouts, opaque directories, parents with the attributes that they have below, copies of files
//!   that a hard link names: all of that is then the kernel's work, and what it writes is what it will read.
//!
//! So the tree that is mounted is the tree that [`Applier`](crate::Applier) makes in a plain directory, because it was
//! made by the same calls on the same tree. Attributes of an image that are named like the kernel's own
//! (`trusted.overlay.…`) never act as such: through a mount the kernel renames or refuses them, and a layer with one
//! doesn't stand alone. The same goes for 0/0 character devices, which are whiteouts to the kernel.

mod alone;
mod attributes;
mod legacy;
mod mount;
mod mounts;

pub use alone::StandsAlone;
pub use attributes::copy_attributes;
pub use mount::{Control, Mount, Overlay, Upper, is_upper_in_use, unmount};
pub use mounts::{Mounted, mounted_on, mounts};
pub(crate) use mounts::{Place, places};

/// How many layers the kernel puts on top of each other.
pub const MAX_LAYERS: usize = 500;

/// Whether an extended attribute is the kernel's own.
fn is_mark(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
