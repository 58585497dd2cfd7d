//! The lowest floor: plain values and small functions that every other floor may name.
//!
//! Nothing here sends a request, reads a file or knows a setting.

mod address;
mod content;
mod error;
mod failure;
mod host_tls;
mod secret;
mod sync;
mod text;

pub(crate) use address::{
    HUB, InsecureHosts, Scheme, authority, is_loopback, malformed_host, network_host, parse_host,
};
pub use content::{Content, Window};
pub use error::{Cause, Denial, Error};
pub(crate) use failure::{Failure, RetryPolicy};
pub(crate) use host_tls::{CertificateFile, HostTls};
pub use secret::Secret;
pub(crate) use sync::{POLL_INTERVAL, lock};
pub(crate) use text::one_line;
