//! The crate's error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use layer_format::Digest;
use report::{ErrorKind, HasKind};

use super::one_line;

/// A failure, and the thing that it is about. The text never holds the cause; [`source`](std::error::Error::source)
/// does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry has no such image or blob.
    #[error("{what}: not found{}", after(said))]
    NotFound {
        /// The image or blob.
        what: String,
        /// The registry's own words, or nothing.
        said: String,
    },
    /// The registry or its token server wants a login, or another one.
    #[error("{what}: not authorised: {}{}", denial.told(registry), after(said))]
    Unauthorised {
        /// The image or blob.
        what: String,
        /// The registry, as it stands in names.
        registry: String,
        /// The fate of the login.
        denial: Denial,
        /// The registry's own words, or nothing.
        said: String,
    },
    /// Any other answer than success.
    #[error("{what}: {host} answered {status}{}", after(said))]
    Refused {
        /// The image or blob.
        what: String,
        /// The host that answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words, or nothing.
        said: String,
    },
    /// The registry allows no more requests for now.
    #[error("{what}: {host} answered {status}{}", after(said))]
    RateLimited {
        /// The image or blob.
        what: String,
        /// The host that answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The registry, as it stands in names.
        registry: String,
        /// Whether it was asked with a login.
        has_login: bool,
        /// The registry's own words, with the limit and what is left of it as far as it tells them, or nothing.
        said: String,
    },
    /// The connection could not be made, or broke.
    #[error("{what}: {step} {host}")]
    Connection {
        /// The image or blob.
        what: String,
        /// The step that failed: `connecting to`, `reading from`.
        step: &'static str,
        /// The other end.
        host: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The other end's certificate is not trusted.
    #[error("{what}: connecting to {host}")]
    Certificate {
        /// The image or blob.
        what: String,
        /// The other end.
        host: String,
        /// What is wrong with the certificate.
        #[source]
        source: Cause,
    },
    /// The other end and we know no cipher, no version or no kind of certificate in common.
    #[error("{what}: connecting to {host}")]
    Handshake {
        /// The image or blob.
        what: String,
        /// The other end.
        host: String,
        /// The algorithm or version that is missing.
        #[source]
        source: Cause,
    },
    /// The other end answers a TLS greeting with something else, plain HTTP as a rule.
    #[error("{what}: {host} doesn't speak TLS")]
    NotTls {
        /// The image or blob.
        what: String,
        /// The other end.
        host: String,
    },
    /// The other end wants a client certificate, or doesn't trust the one that it was shown.
    #[error("{what}: {host} wants a client certificate")]
    ClientCertificate {
        /// The image or blob.
        what: String,
        /// The other end.
        host: String,
        /// Its alert.
        #[source]
        source: Cause,
    },
    /// Nothing came for too long.
    #[error("{what}: {host} sent nothing for {seconds} s")]
    Stalled {
        /// The image or blob.
        what: String,
        /// The other end.
        host: String,
        /// The time that was waited, in seconds.
        seconds: u64,
    },
    /// Redirects that lead nowhere.
    #[error("{what}: {reason}")]
    Redirect {
        /// The image or blob.
        what: String,
        /// The rule that they break.
        reason: &'static str,
    },
    /// [`Options::cancelled`](crate::Options::cancelled) said so.
    #[error("{what}: interrupted")]
    Interrupted {
        /// The image or blob.
        what: String,
    },
    /// Content whose hash is another than promised.
    #[error("{what}: digest mismatch: expected {expected}, found {found}")]
    DigestMismatch {
        /// The image or document.
        what: String,
        /// The promised digest.
        expected: Box<Digest>,
        /// The digest of the bytes that came.
        found: Box<Digest>,
    },
    /// Content that is longer or shorter than promised.
    #[error("{what}: size mismatch: expected {expected} bytes, found {found}")]
    SizeMismatch {
        /// The blob or document.
        what: String,
        /// Promised, in bytes.
        expected: u64,
        /// Present, in bytes; one more than promised stands for any larger number.
        found: u64,
    },
    /// A document that is larger than any real one.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The image or document.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A web page where a registry should be: a login portal, a mistyped host.
    #[error("{what}: not a registry? got {media_type}")]
    NotARegistry {
        /// The image or blob.
        what: String,
        /// The media type that came.
        media_type: String,
    },
    /// A document that makes no sense.
    #[error("{what}")]
    Malformed {
        /// The image or document.
        what: String,
        /// What is wrong with it.
        #[source]
        source: layer_format::Error,
    },
    /// An answer that breaks the protocol, or leads where a login or an image would not be safe.
    #[error("{what}: {reason}")]
    Protocol {
        /// The image or blob.
        what: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A file or variable with logins that can't be read. Its content is never shown.
    #[error("{place}: malformed at line {line}, column {column}")]
    MalformedLogins {
        /// The file or variable.
        place: String,
        /// The line, counted from 1; 0 if the parser doesn't say.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// One login that is not of the right form. Its content is never shown.
    #[error("{place}: the login for {registry} is malformed: {reason}")]
    MalformedLogin {
        /// The file or variable.
        place: String,
        /// Whose login it is.
        registry: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A file with logins could not be read.
    #[error("{place}: reading logins")]
    UnreadableLogins {
        /// The file.
        place: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file with settings that makes no sense.
    #[error("{}: malformed", one_line(&path.display().to_string()))]
    MalformedSettings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// A file with settings could not be read.
    #[error("{}: reading settings", one_line(&path.display().to_string()))]
    UnreadableSettings {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A repository that `registries.conf` blocks.
    #[error("{name}: blocked by registries.conf")]
    Blocked {
        /// The repository.
        name: String,
    },
    /// A password on a command line whose names lie in no single registry.
    #[error("a login is for one registry, and the names lie in {n}")]
    SeveralRegistries {
        /// The number of registries.
        n: usize,
    },
    /// A variable that should name a proxy, and doesn't. Its value is not shown, for it may hold a password.
    #[error("{variable}: {reason}")]
    MalformedProxy {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is no host.
    #[error("malformed registry host {text:?}")]
    MalformedHost {
        /// The text.
        text: String,
    },
    /// The content of an upload could not be read.
    #[error("{what}: reading what is to be sent")]
    Unreadable {
        /// The blob.
        what: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The registry has lost bytes that it had taken, and a stream can't be read a second time.
    #[error("{what}: the registry lost a part of the upload, and a stream can't be read again")]
    Rewound {
        /// The blob.
        what: String,
    },
    /// The registry says that what it got has another digest than promised.
    #[error("{what}: {host} found another digest{}", after(said))]
    DigestRefused {
        /// The blob or manifest.
        what: String,
        /// The host that says so.
        host: String,
        /// The registry's own words, or nothing.
        said: String,
    },
    /// A program that keeps logins didn't do what it was asked to. Its own words are not shown: they may hold a secret.
    #[error("{helper} {reason}")]
    Helper {
        /// Its name, and the file that names it.
        helper: String,
        /// The way in which it failed.
        reason: &'static str,
    },
    /// This machine could not set up what a connection needs.
    #[error("setting up a connection")]
    SetUp {
        /// The cause.
        #[source]
        source: Cause,
    },
}

/// A registry's words, to follow an error's own after a colon; nothing if there are none.
fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// The fate of a login at a registry that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No login is known for the registry.
    NoLogin,
    /// The login from this place was refused, or the token that was got for it.
    LoginRefused(String),
    /// The login from this place was not refused, but its owner may not do this.
    NotAllowed(String),
}

impl Denial {
    fn told(&self, registry: &str) -> String {
        match self {
            Self::NoLogin => format!("no login known for {registry}"),
            Self::LoginRefused(place) => format!("the login from {place} was refused"),
            Self::NotAllowed(place) => format!("the login from {place} is not allowed to do this"),
        }
    }
}

impl Error {
    /// A file with settings that could not be read.
    pub(crate) fn unreadable_settings(path: &Path, source: io::Error) -> Self {
        Self::UnreadableSettings { path: path.to_owned(), source }
    }

    /// A file with settings that makes no sense, and the reason.
    pub(crate) fn malformed_settings(path: &Path, reason: &str) -> Self {
        Self::MalformedSettings { path: path.to_owned(), source: Cause::said(reason) }
    }

    /// What the user may do about it, if something is known.
    pub fn hint(&self) -> Option<String> {
        let dir = |host: &str| format!("/etc/containers/certs.d/{host}");
        Some(match self {
            Self::Unauthorised { registry, denial, .. } => match denial {
                Denial::NoLogin => format!("log in: remote login {registry}"),
                Denial::LoginRefused(_) => format!("log in again: remote login {registry}"),
                Denial::NotAllowed(_) => {
                    "the repository's owner gives the right to this; pull --explain-auth NAME says \
                     which login is used"
                        .to_owned()
                }
            },
            Self::Certificate { host, .. } => {
                format!("put its authority into {}/ca.crt, or --insecure {host}", dir(host))
            }
            // Of a host that the registry leads to, --insecure changes nothing: its address says how it is asked.
            Self::NotTls { what, host } if what.starts_with(host.as_str()) => {
                format!("if it is to be asked in plain HTTP: --insecure {host}")
            }
            Self::ClientCertificate { host, .. } => {
                format!(
                    "put a certificate and its key into {}: client.cert and client.key",
                    dir(host)
                )
            }
            Self::RateLimited { registry, has_login: false, .. } => {
                format!("log in, which has a limit of its own: remote login {registry}")
            }
            Self::RateLimited { .. } => {
                "wait, or ask a mirror: docs/registry.md tells how to name one".to_owned()
            }
            Self::Rewound { .. } => {
                "keep the image on the way: pull NAME, then push NAME".to_owned()
            }
            Self::Handshake { .. } => {
                "certificates of RSA, P-256, P-384 and Ed25519 are supported, with TLS 1.2 and 1.3"
                    .to_owned()
            }
            Self::MalformedProxy { .. } => {
                "a proxy is HOST:PORT, http://HOST:PORT or socks5://HOST:PORT".to_owned()
            }
            Self::DigestRefused { .. } => {
                "images verify tells whether the store is damaged".to_owned()
            }
            _ => return None,
        })
    }

    /// Whether the other end could not be spoken to at all, so that another request to it would fail as well.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. }
                | Self::Certificate { .. }
                | Self::Handshake { .. }
                | Self::NotTls { .. }
                | Self::ClientCertificate { .. }
                | Self::Stalled { .. }
        )
    }

    /// Takes the error out of an `io::Error` in which it travelled through a reader.
    ///
    /// # Errors
    ///
    /// The `io::Error`, if it isn't one of these.
    pub fn inside(error: io::Error) -> Result<Self, io::Error> {
        error.downcast()
    }
}

impl From<Error> for io::Error {
    /// For readers: the error travels inside the `io::Error`, and [`Error::inside`] takes it out again.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Untrusted => io::ErrorKind::InvalidData,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Unauthorised => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl HasKind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unauthorised { .. } | Self::ClientCertificate { .. } => ErrorKind::Unauthorised,
            Self::Refused { .. }
            | Self::RateLimited { .. }
            | Self::Connection { .. }
            | Self::Certificate { .. }
            | Self::Handshake { .. }
            | Self::NotTls { .. }
            | Self::Stalled { .. }
            | Self::Redirect { .. }
            | Self::Rewound { .. } => ErrorKind::Network,
            Self::DigestMismatch { .. }
            | Self::DigestRefused { .. }
            | Self::SizeMismatch { .. }
            | Self::TooLarge { .. }
            | Self::NotARegistry { .. }
            | Self::Malformed { .. }
            | Self::Protocol { .. } => ErrorKind::Untrusted,
            Self::MalformedHost { .. }
            | Self::MalformedProxy { .. }
            | Self::SeveralRegistries { .. } => ErrorKind::Usage,
            Self::Interrupted { .. }
            | Self::MalformedLogins { .. }
            | Self::MalformedLogin { .. }
            | Self::UnreadableLogins { .. }
            | Self::MalformedSettings { .. }
            | Self::UnreadableSettings { .. }
            | Self::Blocked { .. }
            | Self::Unreadable { .. }
            | Self::Helper { .. }
            | Self::SetUp { .. } => ErrorKind::Failed,
        }
    }
}

/// The innermost cause of a failure, in one line.
///
/// The errors above it only say that a request failed, and give its address, which may hold a secret signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    /// The innermost cause of an error.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let io = innermost.downcast_ref::<io::Error>();
        Self(one_line(&io.map_or_else(|| innermost.to_string(), report::reason)))
    }

    /// A cause in the other end's own words.
    pub(crate) fn said(text: &str) -> Self {
        Self(one_line(text))
    }

    /// The innermost cause of an error about a file, with the file's name.
    pub(crate) fn about(path: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        let Self(cause) = Self::of(error);
        Self(format!("{}: {cause}", one_line(&path.display().to_string())))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}
