//! One layer: a tar of file-system changes (image-spec, layer.md).

mod entry;
mod path;

pub use entry::{Change, Entry, EntryKind, Timestamp};
pub use path::{EntryPath, escape};
