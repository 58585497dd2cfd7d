//! A login, and a search for one.

use crate::base::{Secret, one_line};

/// What is presented to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token for the token server, which is exchanged there for another one.
    IdentityToken(Secret),
    /// A token for the registry itself.
    RegistryToken(Secret),
}

/// A login, and the name of the source that it was found in.
#[derive(Clone, Debug)]
pub(crate) struct FoundLogin {
    pub(crate) login: Login,
    pub(crate) source: String,
}

/// The outcome of a search for a login.
#[derive(Clone, Debug)]
pub(crate) struct LoginSearch {
    pub(crate) found: Option<FoundLogin>,
    /// What went wrong with sources that were asked before, in words.
    pub(crate) problems: Vec<String>,
}

/// Which login is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoginQuery<'a> {
    /// The registry, as it stands in names.
    pub(crate) registry: &'a str,
    /// The path of the repository there.
    pub(crate) repository: &'a str,
    /// Whether to give up now.
    pub(crate) cancelled: fn() -> bool,
}

impl Login {
    /// Its kind, with the user if there is one, without the secret.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Password { user, .. } => format!("user {}", one_line(user)),
            Self::IdentityToken(_) => "an identity token".to_owned(),
            Self::RegistryToken(_) => "a token of the registry".to_owned(),
        }
    }
}
