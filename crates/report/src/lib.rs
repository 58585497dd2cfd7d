//! What a library tells the program that called it.
//!
//! | to tell | by |
//! |---|---|
//! | how far the work is | [`watch::Watch`] |
//! | what an error means to the user | [`HasKind`], [`ErrorKind`] |
//! | what a word of another tool's means here | [`Foreign`] |
//! | what the system says | [`reason`] |
//!
//! `layer-format` is for any program, so its errors say nothing about ours: their kinds and the advice about them stand
//! here. This crate knows no terminal and no exit codes; `cli` does.

mod foreign;
mod format;
mod kind;
mod system;
pub mod watch;

pub use foreign::Foreign;
pub use format::STREAM_WHOLE;
pub use kind::{ErrorKind, HasKind, Look, look};
pub use system::reason;
