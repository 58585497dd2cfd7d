//! What cannot fail in a sound test, or must end it with a sentence.

use std::fmt::Display;

/// A result or an option whose failure ends the test.
pub(crate) trait OrPanic<T> {
    /// The value; otherwise a panic that says what was being done.
    #[track_caller]
    fn or_panic(self, doing: impl Display) -> T;
}

impl<T, E: Display> OrPanic<T> for Result<T, E> {
    fn or_panic(self, doing: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("kit: {doing}: {error}"),
        }
    }
}

impl<T> OrPanic<T> for Option<T> {
    fn or_panic(self, doing: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("kit: {doing}: there is none"),
        }
    }
}
