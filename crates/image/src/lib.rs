//! What several programs do with an image: find it, resolve it, read its layers verified, make its tree.
//!
//! ```text
//! word ── Location ──► Source ── image(choice) ──► Image ── layer(n) ──► stored bytes, verified        read once
//!                        └──► Opened ── tree() ─────────► what the layers make together
//!                                   └── read_layer(n) ──► changes, verified                            read twice
//! ```
//!
//! A [`Source`] is standard input, an archive, an OCI layout or a name in the store. [`Opened`] is an image of one whose
//! layers can be read twice, whatever the source is. [`layer`] decompresses stored bytes; only there is it decided whether a diff
//! id has to be computed or is known from an earlier run.
//!
//! [`flat`] passes on what is left of an image's entries in the end, or what is wanted of them, for a tar or a directory.
//!
//! [`edit`] makes the documents of a new image of those of others, found by [`StoredImage`].
//!
//! This crate knows no terminal and no network. A program that shows progress passes a [`Watch`](report::watch::Watch).
//!
//! ```no_run
//! use image::{Choice, Location, Opened};
//! use report::watch::Unwatched;
//!
//! let location = Location::from("archive:nginx.tar");
//! let store = image::our_store(None, &location)?;
//! let mut opened = Opened::open(&location, None, Choice::default(), store.as_ref())?;
//! let tree = opened.tree(&Unwatched)?;
//! println!("{} layers", opened.image().layers.len());
//! # Ok::<(), store::Error>(())
//! ```

pub mod edit;
pub mod flat;
mod input;
pub mod layer;

mod location;
mod opened;
mod platforms;
mod source;
mod stored;
mod stored_image;
#[cfg(target_os = "linux")]
mod user;

pub use stream::archive::{Choice, Image, Layer};

pub use crate::input::Input;
pub use crate::location::Location;
pub use crate::opened::{Follower, Opened, Sizes};
pub use crate::platforms::Platforms;
pub use crate::source::{
    Apart, Source, doubt_of_root, is_root_file_system, no_spool, open_layout, our_store, spool,
};
pub use crate::stored::{documents, manifest_for, read_image, stored_layer};
pub use crate::stored_image::StoredImage;
#[cfg(target_os = "linux")]
pub use crate::user::User;

/// The result of this crate's functions. All errors are a store's.
pub use store::Result;
