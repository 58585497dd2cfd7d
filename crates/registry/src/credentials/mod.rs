//! Logins: what they are, and the places where they are looked for.
//!
//! Every place is asked, in order, for each registry until one answers. Places are read when a registry first asks for
//! a login, each time anew: a login made meanwhile is found by a long-running pull.

mod docker;

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// Something that is never shown: not by `Debug`, not in an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for whom it is meant.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token for the token server, which gives another for it.
    IdentityToken(Secret),
    /// A token for the registry itself.
    RegistryToken(Secret),
}

/// A login, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) login: Login,
    pub(crate) place: String,
}

/// The places where logins are looked for, in order.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    places: Vec<Place>,
}

#[derive(Clone, Debug)]
enum Place {
    /// A login that the program was given, for one registry.
    Given { registry: String, login: Login },
    /// Docker's JSON in a variable.
    Text { name: &'static str, json: Secret },
    /// Docker's JSON in a file, which may be missing.
    File(PathBuf),
}

impl Credentials {
    /// No logins at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Docker's: `DOCKER_AUTH_CONFIG`, then `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut places = vec![];
        if let Some(json) = variable("DOCKER_AUTH_CONFIG") {
            let json = Secret::new(json.to_string_lossy());
            places.push(Place::Text { name: "DOCKER_AUTH_CONFIG", json });
        }
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
        if let Some(dir) = variable("DOCKER_CONFIG").map(PathBuf::from).or_else(home) {
            places.push(Place::File(dir.join("config.json")));
        }
        Self { places }
    }

    /// The logins of one file in docker's form.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { places: vec![Place::File(path.into())] }
    }

    /// Puts a login for one registry before everything else.
    #[must_use]
    pub fn with(mut self, registry: &str, login: Login) -> Self {
        self.places.insert(0, Place::Given { registry: registry.to_owned(), login });
        self
    }

    /// The login for a repository of a registry, as both stand in names.
    pub(crate) fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, Error> {
        for place in &self.places {
            if let Some(login) = place.find(registry, repository)? {
                return Ok(Some(Found { login, place: place.name() }));
            }
        }
        Ok(None)
    }
}

impl Place {
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Login>, Error> {
        match self {
            Self::Given { registry: whose, login } => {
                Ok((whose == registry).then(|| login.clone()))
            }
            Self::Text { json, .. } => {
                docker::find(json.expose().as_bytes(), &self.name(), registry, repository)
            }
            Self::File(path) => match std::fs::read(path) {
                Ok(json) => docker::find(&json, &self.name(), registry, repository),
                Err(error) if is_missing(&error) => Ok(None),
                Err(source) => Err(Error::UnreadableLogins { place: self.name(), source }),
            },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Given { .. } => "the command line".to_owned(),
            Self::Text { name, .. } => (*name).to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
        let credentials = Credentials::none().with("r.test", login);
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let found = credentials.find("r.test", "a/b").unwrap().unwrap();
        assert!(!format!("{found:?}").contains("hunter2"));
        assert!(credentials.find("s.test", "a/b").unwrap().is_none());
    }

    #[test]
    fn a_missing_file_holds_no_logins_and_another_trouble_is_told() {
        let none = Credentials::from_file("/nonexistent/config.json");
        assert!(none.find("r.test", "a").unwrap().is_none());
        let error = Credentials::from_file("/").find("r.test", "a").unwrap_err();
        assert_eq!(error.to_string(), "/: reading logins");
    }
}
