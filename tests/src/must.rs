//! What cannot fail in a sound test, or must end it with a sentence.

use std::fmt::Display;

/// A result or an option whose failure ends the test.
pub(crate) trait Must<T> {
    /// The value; otherwise a panic that says what was being done.
    #[track_caller]
    fn must(self, doing: impl Display) -> T;
}

impl<T, E: Display> Must<T> for Result<T, E> {
    fn must(self, doing: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("kit: {doing}: {error}"),
        }
    }
}

impl<T> Must<T> for Option<T> {
    fn must(self, doing: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("kit: {doing}: there is none"),
        }
    }
}
