//! Images on their way: what Strata's programs pass to each other and keep for each other, and any archive of images.
//!
//! | module | what it has |
//! |---|---|
//! | this one | the image stream, written: [`Writer`], [`Heads`], [`Thin`] |
//! | [`archive`] | any archive of images, read: our streams, and what other tools save |
//! | [`relay`] | streams of bytes between threads, in buffers that are used again |
//! | [`decompress`] | blobs, decompressed and hashed in threads ahead of whoever reads them |
//! | [`inspect`] | what is found out about a blob while its bytes pass by |
//! | [`listing`] | what a layer changes, without contents, as the store remembers it |
//!
//! The formats of the OCI specifications are in [`layer_format`]. This crate knows no file systems, terminals or networks,
//! either.
//!
//! # The image stream
//!
//! This is what travels through the pipes (docs/stream.md):
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

pub mod archive;
pub mod decompress;
mod gather;
mod heads;
pub mod inspect;
pub mod listing;
pub mod relay;
mod section;
mod thin;
mod writer;

pub use gather::Lookup;
pub use heads::{Entries, Graph, Heads, Name};
pub use section::Section;
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
