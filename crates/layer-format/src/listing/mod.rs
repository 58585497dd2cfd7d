//! The paths of an image, without contents: its layers, merged by the same rules as in an unpack.
//!
//! [`Tree`] takes the [`Change`](crate::layer::Change)s of one layer after the other, from a tar or from a store. In
//! the end it is the image's file system: every name, its attributes, and the layer that it comes from. It does in
//! memory what `rootfs` does on a disk, and the two must agree:
//!
//! | in the layer | in the tree |
//! |---|---|
//! | directory over directory | keeps the children, takes the attributes |
//! | anything else over anything else | what was there goes, with all below it; of duplicates the last one wins |
//! | a parent that is missing, or no directory | is made: 0755, 0:0, time 0 |
//! | a parent that is a link of the same layer to a directory | is followed, beneath the root |
//! | whiteout, opaque whiteout | act on the lower layers only, wherever they stand; what isn't there is ignored |
//! | whiteout of a directory that the layer also has | a new directory without lower children |
//! | hard link | another name of what its target is at that time, attributes and all |
//!
//! A layer that belongs on top of others need not wait for their tree as long as [`OwnLinks`] are good.
//!
//! A name and its inode take about 80 bytes and the length of the path's last component. There is an [allowance] for
//! the whole tree.

mod inode;
mod items;
mod keys;
mod marks;
mod nodes;
mod own;
mod siblings;
mod texts;
mod tree;
mod whiteout;

pub use inode::{Inode, InodeId, Origin};
pub use items::{Item, Items, NameId, Place};
pub use keys::{PathKey, PathKeys};
pub use own::OwnLinks;
pub use tree::{Tree, WEIGHT_LIMIT, allowance};

#[cfg(test)]
mod tests;
