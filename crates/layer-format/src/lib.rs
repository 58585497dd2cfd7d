//! What a container image is, in bytes.
//!
//! An image is a read-only stack of *layers*; each layer is a tar of file-system changes. A *config* says how to run it
//! and names the layers by the hash of their uncompressed bytes (*diff id*); a *manifest* names config and layers by the
//! hash of their stored bytes (*digest*); an *index* names manifests, one for each platform. The words are the OCI
//! image-spec's:
//!
//! | word | meaning | type |
//! |---|---|---|
//! | blob | bytes known by digest | |
//! | digest | hash of stored bytes | [`Digest`] |
//! | diff id | hash of a layer's uncompressed bytes | [`DiffId`] |
//! | descriptor | type, digest and size of a blob | [`Descriptor`] |
//! | manifest, index, config | as above | [`Manifest`], [`Index`], [`Config`] |
//! | reference | an image's name | [`Reference`] |
//! | layer | a tar of changes | [`layer`] |
//! | entry | one member of a layer | [`layer::Entry`] |
//! | whiteout | an entry that removes | [`layer::Change::Remove`] |
//! | listing | what a layer or an image holds, path by path | [`listing`] |
//!
//! ```
//! use layer_format::layer::{Change, Reader};
//! use layer_format::Decoder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stored: &[u8] = &[]; // the stored bytes of a layer: gzip, zstd or plain
//! let mut layer = Reader::new(std::io::BufReader::new(Decoder::new(stored)?));
//! while let Some(change) = layer.read_change()? {
//!     if let Change::Add(entry) = change {
//!         println!("{} {:o}", entry.path, entry.mode);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows no file systems, terminals or networks. It has only values, bytes, `Read` and `Write`.
//!
//! # Features
//!
//! Both are on by default.
//!
//! - `parallel` writes gzip on several threads. Without it, the caller's thread writes the same bytes.
//! - `zstd` reads and writes layers in zstd. Without it such a layer is refused, with an error that names the feature.

mod codec;
mod descriptor;
mod digest;
mod error;
mod image;
pub mod layer;
pub mod listing;
mod platform;
mod reference;
pub mod resolve;
mod run;
pub mod text;

pub use codec::{
    Checkpoint, Codec, Compression, Decoder, Encoder, ForeignCodec, MAGIC_SIZE, SeekIndex,
};
pub use descriptor::{Descriptor, annotation, media_type, null_is_default};
pub use digest::{Algorithm, DiffId, Digest, Hasher, Hashing, Verified};
pub use error::Error;
pub use image::{
    Config, DOCUMENT_LIMIT, Document, History, Index, Manifest, RootFs, from_json, read_document,
};
pub use platform::{Platform, check_platform, select};
pub use reference::{COSIGN_KINDS, Reference};
pub use run::Run;
