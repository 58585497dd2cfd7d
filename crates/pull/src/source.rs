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
    Registry(Vec<Wanted>),
    Machine(Vec<&'a Address>),
}

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The name by which the registry is asked.
    pub(crate) asked: Reference,
    /// The name that the image gets here.
    pub(crate) kept: Reference,
}

impl Wanted {
    fn new(asked: &Reference, is_listed: bool) -> Self {
        // In a list, a digest beside a tag pins what the tag stands for: the image keeps its name.
        let tag = asked.tag().filter(|_| is_listed && asked.digest().is_some());
        let kept = tag.and_then(|tag| asked.tagged(tag).ok()).unwrap_or_else(|| asked.clone());
        Self { asked: asked.clone(), kept }
    }
}

impl Source {
    /// What several words mean together, the first `n_typed` of which stand on the command line and the others in lists.
    ///
    /// # Errors
    /// Wrong usage, if some are of registries and some of machines.
    pub(crate) fn all(words: &[Self], n_typed: usize) -> Result<Sources<'_>, cli::Failure> {
        let (mut names, mut addresses) = (vec![], vec![]);
        for (n, word) in words.iter().enumerate() {
            match word {
                Self::Registry(name) => names.push(Wanted::new(name, n >= n_typed)),
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
