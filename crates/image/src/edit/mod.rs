//! The documents of a new image, made of those of others: what isn't changed keeps its bytes and its place.
//!
//! [`RawObject`] is a JSON object of which some fields are set, [`History`] the history of a config, [`Format`] the family of
//! media types, and [`Setting`] a difference between two configs in the words of `changes`.

mod format;
mod history;
mod raw_object;
mod settings;

use layer_format::{DOCUMENT_LIMIT, Error};

pub use crate::edit::format::{Format, to_oci};
pub use crate::edit::history::History;
pub use crate::edit::raw_object::RawObject;
pub use crate::edit::settings::{Setting, compare, compare_layers, is_empty};

/// The annotation with the digest of the image that an image was made of.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// The annotation with the name of that image.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// The annotation with the time at which an image was made.
pub const CREATED: &str = "org.opencontainers.image.created";

/// Refuses a document that is larger than readers accept.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn within_limit(what: &str, document: Vec<u8>) -> Result<Vec<u8>, Error> {
    if document.len() as u64 > DOCUMENT_LIMIT {
        return Err(Error::TooLarge { what: what.to_owned(), limit: DOCUMENT_LIMIT });
    }
    Ok(document)
}
