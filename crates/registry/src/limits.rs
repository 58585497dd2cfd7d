//! How much a registry still allows: `RateLimit-Limit` and `RateLimit-Remaining`, as Docker's own registry sends them.

use reqwest::header::{HeaderMap, HeaderName};

use crate::text::one_line;
use crate::verdict::text_of;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// What to tell when less than a tenth is left.
pub(crate) fn warning(headers: &HeaderMap) -> Option<String> {
    let (limit, window) = parse(text_of(headers, &LIMIT)?)?;
    let (remaining, _) = parse(text_of(headers, &REMAINING)?)?;
    let is_close = remaining.saturating_mul(10) < limit;
    let span =
        window.map(|seconds| format!(" in {} min", seconds.div_ceil(60))).unwrap_or_default();
    // The number itself changes with every request, and one warning is enough.
    is_close
        .then(|| format!("less than a tenth of the {limit} requests{span} that it allows is left"))
}

/// How a refusal for too many requests tells what is left.
pub(crate) fn left(headers: &HeaderMap) -> Option<String> {
    text_of(headers, &REMAINING).map(|text| format!("{REMAINING}: {}", one_line(text.trim())))
}

/// `100;w=21600`: a number, and the seconds that it is for.
fn parse(text: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: &str, remaining: &str, expected: Option<&str>) {
        let headers = [(LIMIT, limit), (REMAINING, remaining)];
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
        assert_eq!(warning(&HeaderMap::from_iter(headers)).as_deref(), expected);
    }

    #[test]
    fn a_limit_is_told_when_it_is_close() {
        let text = "less than a tenth of the 100 requests in 360 min that it allows is left";
        check("100;w=21600", "9;w=21600", Some(text));
        check("100;w=21600", "0;w=21600", Some(text));
        check("100;w=21600", "10;w=21600", None);
        check("100", "1", Some("less than a tenth of the 100 requests that it allows is left"));
        check("many", "1", None);
        check("100", "", None);
        assert_eq!(warning(&HeaderMap::new()), None);
    }
}
