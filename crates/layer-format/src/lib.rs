//! What a container image is, in bytes.

mod digest;
mod error;
pub mod layer;
mod trouble;

pub use digest::{Algorithm, DiffId, Digest, Hasher, Verified};
pub use error::Error;
pub use trouble::{Trouble, Troubled, trouble_of};
