//! Compares an earlier record of a tree with a scan of it, and tells what has changed as a layer says it.
//!
//! | found | in the layer |
//! |---|---|
//! | something new | an entry |
//! | something removed | a whiteout, before all entries of its directory |
//! | other attributes or content | an entry with all attributes |
//! | another type | an entry, which replaces what was there with all below it |
//! | hard links that have changed in any way | the first name with the content, and links to it |
//! | a directory with any of these below it | an entry, changed or not, for programs that unpack each layer by itself |
//!
//! Attributes that are no different are taken from the earlier record. So those that the file system can't hold, or the user
//! can't set, aren't lost.

mod attributes;
mod clamp;
mod compare;
mod difference;
mod differences;
mod entry;
mod identity;
mod links;
mod marks;
mod options;
mod pairs;
mod tree_diff;
mod unfit;
mod upper;

pub use attributes::{Attribute, Attributes};
pub use compare::{Comparer, compare_records};
pub use difference::{ChangeKind, Difference};
pub use differences::{Differences, Finished};
pub use identity::Identity;
pub use marks::UpperForm;
pub use options::DiffOptions;
pub use tree_diff::{Candidate, Diff};
pub use upper::UpperChanges;
