//! A failed attempt, and whether another one makes sense.

use std::time::Duration;

use super::Error;

/// An attempt that failed, and whether another makes sense.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Box<Error>,
    pub(crate) retry: RetryPolicy,
}

/// Whether another attempt makes sense, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// No: it would fail in the same way.
    Never,
    /// Yes, after a pause.
    Later,
    /// Yes, after the pause that the registry has asked for.
    After(Duration),
}

impl Failure {
    /// A failure that another attempt may overcome.
    pub(crate) fn transient(error: Error) -> Self {
        Self { error: Box::new(error), retry: RetryPolicy::Later }
    }
}

impl Failure {
    /// Whether a host says that it gets too many requests.
    pub(crate) fn is_of_too_many_requests(&self) -> bool {
        matches!(*self.error, Error::Refused { status: 429, .. })
    }
}

impl From<Error> for Failure {
    /// A failure that no other attempt would overcome.
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), retry: RetryPolicy::Never }
    }
}
