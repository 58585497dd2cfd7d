//! An image on the network: the distribution spec.
//!
//! A [`Client`] talks to any number of registries over one pool of connections; a [`Repository`] is one name on one of
//! them and gives manifests, small documents and blobs. A [`Blob`] is a reader that survives the network: connections
//! that break, end early or stall are taken up again at the very byte where they stopped. An [`Upload`] is the same in the
//! other direction: what the registry has got stays there, and the rest follows, in a later process if need be.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reference = "nginx:1.27".parse()?;
//! let client = registry::Client::new(registry::Options::default())?;
//! let repository = client.repository(&reference);
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
//! The crate knows no terminal and no disk; what it reads is configuration: docker's and podman's files with logins, certificates and mirrors.
//!
//! | part | holds |
//! |---|---|
//! | `client`, `repository`, `blob` | what is public: reading |
//! | `deposit`, `upload` | what is public: writing |
//! | `attempt`, `retry`, `verdict` | one request with its redirects and its login; when to try again; what an answer means |
//! | `auth`, `credentials` | challenges and tokens; where logins come from |
//! | `endpoint`, `mirrors`, `redirect`, `reach` | which host and scheme; where else; which way a redirect may lead; how far an address lies |
//! | `transport` | one HTTP exchange; TLS |

mod client;
mod repository;

mod blob;
mod deposit;
mod referrers;
mod upload;

mod attempt;
mod retry;
mod verdict;

mod auth;
mod credentials;

mod endpoint;
mod limits;
mod mirrors;
mod range;
mod reach;
mod redirect;
mod text;
mod throttle;
mod traffic;
mod transport;

mod error;
mod options;

pub use blob::Blob;
pub use client::Client;
pub use credentials::{Credentials, Login, Secret};
pub use deposit::Current;
pub use error::{Cause, Denial, Error};
pub use mirrors::Mirrors;
pub use options::{Options, Retries};
pub use referrers::Referrers;
pub use repository::Repository;
pub use traffic::Traffic;
pub use transport::Proxies;
pub use upload::{Content, Upload, Window};
