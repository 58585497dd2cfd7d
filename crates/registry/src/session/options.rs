//! The settings of a client.

use std::fmt::{self, Debug, Formatter};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Credentials, Mirrors, certs_d};
use crate::http::Proxies;

/// How a [`Client`](crate::Client) behaves. The default is what a user means who sets nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts, with or without a port, that may speak plain HTTP or show any certificate.
    pub insecure: Vec<String>,
    /// The sources of logins.
    pub credentials: Credentials,
    /// Directories with certificates for single registries, each in a directory `HOST[:PORT]`.
    pub certificates: Vec<PathBuf>,
    /// Other places that have images.
    pub mirrors: Mirrors,
    /// The proxies by which hosts are asked.
    pub proxies: Proxies,
    /// How long a connection may take to be made, its TLS handshake included.
    pub connect: Duration,
    /// How long a registry may be silent, before its answer or in it, until the connection is given up as stalled. Only
    /// the time spent waiting for it counts.
    pub stall: Duration,
    /// How many bytes a second may pass in each direction, of all connections together; none for no limit.
    pub limit_rate: Option<NonZeroU64>,
    /// How long a mirror that failed is not asked again.
    pub mirror_pause: Duration,
    /// When and how often to try again.
    pub retries: Retries,
    /// Who is told of a failure after which the same is tried again, if it took long or what comes next does.
    pub listener: Listener,
    /// How many bytes of a blob one request uploads at most, unless the registry wants more. What was lost with a
    /// broken connection is never more.
    pub chunk: u64,
    /// Whether to give up now; asked at least ten times a second while anything waits.
    pub cancelled: fn() -> bool,
    /// The `User-Agent`.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure: vec![],
            credentials: Credentials::from_environment(),
            certificates: certs_d::usual_directories(|name| std::env::var_os(name)),
            mirrors: Mirrors::none(),
            proxies: Proxies::from_environment(),
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            limit_rate: None,
            mirror_pause: Duration::from_secs(30),
            retries: Retries::default(),
            listener: Listener::default(),
            chunk: 64 << 20,
            cancelled: || false,
            user_agent: concat!("strata/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Takes one line of text, on the thread of whatever failed. The default takes none.
#[derive(Clone, Default)]
pub struct Listener(Option<Arc<Listen>>);

type Listen = dyn Fn(&str) + Send + Sync;

impl Listener {
    /// One that hands each line on.
    pub fn new(listen: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    pub(super) fn tell(&self, text: &str) {
        if let Some(listen) = &self.0 {
            listen(text);
        }
    }
}

impl Debug for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}

/// When and how often to try again.
#[derive(Clone, Debug)]
pub struct Retries {
    /// The number of failures in a row, without a byte of progress between them, after which there is no other attempt.
    pub consecutive: u32,
    /// The number of failures of one blob or document after which there is no other attempt, whatever progress there
    /// was.
    pub total: u32,
    /// The first pause; each later one is twice as long. Up to half of a pause is left off at random.
    pub first: Duration,
    /// The longest pause that the client chooses itself.
    pub longest: Duration,
    /// The longest pause that a registry may ask for by `Retry-After`; if it asks for more, there is no other attempt.
    pub longest_asked: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            consecutive: 5,
            total: 1000,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(20),
            longest_asked: Duration::from_secs(120),
        }
    }
}
