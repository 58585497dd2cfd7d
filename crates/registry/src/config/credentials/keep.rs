//! Where a login is kept: by the helper that docker's or podman's files name, else in one of these files.
//!
//! Nothing is written here: this crate gives the new text of a file, and whoever uses it writes that.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::helper::{self, HelperQuery};
use super::login::{Login, LoginQuery};
use super::{docker, files};
use crate::base::Error;

/// The directory of all users' runtime files, where podman keeps logins without `XDG_RUNTIME_DIR`.
pub(super) const RUNTIME: &str = "/run/containers";

/// The registry that a login is for, and the beginning of its repositories' paths if it is for those alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginKey {
    /// The registry, as it stands in names.
    pub registry: String,
    /// The beginning of the paths, without slashes around it.
    pub namespace: Option<String>,
}

impl LoginKey {
    /// The key in files: `host` or `host/path`.
    fn key(&self) -> String {
        let host = docker::canonical(&self.registry);
        match &self.namespace {
            Some(namespace) => format!("{host}/{namespace}"),
            None => host,
        }
    }
}

/// The files in which docker and podman keep logins, or name the helpers that do.
#[derive(Clone, Debug, Default)]
pub struct LoginFiles {
    /// The one file that the user has named, by an option or by `REGISTRY_AUTH_FILE`.
    named: Option<PathBuf>,
    /// Podman's `containers/auth.json`: that of the runtime directory, then that of the configuration.
    podman: Vec<PathBuf>,
    /// Docker's `config.json`.
    docker: Option<PathBuf>,
}

impl LoginFiles {
    /// The usual files, or the one that an option names.
    pub fn given(named: Option<&PathBuf>) -> Self {
        let uid = std::fs::metadata("/proc/self").map(|own| own.uid()).ok();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let usual = Self::from_variables(set, uid);
        Self { named: named.cloned().or(usual.named.clone()), ..usual }
    }

    pub(super) fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        uid: Option<u32>,
    ) -> Self {
        let dir = |name: &str| variable(name).map(PathBuf::from);
        let home = |path: &str| dir("HOME").map(|home| home.join(path));
        let of_user = || uid.map(|uid| Path::new(RUNTIME).join(uid.to_string()).join("auth.json"));
        let podman = [
            // podman#11725: for root too.
            dir("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")).or_else(of_user),
            dir("XDG_CONFIG_HOME")
                .or_else(|| home(".config"))
                .map(|it| it.join("containers/auth.json")),
        ];
        Self {
            named: dir("REGISTRY_AUTH_FILE"),
            podman: podman.into_iter().flatten().collect(),
            docker: dir("DOCKER_CONFIG")
                .or_else(|| home(".docker"))
                .map(|it| it.join("config.json")),
        }
    }

    /// All of them in the order in which logins are looked for.
    pub(super) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.named.iter().chain(&self.podman).chain(&self.docker)
    }

    /// Those that may have a login of ours: the one that was named alone, else all.
    pub fn consulted(&self) -> Vec<&Path> {
        match &self.named {
            Some(named) => vec![named],
            None => self.all().map(PathBuf::as_path).collect(),
        }
    }

    /// Those that a login may be written to, the first of which will do: the one that was named, else podman's.
    pub fn written(&self) -> Vec<&Path> {
        match &self.named {
            Some(named) => vec![named],
            None => self.podman.iter().map(PathBuf::as_path).collect(),
        }
    }

    /// The helpers that these files name for a login, in the order in which they are asked.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedLogins`] or [`Error::UnreadableLogins`] for the first file that is malformed or can't be read.
    pub fn helpers(&self, key: &LoginKey) -> Result<Vec<LoginHelper>, Error> {
        let query = LoginQuery {
            registry: &key.registry,
            repository: key.namespace.as_deref().unwrap_or_default(),
            cancelled: || false,
        };
        let mut helpers = vec![];
        for path in self.consulted() {
            let place = path.display().to_string();
            let json = match std::fs::read(path) {
                Ok(json) => json,
                Err(error) if files::is_not_for_us(&error) => continue,
                Err(source) => return Err(Error::UnreadableLogins { place, source }),
            };
            if json.trim_ascii().is_empty() {
                continue;
            }
            let queries = helper::queries(&json, &place, &query)?;
            helpers.extend(
                queries.into_iter().map(|query| LoginHelper {
                    name: format!("{} of {place}", query.program),
                    query,
                }),
            );
        }
        Ok(helpers)
    }
}

/// A program that keeps logins: `docker-credential-…`.
#[derive(Clone, Debug)]
pub struct LoginHelper {
    /// Its name, and the file that names it.
    name: String,
    query: HelperQuery,
}

impl LoginHelper {
    /// Its name, and the file that names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has it keep a login. It is given up when `cancelled` says so.
    ///
    /// # Errors
    ///
    /// [`Error::Helper`], also for a token of the registry itself, for which helpers have no word.
    pub fn store(&self, login: &Login, cancelled: fn() -> bool) -> Result<(), Error> {
        let (user, password) = match login {
            Login::Password { user, password } => (user.as_str(), password),
            Login::IdentityToken(token) => (docker::TOKEN_USER, token),
            Login::RegistryToken(_) => {
                return Err(self.error("keeps no tokens of registries"));
            }
        };
        self.query.store(user, password, cancelled).map_err(|reason| self.error(reason))
    }

    /// Has it forget its login; `false` if it knows none.
    ///
    /// # Errors
    ///
    /// [`Error::Helper`].
    pub fn erase(&self, cancelled: fn() -> bool) -> Result<bool, Error> {
        let erase = || {
            let is_known = self.query.ask(cancelled)?.is_some();
            if is_known {
                self.query.erase(cancelled)?;
            }
            Ok(is_known)
        };
        erase().map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: &'static str) -> Error {
        Error::Helper { helper: self.name.clone(), reason }
    }
}

/// The text of a file with one more login, and all else in it as it was. `place` is the file in errors.
///
/// # Errors
///
/// [`Error::MalformedLogins`].
pub fn with_login(
    json: &[u8],
    place: &str,
    key: &LoginKey,
    login: &Login,
) -> Result<Vec<u8>, Error> {
    docker::with_login(json, place, &key.key(), login)
}

/// The text of a file without a login, and all else in it as it was; none if it isn't there.
///
/// # Errors
///
/// [`Error::MalformedLogins`].
pub fn without_login(json: &[u8], place: &str, key: &LoginKey) -> Result<Option<Vec<u8>>, Error> {
    docker::without_login(json, place, &key.key())
}
