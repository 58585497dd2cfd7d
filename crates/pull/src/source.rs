//! Where an image comes from, as a word on the command line says.

use std::error::Error;
use std::str::FromStr;

use layer_format::Reference;
use network::ssh::{Address, SCHEME};

/// The meaning of a word for an image.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// An image of a registry.
    Registry(Reference),
    /// An image of another machine's store.
    Machine(Address),
}

impl FromStr for Source {
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SCHEME) {
            return Ok(Self::Machine(text.parse()?));
        }
        Ok(Self::Registry(text.parse()?))
    }
}

/// The meanings of all words.
#[derive(Debug)]
pub(crate) enum Sources<'a> {
    Registry(Vec<Reference>),
    Machine(Vec<&'a Address>),
}

impl Source {
    /// What several words mean together.
    ///
    /// # Errors
    /// Wrong usage, if some are of registries and some of machines.
    pub(crate) fn all(words: &[Self]) -> Result<Sources<'_>, cli::Failure> {
        let (mut names, mut addresses) = (vec![], vec![]);
        for word in words {
            match word {
                Self::Registry(name) => names.push(name.clone()),
                Self::Machine(address) => addresses.push(address),
            }
        }
        match (names.is_empty(), addresses.is_empty()) {
            (_, true) => Ok(Sources::Registry(names)),
            (true, false) => Ok(Sources::Machine(addresses)),
            (false, false) => Err(cli::usage(
                "images of registries and images by ssh are pulled one after the other",
            )),
        }
    }
}
