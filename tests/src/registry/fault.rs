//! What a registry does wrong on order.
//!
//! ```no_run
//! # let registry = kit::Registry::start();
//! use kit::Fault;
//! registry.fault(Fault::on("blobs/").times(2).close_after(1000));
//! registry.fault(Fault::on("manifests/").method("GET").status(429).header("Retry-After", "1"));
//! ```
//!
//! A fault applies to the requests whose path and query contain a text; several that match one
//! request all apply, in the order they were ordered.

use std::time::Duration;

use super::http::Head;
use super::reply::{Length, Reply, Stop};

/// A change to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Status(u16),
    Header(String, String),
    Body(String, Vec<u8>),
    Close(u64),
    Stall(u64, Option<Duration>),
    Shorten(u64),
    Claim(u64),
    Flip(u64),
    Lengthen(usize),
    Redirect(u16, String),
    IgnoreRange,
    ClaimStart(u64),
    Delay(Duration),
    Rate(u64),
    Burst(u64),
    Chunked,
    UntilClose,
    HangUp,
    CloseReading(usize),
}

/// A fault: which requests, how often, and what is wrong with their answers.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    path: String,
    method: Option<String>,
    header: Option<String>,
    skip: usize,
    count: Option<usize>,
    effects: Vec<Effect>,
}

impl Fault {
    /// A fault for every request whose path and query contain a text; `""` is all.
    pub fn on(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            method: None,
            header: None,
            skip: 0,
            count: None,
            effects: Vec::new(),
        }
    }

    /// Only for this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only for requests that have this header: `Range`, for one.
    pub fn with_header(mut self, name: &str) -> Self {
        self.header = Some(name.to_owned());
        self
    }

    /// Only after so many matching requests.
    pub fn after(mut self, n_requests: usize) -> Self {
        self.skip = n_requests;
        self
    }

    /// Only so often; without this, for ever.
    pub fn times(mut self, n_requests: usize) -> Self {
        self.count = Some(n_requests);
        self
    }

    fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// This status, with an error of the spec's form; nothing is done for the request.
    pub fn status(self, status: u16) -> Self {
        self.effect(Effect::Status(status))
    }

    /// This header in the answer; an empty value removes it.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.effect(Effect::Header(name.to_owned(), value.to_owned()))
    }

    /// This body in place of the right one, with its true length; ranges apply to it.
    pub fn body(self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.effect(Effect::Body(media_type.to_owned(), bytes.into()))
    }

    /// A page in HTML in place of the right body.
    pub fn html(self) -> Self {
        self.body("text/html; charset=utf-8", "<!doctype html><title>Please log in</title>\n")
    }

    /// Closes the connection after so many bytes of the body; `Content-Length` was right.
    pub fn close_after(self, n_bytes: u64) -> Self {
        self.effect(Effect::Close(n_bytes))
    }

    /// Sends nothing more after so many bytes of the body, for a time or (without one) until the
    /// registry is released or dropped; then the rest.
    pub fn stall_after(self, n_bytes: u64, time: Option<Duration>) -> Self {
        self.effect(Effect::Stall(n_bytes, time))
    }

    /// A body cut to so many bytes, whose `Content-Length` says just that.
    pub fn shorten(self, n_bytes: u64) -> Self {
        self.effect(Effect::Shorten(n_bytes))
    }

    /// The right body under a wrong `Content-Length`; then the connection is closed.
    pub fn claim_length(self, n_bytes: u64) -> Self {
        self.effect(Effect::Claim(n_bytes))
    }

    /// One bit of the byte at an offset of the whole content is wrong.
    pub fn flip(self, offset: u64) -> Self {
        self.effect(Effect::Flip(offset))
    }

    /// So many spaces after the content (JSON stays JSON), counted in `Content-Length`.
    pub fn lengthen(self, n_bytes: usize) -> Self {
        self.effect(Effect::Lengthen(n_bytes))
    }

    /// A 307 to this location, in which `{path}` stands for the request's path and query and
    /// `{digest}` for the last part of its path. `/storage/{digest}` serves blobs.
    pub fn redirect(self, location: &str) -> Self {
        self.effect(Effect::Redirect(307, location.to_owned()))
    }

    /// A redirect to itself, for ever.
    pub fn redirect_loop(self) -> Self {
        self.redirect("{path}")
    }

    /// The whole body with status 200, whatever range was asked for.
    pub fn ignore_range(self) -> Self {
        self.effect(Effect::IgnoreRange)
    }

    /// `Content-Range` claims that the body begins here.
    pub fn claim_start(self, offset: u64) -> Self {
        self.effect(Effect::ClaimStart(offset))
    }

    /// Waits before it answers.
    pub fn delay(self, time: Duration) -> Self {
        self.effect(Effect::Delay(time))
    }

    /// Sends so many bytes a second.
    pub fn bytes_per_second(self, rate: u64) -> Self {
        self.effect(Effect::Rate(rate))
    }

    /// So many bytes of each answer come at once, before [`Fault::bytes_per_second`] counts.
    pub fn after_burst(self, n_bytes: u64) -> Self {
        self.effect(Effect::Burst(n_bytes))
    }

    /// Sends the body in chunks, without a length.
    pub fn chunked(self) -> Self {
        self.effect(Effect::Chunked)
    }

    /// Sends the body without a length and closes the connection after it.
    pub fn until_close(self) -> Self {
        self.effect(Effect::UntilClose)
    }

    /// Closes the connection without any answer; what was asked is done.
    pub fn hang_up(self) -> Self {
        self.effect(Effect::HangUp)
    }

    /// Reads so many bytes of the request's body, acts on those, and hangs up.
    pub fn close_reading(self, n_bytes: usize) -> Self {
        self.effect(Effect::CloseReading(n_bytes)).hang_up()
    }

    /// Whether it applies to this request, which then counts.
    fn takes(&mut self, head: &Head) -> bool {
        let method = self.method.as_ref().is_none_or(|method| *method == head.method);
        let header = self.header.as_ref().is_none_or(|name| head.header(name).is_some());
        if !method || !header || !head.target.contains(&self.path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.count {
            None => true,
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
        }
    }
}

