//! An image on the network: the distribution spec.
//!
//! A [`Client`] talks to any number of registries over one pool of connections; a [`Repository`] is one name on one of
//! them and gives manifests, small documents and blobs. A [`Blob`] is a reader that survives the network: connections
//! that break, end early or stall are taken up again at the very byte where they stopped. An [`Upload`] is the same in
//! the other direction: what the registry has got stays there, and the rest follows, in a later process if need be.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reference = "nginx:1.27".parse()?;
//! let client = registry::Client::new(registry::Options::default())?;
//! let repository = client.repository(&reference)?;
//! let (document, digest) = repository.manifest(&reference.wanted())?;
//! # Ok(()) }
//! ```
//!
//! What is promised:
//!
//! - A document is what its digest says. A blob's bytes are as many as promised and in order; whether they hash to the
//!   digest is for the reader to check ([`layer_format::Verified`]), who passes over them anyway.
//! - A login goes to the registry it is for and to the token server that this registry names, never to a redirect's
//!   target on another origin, never over a less secure scheme, and never into an error, a log or a `Debug`.
//! - Nothing waits for ever, and every wait ends within a tenth of a second when [`Options::cancelled`] says so.
//!
//! The crate knows no terminal and no disk; what it reads is configuration: docker's and podman's files with logins,
//! certificates and mirrors.
//!
//! Floors, of which each names only those below it (`http` and `config` don't know each other):
//!
//! ```text
//! api       what is public: client, registry, repository, manifest, blob, upload, lists
//! session   one request: login, redirects, schemes, judgement; when to try again
//! auth      challenges and tokens
//! http      one exchange: connections,      config    what files say: logins, mirrors,
//!           TLS, bodies, time-outs                    certificates; values only
//! base      errors, addresses, secrets
//! ```

mod api;
mod auth;
mod base;
mod config;
mod http;
mod session;

pub use self::http::{Proxies, Traffic};
pub use api::{
    Blob, Client, Current, LoginCheck, Referrers, ReferrersTag, Registry, Repository, Upload,
};
pub use base::{Cause, Content, Denial, Error, Secret, Window};
pub use config::{
    Credentials, Login, LoginFiles, LoginHelper, LoginKey, Mirrors, with_login, without_login,
};
pub use session::{Listener, Options, Retries};
