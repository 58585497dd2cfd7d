//! Layers as the kernel's overlayfs takes them: a directory for each, and a mount that shows them as one tree.
//!
//! A layer's directory is filled in one of two ways:
//!
//! - A layer that is [standalone](StandaloneCheck) means the same over any other. The [`Applier`](crate::Applier) applies it to
//!   an empty directory.
//! - Any other layer is applied, by the same applier, to an [`Overlay`] of the layers below, with its own directory as the
//!   upper one. Then the kernel makes whiteouts and opaque directories, gives parents the attributes that they have below, and
//!   copies files that hard links name. It reads later what it has written itself.
//!
//! So the tree that is mounted is the tree that [`Applier`](crate::Applier) makes in a plain directory, since it was made by
//! the same calls on the same tree. Attributes of an image that are named like the kernel's own (`trusted.overlay.…`) have no
//! effect: the kernel renames or refuses them through a mount, and a layer with one isn't standalone. The same is true for
//! character devices 0/0, which are whiteouts to the kernel.

mod attributes;
mod legacy;
mod mount;
mod mounts;
mod spec;
mod standalone;

pub use attributes::copy_attributes;
pub use mount::{Attached, Mount, is_upper_in_use, unmount};
pub(crate) use mounts::{MountPoint, mount_points};
pub use mounts::{Mounted, mounted_on, mounts};
pub use spec::{Control, MAX_LAYERS, Overlay, WritableLayer};
pub use standalone::StandaloneCheck;
