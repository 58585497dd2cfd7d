//! Words for images of the store: what one that names none may have been meant for.

use std::path::Path;

use layer_format::{Digest, Reference};
use report::Foreign;

/// The fewest hexadecimal digits that are taken for the beginning of a digest.
pub const MIN_DIGITS: usize = 6;

/// What a word may have been meant for that no image of the store has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word<'a> {
    /// A file or a directory that is here.
    File,
    /// An image, as another tool spells it.
    Foreign(Foreign<'a>),
    /// Too few digits of a digest.
    Digits,
    /// A whole digest.
    Digest,
    /// A name.
    Name,
    /// Nothing that could be guessed.
    Other,
}

impl<'a> Word<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let is_short = text.len() < MIN_DIGITS && text.contains(|c: char| c.is_ascii_digit());
        match Foreign::parse(text) {
            _ if lies_here(text) => Self::File,
            Some(foreign) => Self::Foreign(foreign),
            None if is_short && text.chars().all(is_hex) => Self::Digits,
            None if text.parse::<Digest>().is_ok() => Self::Digest,
            None if text.parse::<Reference>().is_ok() => Self::Name,
            None => Self::Other,
        }
    }

    /// What to do where only images of the store will do.
    pub(crate) fn as_stored(self, text: &str) -> String {
        match self {
            Self::File => format!("load ./{text} brings an archive or a layout into the store"),
            Self::Foreign(foreign) => foreign.as_stored(),
            Self::Digits => {
                format!("a digest takes {MIN_DIGITS} digits at least; for a name, pull {text}")
            }
            Self::Digest => format!("pull NAME@{text}, with the name of a repository that has it"),
            Self::Name => format!("pull {text}"),
            Self::Other => "images lists what is there".to_owned(),
        }
    }
}

/// Whether a file or a directory of that name is in the working directory.
fn lies_here(text: &str) -> bool {
    !text.is_empty() && Path::new(text).exists()
}
