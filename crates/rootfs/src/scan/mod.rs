//! Scans a tree of files, without contents: the names in the order of their bytes, and what each of them is.
//!
//! Directories are opened by their paths beneath the root, never through a link, and are read by several threads. Nothing else
//! is opened, so that no fifo blocks. An entry takes about 50 bytes and its name, or one bit if an earlier record of the tree
//! has the same ([`Known`]).

mod devices;
mod directory;
mod known;
mod look;
mod mounts;
mod node;
mod options;
mod read;
mod tree;
mod turn;
mod walk;

pub(crate) use known::IsSame;
pub use known::Known;
pub(crate) use node::Seen;
pub use options::{LeaveOut, Mounts, ScanOptions};
pub use tree::{FileId, Scan, ScanEntry};
