//! What an image is, on a file system (Linux).
//!
//! A layer is a stranger's list of changes, and whoever applies it is often root. So all work happens beneath an open
//! directory, the [`Root`], and the crate promises:
//!
//! - **Nothing outside is touched**: no byte, mode, owner or time. Paths are opened one name at a time from the root's
//!   descriptor and never through a link; a link that has to be followed is followed by its text, beneath the root.
//!   `..`, absolute targets and the magic links of `/proc` lead nowhere else.
//! - **Nothing is opened that isn't ours**: files are made anew (`O_EXCL`), what was there goes first. No fifo blocks, no
//!   device is written to.
//! - **The result is the layer's**, to the bit: whatever the umask, the default ACLs or the setgid bits around it. What
//!   the system refuses (owners, devices, some attributes) is counted in [`Skipped`], and nothing else is left out.
//! - **Order doesn't matter where the spec says so**: whiteouts act on the lower layers only, as if they came first.
//! - **Effort and memory are bounded** by what the layers hold: no quadratic whiteouts, about 35 bytes a path while its
//!   layer lasts, 64 open directories at most, however deep the tree.
//!
//! What the crate doesn't do: it defends against layers, not against other processes that rearrange the tree meanwhile
//! (though they can't lead it out), and it doesn't check digests. It needs `/proc` for few things: modes of special files
//! that the umask holds back, attributes of links and special files, and, for a plain user, locked directories and (before
//! Linux 6.10) hard links.
//!
//! [`overlay`] has the other form of layers on a disk: a directory for each, mounted as one.
//!
//! # Order of operations
//!
//! Each layer, bottom first: [`Applier::begin_layer`], [`Applier::apply`] for each change, [`Applier::end_layer`]; then
//! [`Applier::finish`]. An inode is made, filled, then gets owner, extended attributes, mode and times, in this order. A
//! directory gets them when it is described, and its times and mode again when the work inside it is over.

mod apply;
mod beneath;
mod content;
mod diff;
mod error;
mod metadata;
pub mod overlay;
mod powers;
mod remove;
mod root;
mod scan;
mod xattrs;

pub use apply::{Applier, Options, Report, SymlinkedDirs};
pub use content::Content;
pub use diff::{
    Attribute, Attributes, Candidate, Comparer, Diff, DiffOptions, Difference, Differences,
    Finished, Identity, Upper, UpperForm, What, compare_records,
};
pub use error::Error;
pub use metadata::{Owner, Reason, Skipped, SpecialBits};
pub use remove::{clear, remove_tree};
pub use root::Root;
pub use scan::{Found, Inode, Known, LeaveOut, Mounts, Scan, ScanOptions};
