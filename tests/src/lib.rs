//! The test kit: everything a test needs that is not the thing under test.
//!
//! The kit shares no code with the programs. It writes tars with `tar` and hashes with `sha2`
//! itself, so a fault in our writer cannot hide behind the same fault in our reader, and it speaks
//! only bytes, paths and text, so any crate's tests can use it.
//!
//! | want | use |
//! |---|---|
//! | a layer, hostile or not | [`Layer`] |
//! | an image, several platforms | [`Image`], [`Index`] |
//! | a large and dull image | [`image::random::random`] |
//! | an archive as another tool writes it | [`archive::Producer`] |
//! | an OCI layout directory | [`archive::layout`] |
//! | proof that a stream or a layout is sound | [`check`] |
//! | a registry, with faults to order | [`Registry`], [`Fault`] |
//! | a directory or a layer as text, and back | [`tree`] |
//! | one of our programs | [`Sandbox`] |
//! | what it makes of a command line | [`usage`] |
//! | several of them, piped | [`pipeline::sh`] |
//! | what a terminal shows of them | [`terminal`] |
//! | other people's tools | [`peers`] |
//!
//! ```no_run
//! use kit::{Image, Layer, Registry, Sandbox, check, pipeline, tree};
//!
//! let registry = Registry::start();
//! registry.add("app:1", &Image::new().layer(Layer::new().file("etc/motd", "hello\n")));
//! let sandbox = Sandbox::new();
//! let host = registry.host();
//! pipeline::sh(&sandbox, &format!("pull {host}/app:1 | unpack root")).success();
//! println!("{}", tree::show(sandbox.path("root")));
//! ```
//!
//! The kit panics where a test could only fail: when a fixture cannot be made or a file of its
//! own cannot be read. What it judges, it returns as a `Result` with a message.

pub mod archive;
pub mod check;
pub mod command;
pub mod image;
pub mod peers;
pub mod pipeline;
pub mod registry;
pub mod tree;

mod or_panic;
mod tarball;
mod text;

pub use archive::{Named, Producer, Shape};
pub use command::Sandbox;
pub use command::output::Output;
pub use command::program::{Program, Running};
pub use command::terminal;
pub use command::usage;
pub use image::codec::{Codec, Gzip, Zstd};
pub use image::index::Index;
pub use image::layer::{Device, Layer};
pub use image::sparse::Sparse;
pub use image::{Blob, Content, Image, Schema, digest};
pub use registry::Registry;
pub use registry::auth::Auth;
pub use registry::fault::Fault;

/// The time of every fixture that names no other: 2020-09-13T12:26:40Z.
pub const EPOCH: i64 = 1_600_000_000;
