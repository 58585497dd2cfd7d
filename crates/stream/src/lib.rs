//! Images in transit: the image stream that Strata's programs pass to each other, and image archives of any tool.
//!
//! | module | what it has |
//! |---|---|
//! | this one | the writer of the image stream: [`Writer`], [`Preamble`], [`Thin`]; the base in a layer's comment: [`strip_base`] |
//! | [`archive`] | the reader of any archive of images: our streams, and those of other tools |
//! | [`relay`] | streams of bytes between threads, in buffers that are used again |
//! | [`decompress`] | blobs that are decompressed and hashed in threads ahead of the reader |
//! | [`inspect`] | the digest and the changes of a layer, found while its bytes pass by |
//! | [`listing`] | a layer's changes without contents, in the form in which the store keeps them |
//!
//! The formats of the OCI specifications are in [`layer_format`]. Neither that crate nor this one knows file systems,
//! terminals or networks.
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
//! A stream is an OCI image layout and a docker-archive at once, so every tool's `load` accepts it. Its order lets a
//! reader act on it in one pass. Members are regular files of mode 0644 and directories of mode 0755. Their owner is
//! 0:0, their mtime is 0, and their user name is [`USER_NAME`]. A reader recognises a stream of ours by it, and refuses
//! one that isn't canonical to the byte.

pub mod archive;
mod base;
pub mod decompress;
mod gather;
pub mod inspect;
pub mod listing;
mod numbers;
mod preamble;
pub mod relay;
mod section;
pub mod seek;
mod thin;
mod writer;

pub use base::{base_comment, read_base, strip_base};
pub use gather::Lookup;
pub use preamble::{Entries, Graph, Name, Preamble};
pub use section::Section;
pub use thin::{LeftOut, Thin};
pub use writer::{Half, Writer};
pub(crate) use writer::{directories_of, directory_header, header};

/// The user name in every header of a stream of ours. The header's check sum covers it. Therefore no damage can turn
/// the stream into one that is read with less care. Changing it breaks readers.
pub const USER_NAME: &str = "strata";
/// The end of a stream: two blocks of zeros. A stream without it is cut.
pub const END: [u8; 1024] = [0; 1024];
/// The content of `oci-layout` (image-spec, image-layout.md).
pub const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
