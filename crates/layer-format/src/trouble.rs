//! What kind of trouble an error means to whoever started the program.
//!
//! Libraries say the kind, `cli` alone knows the number that a shell sees. Every `Error` of the shared crates is
//! [`Troubled`], so a command need only ask.

/// The kinds of failure that scripts tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
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
pub trait Troubled: std::error::Error + 'static {
    /// The kind of trouble this is.
    fn trouble(&self) -> Trouble;
}

/// The kind of `link` if it is an `E`.
pub fn trouble_of<E: Troubled>(link: &(dyn std::error::Error + 'static)) -> Option<Trouble> {
    link.downcast_ref::<E>().map(E::trouble)
}
