//! What kind of trouble an error means to whoever started the program.
//!
//! Libraries say the kind, `cli` alone knows the number that a shell sees. Every `Error` of the shared crates is
//! [`Troubled`], so a command need only say whose errors it meets ([`Errors`]).

use std::error::Error;

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
pub trait Troubled: Error + 'static {
    /// The kind of trouble this is.
    fn trouble(&self) -> Trouble;

    /// What the user of `program` may do about it, where something is known.
    fn advice(&self, program: &str) -> Option<String> {
        let _ = program;
        None
    }
}

/// The errors of several libraries, as a tuple.
pub trait Errors {
    /// The kind of trouble that a link of an error's chain is, if it is one of these.
    fn trouble(link: &(dyn Error + 'static)) -> Option<Trouble>;

    /// What the user of `program` may do about a link of an error's chain, if it is one of these and knows.
    fn advice(link: &(dyn Error + 'static), program: &str) -> Option<String>;
}

impl<A: Troubled, B: Troubled> Errors for (A, B) {
    fn trouble(link: &(dyn Error + 'static)) -> Option<Trouble> {
        trouble_of::<A>(link).or_else(|| trouble_of::<B>(link))
    }

    fn advice(link: &(dyn Error + 'static), program: &str) -> Option<String> {
        advice_of::<A>(link, program).or_else(|| advice_of::<B>(link, program))
    }
}

impl<A: Troubled, B: Troubled, C: Troubled> Errors for (A, B, C) {
    fn trouble(link: &(dyn Error + 'static)) -> Option<Trouble> {
        <(A, B)>::trouble(link).or_else(|| trouble_of::<C>(link))
    }

    fn advice(link: &(dyn Error + 'static), program: &str) -> Option<String> {
        <(A, B)>::advice(link, program).or_else(|| advice_of::<C>(link, program))
    }
}

fn trouble_of<E: Troubled>(link: &(dyn Error + 'static)) -> Option<Trouble> {
    link.downcast_ref::<E>().map(E::trouble)
}

fn advice_of<E: Troubled>(link: &(dyn Error + 'static), program: &str) -> Option<String> {
    link.downcast_ref::<E>()?.advice(program)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    macro_rules! troubled {
        ($name:ident, $trouble:ident) => {
            #[derive(Debug)]
            struct $name;

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(stringify!($name))
                }
            }

            impl Error for $name {}

            impl Troubled for $name {
                fn trouble(&self) -> Trouble {
                    Trouble::$trouble
                }
            }
        };
    }

    troubled!(Lost, NotFound);
    troubled!(Broken, Untrusted);
    troubled!(Offline, Network);

    #[test]
    fn each_of_several_errors_is_known_and_no_other() {
        assert_eq!(<(Lost, Broken)>::trouble(&Broken), Some(Trouble::Untrusted));
        assert_eq!(<(Lost, Broken)>::trouble(&Offline), None);
        assert_eq!(<(Lost, Broken, Offline)>::trouble(&Lost), Some(Trouble::NotFound));
        assert_eq!(<(Lost, Broken, Offline)>::trouble(&Broken), Some(Trouble::Untrusted));
        assert_eq!(<(Lost, Broken, Offline)>::trouble(&Offline), Some(Trouble::Network));
        assert_eq!(<(Lost, Broken, Offline)>::trouble(&fmt::Error), None);
    }
}
