//! The image stream: what travels through the pipes (docs/stream.md).
//!
//! ```text
//! stream   = oci-layout index.json manifest.json [ strata.json ] *image end
//! image    = *index *manifest *( config *layer )          each blob once in the whole stream
//! blob     = a member blobs/sha256/<hex>, the directories blobs/ and blobs/sha256/ before the first
//! end      = two blocks of zeros
//! ```
//!
//! It is an OCI image layout and a docker-archive at once, so every tool's `load` takes it, in an order that lets a
//! reader act on it in one pass. Members are regular files of mode 0644 and directories of mode 0755, owner 0:0, mtime 0.
//! Their user name is [`USER_NAME`]: by that a reader knows a stream that must be canonical to the byte, and refuses one that isn't.

mod gather;
mod heads;
mod thin;
mod writer;

pub use gather::Lookup;
pub use heads::{Entries, Graph, Heads, Name};
pub use thin::{LeftOut, Thin};
pub use writer::{Half, Writer};
pub(crate) use writer::{directories_of, directory_header, header};

/// The user name in every header of a stream of ours. The header's check sum covers it, so no damage to the stream can
/// turn it into one that is read with less care. Changing it breaks readers.
pub const USER_NAME: &str = "strata";
/// What ends a stream: two blocks of zeros. A stream without it is cut.
pub const END: [u8; 1024] = [0; 1024];
/// The content of `oci-layout` (image-spec, image-layout.md).
pub const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
