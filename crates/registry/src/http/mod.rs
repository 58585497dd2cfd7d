//! HTTP and TLS, one hop at a time: a request goes out and an answer comes back.
//!
//! This floor follows no redirect, tries nothing again, knows no mirror and no login beyond a header's value. It is the
//! only one that names the HTTP client, and nothing above it knows that anything here is asynchronous.

mod certificates;
mod engine;
mod error;
mod exchange;
pub(crate) mod headers;
mod probe;
mod proxy;
mod reach;
mod request;
mod request_body;
mod throttle;
mod tls;
mod traffic;
mod transport;

pub(crate) use error::TransportError;
pub(crate) use exchange::{Body, Exchange};
pub(crate) use probe::speaks_tls;
pub use proxy::Proxies;
pub(crate) use reach::{NOT_FOR_STRANGERS, Reach};
pub(crate) use request::{AnswerTime, Authorization, HostSettings, Payload, Request, Timeouts};
pub(crate) use traffic::Meter;
pub use traffic::Traffic;
pub(crate) use transport::{Settings, Transport};
