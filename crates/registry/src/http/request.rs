//! A request, and how long its answer is waited for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::Method;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::RequestBuilder;
use url::Url;

use crate::base::{Cause, Content, HostTls, Secret};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) authorization: Option<Authorization>,
    /// More headers, which are for this host only. An [`Authorization`] comes before one that they hold.
    pub(crate) private: Vec<(HeaderName, Secret)>,
    /// A form, as `application/x-www-form-urlencoded`.
    pub(crate) form: Option<Secret>,
    /// A part of a blob, or a manifest.
    pub(crate) payload: Option<Payload>,
    /// When the answer may be expected.
    pub(crate) answer: AnswerTime,
    /// The pool of connections that is used. Over HTTP/2 the requests of one lane share a connection.
    pub(crate) lane: u8,
    /// What gives this request up, as if everything were cancelled.
    pub(crate) given_up: Option<Arc<AtomicBool>>,
    /// Whether a stranger gave the address: a name there must not mean this machine or its link.
    pub(crate) is_guarded: bool,
}

/// When an answer may be expected, once everything was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerTime {
    /// Within the usual time-outs.
    Soon,
    /// After the registry has put away what it got, which takes some registries minutes.
    Late,
    /// Within a second or not at all: it is the last request, whose answer doesn't matter. It is sent even when the
    /// program was told to stop.
    Farewell,
}

/// The value of an `Authorization` header.
#[derive(Clone, Debug)]
pub(crate) enum Authorization {
    /// A user and a password.
    Basic(String, Secret),
    /// A token.
    Bearer(Secret),
}

/// The body of a request: a part of some content. A clone is the same part, to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) content: Arc<dyn Content>,
    /// Its first byte in the content.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: u64,
}

/// How long to wait for the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// How long a connection may take to be made.
    pub(crate) connect: Duration,
    /// How long the other end may be silent.
    pub(crate) stall: Duration,
    /// Whether to give up now.
    pub(crate) cancelled: fn() -> bool,
}

/// What is special about connections to one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostSettings {
    /// Its certificates.
    pub(crate) tls: Arc<HostTls>,
    /// How long a connection to it may take to be made, if that differs from [`Timeouts::connect`].
    pub(crate) connect: Option<Duration>,
}

impl Request {
    /// A `GET` without headers.
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: vec![],
            authorization: None,
            private: vec![],
            form: None,
            payload: None,
            answer: AnswerTime::Soon,
            lane: 0,
            given_up: None,
            is_guarded: false,
        }
    }

    /// Adds the headers, and the form if there is one.
    ///
    /// # Errors
    ///
    /// If a private header's value can't be sent.
    pub(super) fn add_headers(&self, mut builder: RequestBuilder) -> Result<RequestBuilder, Cause> {
        builder = builder.header(ACCEPT_ENCODING, "identity");
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in &self.private {
            if name == AUTHORIZATION && self.authorization.is_some() {
                continue;
            }
            let value = HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|error| Cause::of(&error))?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        builder = match &self.authorization {
            Some(Authorization::Basic(user, password)) => {
                builder.basic_auth(user, Some(password.expose()))
            }
            Some(Authorization::Bearer(token)) => builder.bearer_auth(token.expose()),
            None => builder,
        };
        if let Some(form) = &self.form {
            let media_type = "application/x-www-form-urlencoded";
            builder = builder.header("Content-Type", media_type).body(form.expose().to_owned());
        }
        Ok(builder)
    }
}