/// All that is wrong with one answer.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    effects: Vec<Effect>,
}

/// What the faults hold for a request.
pub(crate) fn plan(faults: &mut [Fault], head: &Head) -> Plan {
    let matching =
        faults.iter_mut().filter_map(|fault| fault.takes(head).then_some(&fault.effects));
    Plan { effects: matching.flatten().cloned().collect() }
}

impl Plan {
    /// How much of the request's body is read.
    pub(crate) fn read_limit(&self) -> usize {
        let limits = self.effects.iter().filter_map(|effect| match effect {
            Effect::CloseReading(n_bytes) => Some(*n_bytes),
            _ => None,
        });
        limits.min().unwrap_or(usize::MAX)
    }

    /// The answer that takes the place of doing what was asked.
    pub(crate) fn instead(&self, head: &Head) -> Option<Reply> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Status(429) => Some(Reply::error(429, "TOOMANYREQUESTS", "slow down")),
            Effect::Status(401) => Some(Reply::error(401, "UNAUTHORIZED", "not you")),
            Effect::Status(403) => Some(Reply::error(403, "DENIED", "not you")),
            Effect::Status(status) => Some(Reply::error(*status, "UNKNOWN", "as ordered")),
            Effect::Redirect(status, location) => {
                let digest = head.path().rsplit('/').next().unwrap_or_default();
                let location = location.replace("{path}", &head.target).replace("{digest}", digest);
                Some(Reply::empty(*status).header("Location", &location))
            }
            _ => None,
        })
    }

    /// Changes an answer, then cuts it to the request's range.
    pub(crate) fn apply(&self, reply: &mut Reply, head: &Head) {
        for effect in &self.effects {
            change(reply, effect);
        }
        if let Some(range) = head.header("Range").filter(|_| reply.rangeable) {
            reply.cut(range);
        }
        for effect in &self.effects {
            match effect {
                Effect::Header(name, value) => reply.set_header(name, value),
                Effect::Shorten(n_bytes) => {
                    let n_bytes = usize::try_from(*n_bytes).unwrap_or(usize::MAX);
                    reply.body = reply.body[..reply.body.len().min(n_bytes)].into();
                }
                _ => {}
            }
        }
    }
}

fn change(reply: &mut Reply, effect: &Effect) {
    match effect {
        Effect::Body(media_type, bytes) => {
            reply.set_header("Content-Type", media_type);
            reply.body = bytes.as_slice().into();
        }
        Effect::Flip(offset) => {
            let mut bytes = reply.body.to_vec();
            let byte = usize::try_from(*offset).ok().and_then(|offset| bytes.get_mut(offset));
            if let Some(byte) = byte {
                *byte ^= 1;
            }
            reply.body = bytes.into();
        }
        Effect::Lengthen(n_bytes) => {
            let mut bytes = reply.body.to_vec();
            bytes.resize(bytes.len() + n_bytes, b' ');
            reply.body = bytes.into();
        }
        Effect::Close(n_bytes) => reply.stop = Stop::Close(*n_bytes),
        Effect::Stall(n_bytes, time) => reply.stop = Stop::Stall(*n_bytes, *time),
        Effect::Claim(n_bytes) => reply.length = Length::Claim(*n_bytes),
        Effect::IgnoreRange => reply.rangeable = false,
        Effect::ClaimStart(offset) => reply.claimed_start = Some(*offset),
        Effect::Delay(time) => reply.delay = *time,
        Effect::Rate(rate) => reply.rate = Some(*rate),
        Effect::Burst(burst) => reply.burst = *burst,
        Effect::Chunked => reply.length = Length::Chunked,
        Effect::UntilClose => reply.length = Length::UntilClose,
        Effect::HangUp => reply.hang_up = true,
        Effect::Status(_)
        | Effect::Redirect(..)
        | Effect::Header(..)
        | Effect::Shorten(_)
        | Effect::CloseReading(_) => {}
    }
}
