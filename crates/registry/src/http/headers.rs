//! The headers of answers, read: media types, ranges, pauses, limits, warnings and links.

use std::time::{Duration, SystemTime};

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LINK, RETRY_AFTER, WARNING,
};
use url::Url;

use crate::base::one_line;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// A header as text.
pub(crate) fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a web page came.
pub(crate) fn is_html(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type.starts_with("text/html") || media_type.starts_with("application/xhtml")
}

/// Whether JSON came, of whatever kind.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    text_of(headers, &CONTENT_TYPE).is_some_and(|media_type| media_type.contains("json"))
}

/// The media type alone, without parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let whole = text_of(headers, &CONTENT_TYPE).unwrap_or_default();
    one_line(whole.split(';').next().unwrap_or_default()).to_ascii_lowercase()
}

/// `Content-Length`, in bytes.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text_of(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// A `Content-Range` (RFC 9110, section 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The offset of the first byte; none in `bytes */1000`, which comes with a 416.
    pub(crate) start: Option<u64>,
    /// The length of the whole; none in `bytes 0-9/*`.
    pub(crate) total: Option<u64>,
}

/// The part of the whole that a body is, if it is said.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    parse_content_range(text_of(headers, &CONTENT_RANGE)?)
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.trim().split_once([' ', '='])?;
    let (range, total) = rest.trim().split_once('/')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    let start = match range.trim() {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            let first: u64 = first.trim().parse().ok()?;
            let last: u64 = last.trim().parse().ok()?;
            if last < first || total.is_some_and(|total| total <= last) {
                return None;
            }
            Some(first)
        }
    };
    Some(ContentRange { start, total })
}

/// The pause that a `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    parse_retry_after(text_of(headers, &RETRY_AFTER)?, now)
}

fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A warning when less than a tenth of the requests is left that the registry allows: `RateLimit-Limit` and
/// `RateLimit-Remaining`, as Docker's own registry sends them.
pub(crate) fn rate_limit_warning(headers: &HeaderMap) -> Option<String> {
    let limit = RateLimit::parse(text_of(headers, &RATE_LIMIT)?)?;
    let remaining = RateLimit::parse(text_of(headers, &RATE_REMAINING)?)?;
    let is_close = remaining.n_requests.saturating_mul(10) < limit.n_requests;
    let span = limit.span();
    // The number that is left changes with every request, and one warning is enough.
    is_close.then(|| {
        format!(
            "less than a tenth of the {} requests{span} that it allows is left",
            limit.n_requests
        )
    })
}

/// What is left of the limit, for the text of a refusal for too many requests.
pub(crate) fn rate_limit_left(headers: &HeaderMap) -> Option<String> {
    let left = text_of(headers, &RATE_REMAINING)?;
    let whole = text_of(headers, &RATE_LIMIT).and_then(RateLimit::parse);
    let Some((left, whole)) = RateLimit::parse(left).zip(whole) else {
        return Some(format!("{RATE_REMAINING}: {}", one_line(left.trim())));
    };
    let span = whole.span();
    Some(format!("{} of {} requests{span} are left", left.n_requests, whole.n_requests))
}

/// `100;w=21600`: a number of requests, and the time that it is for.
struct RateLimit {
    n_requests: u64,
    /// In seconds.
    window: Option<u64>,
}

impl RateLimit {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let n_requests = parts.next()?.parse().ok()?;
        let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
        Some(Self { n_requests, window })
    }

    /// The time that the number is for: ` in 360 min`; nothing if that isn't said.
    fn span(&self) -> String {
        self.window.map_or_else(String::new, |seconds| format!(" in {} min", seconds.div_ceil(60)))
    }
}

/// The texts of `Warning: 299 - "…"` (distribution-spec, "Warnings"), which is the only form that is meant for users.
pub(crate) fn warnings(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(WARNING).iter().filter_map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        parse_warning(&text)
    })
}

fn parse_warning(value: &str) -> Option<String> {
    let quoted = value.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    let text = one_line(&quoted.replace("\\\"", "\"").replace("\\\\", "\\"));
    (!text.is_empty()).then_some(text)
}

/// `Link: <…>; rel="next"`, relative to the address that was asked (RFC 8288).
pub(crate) fn next_page(asked: &Url, headers: &HeaderMap) -> Option<Url> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|text| text.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(is_rel_next).then(|| asked.join(target).ok())?
    })
}

fn is_rel_next(parameter: &str) -> bool {
    let parameter = parameter.trim().to_ascii_lowercase();
    matches!(parameter.as_str(), "rel=next" | "rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        let check = |text: &str, expected: Option<(Option<u64>, Option<u64>)>| {
            let expected = expected.map(|(start, total)| ContentRange { start, total });
            assert_eq!(parse_content_range(text), expected, "{text}");
        };
        check("bytes 0-9/10", Some((Some(0), Some(10))));
        check("Bytes 5-9/*", Some((Some(5), None)));
        check("bytes=5-9/10", Some((Some(5), Some(10))));
        check("bytes */10", Some((None, Some(10))));
        for text in [
            "",
            "bytes",
            "bytes 9-0/10",
            "bytes 0-10/10",
            "lines 0-9/10",
            "bytes a-b/c",
            "bytes -5/10",
        ] {
            check(text, None);
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                parse_retry_after(text, at(784_111_700)),
                expected.map(Duration::from_secs),
                "{text}"
            );
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(77));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(77));
        for text in ["-1", "soon", "", "Sun, 06 Nov 1994", "x, 0 Jan 1970 a:b:c GMT"] {
            check(text, None);
        }
        check("99999999999999999999", None);
    }

    #[track_caller]
    fn check_limit(limit: &str, remaining: &str, expected: Option<&str>) {
        let headers = [(RATE_LIMIT, limit), (RATE_REMAINING, remaining)];
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
        assert_eq!(rate_limit_warning(&HeaderMap::from_iter(headers)).as_deref(), expected);
    }

    #[test]
    fn a_limit_is_told_when_it_is_close() {
        let text = "less than a tenth of the 100 requests in 360 min that it allows is left";
        check_limit("100;w=21600", "9;w=21600", Some(text));
        check_limit("100;w=21600", "0;w=21600", Some(text));
        check_limit("100;w=21600", "10;w=21600", None);
        let text = "less than a tenth of the 100 requests that it allows is left";
        check_limit("100", "1", Some(text));
        check_limit("many", "1", None);
        check_limit("100", "", None);
        assert_eq!(rate_limit_warning(&HeaderMap::new()), None);
    }

    #[track_caller]
    fn check_link(link: &str, expected: Option<&str>) {
        let asked = "https://r.test/v2/a/referrers/x".parse().unwrap();
        let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
        assert_eq!(next_page(&asked, &headers).as_ref().map(Url::as_str), expected, "{link}");
    }

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        check_link("</v2/b?n=1>; rel=\"next\"", Some("https://r.test/v2/b?n=1"));
        check_link("<https://o.test/c>; title=x; rel=next", Some("https://o.test/c"));
        check_link("</a>; rel=\"prev\", </b>; rel=\"next\"", Some("https://r.test/b"));
        check_link("</a>; rel=\"prev\"", None);
        check_link("no link", None);
    }
}
