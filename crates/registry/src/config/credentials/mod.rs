//! Logins, and the sources in which they are looked for.
//!
//! The sources are asked in order, for each registry, until one has a login: docker's files don't hide podman's. They
//! are read each time that a registry asks for a login, so that a long-running pull finds one that was made meanwhile.
//! A helper that fails is told as a warning, and the search goes on.

mod docker;
mod helper;
mod keep;
mod login;

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use layer_format::Reference;

use super::files;
use crate::base::{Error, Secret};
pub use keep::{LoginFiles, LoginHelper, LoginKey, with_login, without_login};
pub use login::Login;
pub(crate) use login::{FoundLogin, LoginQuery, LoginSearch};

/// The sources in which logins are looked for, in order.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    sources: Vec<Source>,
}

#[derive(Clone, Debug)]
enum Source {
    /// A login that the program was given, for one registry.
    Given { registry: String, login: Login },
    /// Docker's JSON in a variable.
    Text { name: &'static str, json: Secret },
    /// Docker's JSON in a file, which may be missing.
    File(PathBuf),
    /// Docker's JSON in a file of docker or podman. One that can't be read is told as a warning.
    Usual(PathBuf),
}

impl Credentials {
    /// No logins at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The usual sources: `DOCKER_AUTH_CONFIG`, podman's files (`REGISTRY_AUTH_FILE`, `containers/auth.json` of the
    /// runtime and of the configuration directory), then docker's file.
    pub fn from_environment() -> Self {
        let uid = std::fs::metadata("/proc/self").map(|own| own.uid()).ok();
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()), uid)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, uid: Option<u32>) -> Self {
        let text = variable("DOCKER_AUTH_CONFIG").map(|json| Source::Text {
            name: "DOCKER_AUTH_CONFIG",
            json: Secret::new(json.to_string_lossy()),
        });
        let files = LoginFiles::from_variables(variable, uid);
        let files = files.all().cloned().map(Source::Usual);
        Self { sources: text.into_iter().chain(files).collect() }
    }

    /// The logins of one file in docker's form.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { sources: vec![Source::File(path.into())] }
    }

    /// The sources that a command line names: one file alone; or a user and a password, for the one registry that all
    /// names lie in, before the [usual sources](Self::from_environment); or the usual sources.
    ///
    /// # Errors
    ///
    /// [`Error::SeveralRegistries`] if the names lie in several registries, or in none, and there is a password.
    pub fn given(
        file: Option<&PathBuf>,
        login: Option<(String, String)>,
        names: &[Reference],
    ) -> Result<Self, Error> {
        match (file, login) {
            (Some(path), _) => Ok(Self::from_file(path)),
            (None, Some((user, password))) => {
                Self::from_environment().with_password(names, user, Secret::new(password))
            }
            (None, None) => Ok(Self::from_environment()),
        }
    }

    fn with_password(
        self,
        names: &[Reference],
        user: String,
        password: Secret,
    ) -> Result<Self, Error> {
        let mut registries: Vec<_> = names.iter().map(Reference::registry).collect();
        registries.dedup();
        match registries[..] {
            [registry] => Ok(self.with(registry, Login::Password { user, password })),
            _ => Err(Error::SeveralRegistries { n: registries.len() }),
        }
    }

    /// Puts a login for one registry before all other sources.
    #[must_use]
    pub fn with(mut self, registry: &str, login: Login) -> Self {
        self.sources.insert(0, Source::Given { registry: registry.to_owned(), login });
        self
    }

    /// The login from the first source that has it.
    ///
    /// # Errors
    ///
    /// If a source is malformed, or one that was named can't be read.
    pub(crate) fn find(&self, query: &LoginQuery<'_>) -> Result<LoginSearch, Error> {
        let mut problems = vec![];
        for login_source in &self.sources {
            match (login_source.find(query, &mut problems), login_source) {
                (Ok(None), _) => {}
                (Ok(found), _) => return Ok(LoginSearch { found, problems }),
                (Err(Error::UnreadableLogins { place, source }), Source::Usual(_)) => {
                    problems.push(format!("{place}: reading logins: {}", report::reason(&source)));
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(LoginSearch { found: None, problems })
    }

    /// The source of the login that counts for a registry, or for the beginning of its repositories' paths, if there is one.
    ///
    /// # Errors
    ///
    /// If a source is malformed, or one that was named can't be read.
    pub fn source_of(&self, key: &LoginKey) -> Result<Option<String>, Error> {
        let repository = key.namespace.as_deref().unwrap_or_default();
        let query = LoginQuery { registry: &key.registry, repository, cancelled: || false };
        Ok(self.find(&query)?.found.map(|found| found.source))
    }

    /// The source of the login for a repository and the login's kind, without its secret.
    pub(crate) fn describe(&self, query: &LoginQuery<'_>) -> String {
        match self.find(query) {
            Ok(LoginSearch { found: Some(FoundLogin { login, source }), .. }) => {
                format!("{source}: {}", login.kind())
            }
            Ok(LoginSearch { found: None, .. }) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// The same in detail: a line for each source that is asked.
    pub(crate) fn explain(&self, query: &LoginQuery<'_>) -> Vec<String> {
        let mut lines = vec![];
        for login_source in &self.sources {
            let mut problems = vec![];
            let found = login_source.find(query, &mut problems);
            lines.append(&mut problems);
            match found {
                Ok(Some(FoundLogin { login, source })) => {
                    lines.push(format!("{source}: {}", login.kind()));
                    return lines;
                }
                Ok(None) => lines.push(format!("{}: nothing", login_source.name())),
                Err(error) => lines.push(error.to_string()),
            }
        }
        lines
    }
}

/// Whether a file is out of a user's reach because root has made the directory of all users' runtime files for itself, as podman
/// does. Then the user's file isn't there.
fn is_roots(path: &Path, error: &io::Error) -> bool {
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    path.starts_with(keep::RUNTIME)
        && is_denied(error)
        && path.symlink_metadata().is_err_and(|error| is_denied(&error))
}

impl Source {
    fn find(
        &self,
        query: &LoginQuery<'_>,
        problems: &mut Vec<String>,
    ) -> Result<Option<FoundLogin>, Error> {
        match self {
            Self::Given { registry, login } => Ok((registry == query.registry)
                .then(|| FoundLogin { login: login.clone(), source: self.name() })),
            Self::Text { json, .. } => self.look_into(json.expose().as_bytes(), query, problems),
            Self::File(path) | Self::Usual(path) => match std::fs::read(path) {
                Ok(json) => self.look_into(&json, query, problems),
                Err(error) if files::is_missing(&error) => Ok(None),
                Err(error) if is_roots(path, &error) => Ok(None),
                Err(source) => Err(Error::UnreadableLogins { place: self.name(), source }),
            },
        }
    }

    /// The login in docker's JSON. Its helpers come first, for `docker login` puts logins there.
    fn look_into(
        &self,
        json: &[u8],
        query: &LoginQuery<'_>,
        problems: &mut Vec<String>,
    ) -> Result<Option<FoundLogin>, Error> {
        let place = self.name();
        if json.trim_ascii().is_empty() {
            return Ok(None);
        }
        for helper_query in helper::queries(json, &place, query)? {
            match helper_query.ask(query.cancelled) {
                Ok(Some(login)) => {
                    let source = format!("{} of {place}", helper_query.program);
                    return Ok(Some(FoundLogin { login, source }));
                }
                Ok(None) => {}
                Err(reason) => problems.push(format!("{place}: {} {reason}", helper_query.program)),
            }
        }
        let login = docker::find(json, &place, query.registry, query.repository)?;
        Ok(login.map(|login| FoundLogin { login, source: place }))
    }

    fn name(&self) -> String {
        match self {
            Self::Given { .. } => "the command line".to_owned(),
            Self::Text { name, .. } => (*name).to_owned(),
            Self::File(path) | Self::Usual(path) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(registry: &str) -> LoginQuery<'_> {
        LoginQuery { registry, repository: "a/b", cancelled: || false }
    }

    #[test]
    fn the_places_are_those_of_podman_and_docker() {
        let places = |variables: &[(&str, &str)]| {
            let value = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let credentials = Credentials::from_variables(value, Some(7));
            credentials.sources.iter().map(Source::name).collect::<Vec<_>>()
        };
        assert_eq!(
            places(&[("HOME", "/h")]),
            [
                "/run/containers/7/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        let all = [
            ("HOME", "/h"),
            ("DOCKER_AUTH_CONFIG", "{}"),
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/a.json"),
            ("XDG_RUNTIME_DIR", "/r"),
            ("XDG_CONFIG_HOME", "/c"),
        ];
        let expected = [
            "DOCKER_AUTH_CONFIG",
            "/a.json",
            "/r/containers/auth.json",
            "/c/containers/auth.json",
            "/d/config.json",
        ];
        assert_eq!(places(&all), expected);
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
        let credentials = Credentials::none().with("r.test", login);
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let found = credentials.find(&wanted("r.test")).unwrap().found.unwrap();
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!(credentials.explain(&wanted("r.test")), ["the command line: user me"]);
        assert!(credentials.find(&wanted("s.test")).unwrap().found.is_none());
    }

    #[test]
    fn a_password_is_for_one_registry() {
        let with = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
            Credentials::none().with_password(&names, "me".to_owned(), Secret::new("hunter2"))
        };
        let credentials = with(&["r.test/a", "r.test/b:1"]).unwrap();
        assert!(credentials.find(&wanted("r.test")).unwrap().found.is_some());
        assert!(with(&["r.test/a", "s.test/b"]).is_err() && with(&[]).is_err());
    }

    #[test]
    fn a_file_hides_all_other_places_and_a_password_only_comes_first() {
        let given = |file: Option<&PathBuf>, login: Option<(&str, &str)>| {
            let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            let credentials = Credentials::given(file, login, &["r.test/a".parse().unwrap()]);
            credentials.unwrap().sources.iter().map(Source::name).collect::<Vec<_>>()
        };
        let usual = given(None, None);
        assert_eq!(given(Some(&"/a.json".into()), None), ["/a.json"]);
        let first = [vec!["the command line".to_owned()], usual].concat();
        assert_eq!(given(None, Some(("me", "hunter2"))), first);
    }

    #[test]
    fn a_missing_file_holds_no_logins_and_another_trouble_is_told() {
        let none = Credentials::from_file("/nonexistent/config.json");
        assert!(none.find(&wanted("r.test")).unwrap().found.is_none());
        let error = Credentials::from_file("/").find(&wanted("r.test")).unwrap_err();
        assert_eq!(error.to_string(), "/: reading logins");
    }

    #[test]
    fn a_usual_file_that_can_not_be_read_hides_no_other() {
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
        let given = Source::Given { registry: "r.test".to_owned(), login };
        let credentials = Credentials { sources: vec![Source::Usual("/".into()), given] };
        let LoginSearch { found, problems } = credentials.find(&wanted("r.test")).unwrap();
        assert!(found.is_some() && problems[0].starts_with("/: reading logins: "), "{problems:?}");
        assert_eq!(credentials.describe(&wanted("r.test")), "the command line: user me");
        assert_eq!(credentials.describe(&wanted("s.test")), "none");
    }
}
