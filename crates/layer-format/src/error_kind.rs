//! What an error means to whoever started the program.
//!
//! Libraries say the kind; `cli` alone knows the number that a shell sees. Every `Error` of the shared crates
//! [has a kind](HasKind), and a command lists those that it meets, by [`look`].

use std::error::Error;

/// The kinds of failure that scripts tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The machine would not: no space, no permission, an I/O error.
    Failed,
    /// The person asked for something that makes no sense.
    Usage,
    /// What was named is not there.
    NotFound,
    /// The input is malformed, cut short, hostile, or not what its digest says.
    Untrusted,
    /// The network or the registry; it may pass.
    Network,
    /// Credentials are missing or were refused.
    Unauthorised,
}

/// An error that knows its kind.
pub trait HasKind: Error + 'static {
    /// Its kind.
    fn kind(&self) -> ErrorKind;

    /// What the user of `program` may do about it, where something is known.
    fn advice(&self, program: &str) -> Option<String> {
        let _ = program;
        None
    }
}

/// Whether a link of an error's chain is of one certain type.
pub type Look = for<'e> fn(&'e (dyn Error + 'static)) -> Option<&'e dyn HasKind>;

/// The link of an error's chain, if it is an `E`.
pub fn look<'e, E: HasKind>(link: &'e (dyn Error + 'static)) -> Option<&'e dyn HasKind> {
    link.downcast_ref::<E>().map(|error| error as &dyn HasKind)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Lost;

    impl fmt::Display for Lost {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("lost")
        }
    }

    impl Error for Lost {}

    impl HasKind for Lost {
        fn kind(&self) -> ErrorKind {
            ErrorKind::NotFound
        }
    }

    #[test]
    fn an_error_is_known_by_its_type_alone() {
        let look: Look = look::<Lost>;
        assert_eq!(look(&Lost).map(HasKind::kind), Some(ErrorKind::NotFound));
        assert!(look(&fmt::Error).is_none());
    }
}
