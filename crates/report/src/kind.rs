//! What an error means to the user who started the program.
//!
//! A library only says the kind. `cli` alone knows the exit code that a shell sees. Every `Error` of the shared crates
//! [has a kind](HasKind). A command lists the error types that it meets, each by its [`look`].

use std::error::Error;

/// The kinds of failure that a script can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The machine refused: it has no space, the permission is missing, or an I/O operation failed.
    Failed,
    /// The user asked for something that makes no sense.
    Usage,
    /// Something that the user named doesn't exist.
    NotFound,
    /// The input is malformed, cut short or hostile, or it doesn't match its digest.
    Untrusted,
    /// The network or the registry failed. Another attempt may succeed.
    Network,
    /// Credentials are missing or were refused.
    Unauthorised,
}

/// An error that knows its kind.
pub trait HasKind: Error + 'static {
    /// The kind of this error.
    fn kind(&self) -> ErrorKind;

    /// Advice to the user of `program`; `None` where there is none to give.
    fn advice(&self, program: &str) -> Option<String> {
        let _ = program;
        None
    }
}

/// A function that recognises one type of error among the links of an error's chain.
pub type Look = for<'e> fn(&'e (dyn Error + 'static)) -> Option<&'e dyn HasKind>;

/// Returns the link of an error's chain if its type is `E`.
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
