//! What several programs do with an image: find it, resolve it, read its layers verified, make its tree.
//!
//! ```text
//! word ── Location ──► Source ── image(choice) ──► Image ── layer(n) ──► stored bytes, verified        read once
//!                        └──► Opened ── tree() ─────────► what the layers make together
//!                                   └── read_layer(n) ──► changes, verified                            read twice
//! ```
//!
//! A [`Source`] is standard input, an archive, an OCI layout or a name in the store. [`Opened`] is an image of one whose
//! layers can be read twice, whatever it is. [`layer`] reads stored bytes as what they decompress to: whether a diff id has
//! to be computed, or is known from an earlier run, is asked there and nowhere else.
//!
//! This crate knows no terminal and no network. Whoever shows progress gives a [`Watch`](layer_format::watch::Watch).

pub mod layer;
mod location;
mod opened;
mod source;
mod stored;

pub use layer_format::archive::{Choice, Image, Layer};

pub use crate::location::Location;
pub use crate::opened::{Opened, Sizes};
pub use crate::source::{Input, Source, no_spool, our_store, spool};
pub use crate::stored::{documents, read_image, stored_layer};

/// A store's errors are those of whatever is read from it.
pub type Result<T, E = store::Error> = std::result::Result<T, E>;
