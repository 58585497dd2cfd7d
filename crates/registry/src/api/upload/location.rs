//! The address at which an upload goes on, and how far it has come: `Location` and `Range`.

use http::header::{HeaderMap, LOCATION, RANGE};
use url::Url;

use crate::http::headers::text_of;

/// Words in the query of an address that make it a secret, because the address alone gives the right to write.
const SECRET: [&str; 7] = ["token", "sig", "secret", "password", "credential", "key", "auth"];

/// The address that an answer names, relative to the one that was asked; none if there is none.
pub(super) fn location(asked: &Url, headers: &HeaderMap) -> Option<Result<Url, &'static str>> {
    let location = headers.get(LOCATION)?;
    let text = String::from_utf8_lossy(location.as_bytes());
    let url = asked.join(&text).map_err(|_| "malformed Location of an upload");
    Some(url.and_then(|mut url| {
        let is_http = matches!(url.scheme(), "http" | "https");
        url.set_fragment(None);
        if is_http { Ok(url) } else { Err("malformed Location of an upload") }
    }))
}

/// How many bytes an answer says have come: `Range: 0-99` is a hundred. `0-0` is taken for none, for that is how
/// registries write it.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let text = text_of(headers, &RANGE)?.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    let first: u64 = first.trim().parse().ok()?;
    let last: u64 = last.trim().parse().ok()?;
    match (first, last) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

/// The address with this digest, which ends the upload. What the address has in its query stays as it is.
pub(super) fn finished(location: &Url, digest: &str) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut().append_pair("digest", digest);
    url
}

/// Whether an address may be written to a disk: it must not be a key by itself.
pub(super) fn may_be_kept(url: &Url) -> bool {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET.iter().any(|word| name.contains(word))
    };
    let has_login = !url.username().is_empty() || url.password().is_some();
    !has_login && !url.query_pairs().any(|(name, _)| is_secret(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn locations_may_be_relative() {
        let asked: Url = "https://r.test/v2/app/blobs/uploads/".parse().unwrap();
        let check = |text: &str, expected: Option<&str>| {
            let found = location(&asked, &headers(LOCATION, text)).unwrap().ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{text}");
        };
        check(
            "/v2/app/blobs/uploads/1?_state=a%3D",
            Some("https://r.test/v2/app/blobs/uploads/1?_state=a%3D"),
        );
        check("1", Some("https://r.test/v2/app/blobs/uploads/1"));
        check("https://s.test/1#x", Some("https://s.test/1"));
        check("file:///etc/passwd", None);
        check("https://", None);
        assert!(location(&asked, &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_digest_is_added_to_what_is_there() {
        let check = |location: &str, expected: &str| {
            assert_eq!(finished(&location.parse().unwrap(), "sha256:1").as_str(), expected);
        };
        check("https://r.test/1", "https://r.test/1?digest=sha256%3A1");
        check(
            "https://r.test/1?_state=a%3D%3D&b=+",
            "https://r.test/1?_state=a%3D%3D&b=+&digest=sha256%3A1",
        );
    }

    #[test]
    fn ranges_tell_how_much_came() {
        let check = |text: &str, expected| {
            assert_eq!(received(&headers(RANGE, text)), expected, "{text}");
        };
        check("0-99", Some(100));
        check("bytes=0-99", Some(100));
        check("0-0", Some(0));
        check("0-18446744073709551615", None);
        for text in ["", "5-9", "x", "0-x", "-"] {
            check(text, None);
        }
    }

    #[test]
    fn a_signed_address_is_not_kept() {
        let check =
            |text: &str, expected| assert_eq!(may_be_kept(&text.parse().unwrap()), expected);
        check("https://r.test/v2/app/blobs/uploads/1?_state=abc", true);
        check("https://r.test/1", true);
        check("https://me:pw@r.test/1", false);
        check("https://me@r.test/1", false);
        check("https://:pw@r.test/1", false);
        check("https://r.test/1?X-Amz-Signature=abc", false);
        check("https://r.test/1?access_Token=abc", false);
    }
}
