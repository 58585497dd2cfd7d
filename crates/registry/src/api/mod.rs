//! What is public: a client, its repositories, and what is read from and written to them.
//!
//! Each file is one thing of the distribution spec. None of them knows tokens, redirects or schemes: a [`Remote`] makes
//! one attempt at one request, and this floor decides what to ask for, checks what came, and goes on to mirrors.
//!
//! [`Remote`]: crate::session::Remote

mod blob;
mod client;
mod delete;
mod digest;
mod document;
mod existence;
mod manifest;
mod pages;
mod push;
mod referrers;
mod registry;
mod repository;
mod tags;
mod upload;

pub use blob::Blob;
pub use client::Client;
pub use push::Current;
pub use referrers::{Referrers, ReferrersTag};
pub use registry::{LoginCheck, Registry};
pub use repository::Repository;
pub use upload::Upload;
