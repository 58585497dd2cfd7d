//! What `cargo xtask` does for everybody, and what its other package, chores, has in common with that.
//!
//! Here is as little as possible, because the first `cargo xtask demo` in a fresh clone waits until it is built.

pub mod demo;
pub mod plain_user;
pub mod run;
pub mod suite;
pub mod test;
pub mod workspace;
