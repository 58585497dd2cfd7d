//! One layer: a tar of file-system changes (image-spec, layer.md).
//!
//! [`Reader`] turns an uncompressed tar from any tool into [`Change`]s. [`Writer`] turns changes into a tar; the same
//! changes always give the same bytes. Neither knows a file system, so their callers decide what a change does to one.
//!
//! ```text
//! layer   = *( global | member ) end
//! member  = *( PAX 'x' | GNU 'L' | GNU 'K' ) header content
//! header  = 512 bytes: old (v7), ustar, star or GNU
//! content = as many bytes as the header says, filled up to whole blocks
//! end     = two blocks of zeros, and whatever follows
//! ```

mod blocks;
mod date;
mod entry;
mod filled;
mod front;
mod header;
mod libarchive;
mod limits;
mod path;
mod pax;
mod reader;
mod shape;
mod sparse;
mod whiteout;
mod writer;

pub use entry::{Change, Entry, EntryKind, Timestamp};
pub use filled::Filled;
pub use front::Front;
pub use limits::{INCOMPLETE, check_possible, impossible, is_acl, is_xattr};
pub use path::{
    EntryPath, MAX_COMPONENTS, MAX_LINK_STEPS, MAX_LINKS, TOO_DEEP, components, escape,
    escape_short, split_last,
};
pub use reader::Reader;
pub use whiteout::is_reserved_name;
pub use writer::Writer;
