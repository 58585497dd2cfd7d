//! `Range` and `Content-Range` (RFC 9110, section 14).

/// What a `Content-Range` says: the first byte sent, and the length of the whole where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The offset of the first byte; none in `bytes */1000`, which a 416 brings.
    pub(crate) start: Option<u64>,
    /// The length of the whole; none in `bytes 0-9/*`.
    pub(crate) total: Option<u64>,
}

/// Reads a `Content-Range`.
pub(crate) fn content_range(value: &str) -> Option<ContentRange> {
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
            let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if last < first || total.is_some_and(|total| total <= last) {
                return None;
            }
            Some(first)
        }
    };
    Some(ContentRange { start, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        let check = |text: &str, expected: Option<(Option<u64>, Option<u64>)>| {
            let expected = expected.map(|(start, total)| ContentRange { start, total });
            assert_eq!(content_range(text), expected, "{text}");
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
}
