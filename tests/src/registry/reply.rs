//! An answer before it is sent: what it says, and how it is sent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// `Content-Length`, the truth.
    Exact,
    /// `Content-Length`, this.
    Claim(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Not at all: the connection's end ends it.
    UntilClose,
}

/// What happens in the middle of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing.
    Never,
    /// After so many bytes the connection is closed.
    Close(u64),
    /// After so many bytes nothing comes for a while, or until the registry is released.
    Stall(u64, Option<Duration>),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Arc<[u8]>,
    /// Where in the content the body begins.
    pub(crate) start: u64,
    /// Whether a `Range` of the request counts.
    pub(crate) rangeable: bool,
    pub(crate) length: Length,
    pub(crate) stop: Stop,
    pub(crate) delay: Duration,
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
    /// How many bytes come before the rate counts.
    pub(crate) burst: u64,
    /// The start that `Content-Range` claims, whatever was sent.
    pub(crate) claimed_start: Option<u64>,
    /// No answer at all: the connection is closed.
    pub(crate) hang_up: bool,
}

impl Reply {
    /// An answer with a body.
    pub(crate) fn new(status: u16, media_type: &str, body: impl AsRef<[u8]>) -> Self {
        let reply = Self {
            status,
            headers: Vec::new(),
            body: body.as_ref().into(),
            start: 0,
            rangeable: false,
            length: Length::Exact,
            stop: Stop::Never,
            delay: Duration::ZERO,
            rate: None,
            burst: 0,
            claimed_start: None,
            hang_up: false,
        };
        if media_type.is_empty() { reply } else { reply.header("Content-Type", media_type) }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, "", "")
    }

    /// An error as the distribution spec writes it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
        Self::new(status, "application/json", body.to_string())
    }

    /// Sets a header, in place of any of its name; an empty value removes it.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.set_header(name, value);
        self
    }

    /// Sets a header, in place of any of its name; an empty value removes it.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Cuts the body to a `Range` of the form `bytes=a-b`, `bytes=a-` or `bytes=-n`.
    pub(crate) fn cut(&mut self, range: &str) {
        let total = self.body.len() as u64;
        let Some((first, last)) = parse_range(range, total) else {
            *self = Self::error(416, "RANGE_INVALID", "the range is not satisfiable");
            self.set_header("Content-Range", &format!("bytes */{total}"));
            return;
        };
        let (from, to) = (to_index(first), to_index(last) + 1);
        self.body = self.body[from..to].into();
        self.start = first;
        self.status = 206;
        let shown = self.claimed_start.unwrap_or(first);
        let value = format!("bytes {shown}-{}/{total}", shown + (last - first));
        self.set_header("Content-Range", &value);
    }
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The first and last byte of a range that touches the content.
fn parse_range(range: &str, total: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = total.checked_sub(1)?;
    if first.is_empty() {
        let n: u64 = last.parse().ok()?;
        return (n > 0).then(|| (total.saturating_sub(n), end));
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { end } else { last.parse::<u64>().ok()?.min(end) };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        for (range, expected) in [
            ("bytes=0-", Some((0, 9))),
            ("bytes=3-5", Some((3, 5))),
            ("bytes=3-99", Some((3, 9))),
            ("bytes=-4", Some((6, 9))),
            ("bytes=-40", Some((0, 9))),
            ("bytes=10-", None),
            ("bytes=5-3", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
