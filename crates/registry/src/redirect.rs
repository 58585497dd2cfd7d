//! Where a redirect may lead.

use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode, Url};

use crate::endpoint::{Insecure, is_loopback};
use crate::transport::Exchange;

/// More redirects than anybody needs.
const LIMIT: usize = 10;

/// The way that a request has come.
#[derive(Debug)]
pub(crate) struct Trail(Vec<Url>);

impl Trail {
    pub(crate) fn new(start: &Url) -> Self {
        Self(vec![start.clone()])
    }

    /// The next address, if it may be gone to.
    pub(crate) fn next(
        &mut self,
        location: &str,
        insecure: &Insecure,
    ) -> Result<Url, &'static str> {
        let Some(here) = self.0.last() else { return Err("redirect from nowhere") };
        let mut next = here.join(location).map_err(|_| "malformed redirect")?;
        check_scheme(here, &next, insecure)?;
        // A login in a Location would be somebody else's idea of who we are; a fragment is never sent.
        if next.set_username("").and_then(|()| next.set_password(None)).is_err() {
            return Err("malformed redirect");
        }
        next.set_fragment(None);
        if self.0.contains(&next) {
            return Err("redirect loop");
        }
        if self.0.len() > LIMIT {
            return Err("too many redirects");
        }
        self.0.push(next.clone());
        Ok(next)
    }
}

fn check_scheme(from: &Url, to: &Url, insecure: &Insecure) -> Result<(), &'static str> {
    let is_local = |url: &Url| is_loopback(url.host_str().unwrap_or_default());
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(()),
        ("https", "http") if is_local(from) && is_local(to) || insecure.lists(to) => Ok(()),
        ("https", "http") => Err(DOWNGRADE),
        _ => Err("redirect to something else than HTTP"),
    }
}

/// The reason that makes a redirect unsafe, not just useless.
pub(crate) const DOWNGRADE: &str = "redirect from https to plain http refused";

/// The same, where what is sent is itself the login.
pub(crate) const ANOTHER_HOST: &str = "redirect of a login to another host refused";

/// The target of an answer that is a redirect. One without a target is an answer like any other, and so is one that would
/// turn an upload into a plain question.
pub(crate) fn location(method: &Method, exchange: &Exchange) -> Option<String> {
    let is_redirect = match exchange.status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            method.is_safe()
        }
        _ => false,
    };
    let location = exchange.headers.get(LOCATION).filter(|_| is_redirect)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, location: &str, expected: Result<&str, &str>) {
        let insecure = Insecure::new(&["plain.test".to_owned()]).unwrap();
        let found = Trail::new(&from.parse().unwrap()).next(location, &insecure);
        assert_eq!(found.as_ref().map(Url::as_str).map_err(|reason| *reason), expected);
    }

    #[test]
    fn locations_may_be_relative() {
        check("https://a.test/v2/x", "/y?z", Ok("https://a.test/y?z"));
        check("https://a.test/v2/x", "y", Ok("https://a.test/v2/y"));
        check("https://a.test/v2/x", "//b.test/y", Ok("https://b.test/y"));
        check("http://a.test/v2/x", "https://b.test/", Ok("https://b.test/"));
        check("https://a.test/v2/x", "https://u:p@b.test/#f", Ok("https://b.test/"));
    }

    #[test]
    fn no_redirect_leads_to_a_less_secure_scheme() {
        check("https://a.test/", "http://a.test/x", Err(DOWNGRADE));
        check("https://a.test/", "http://127.0.0.1/x", Err(DOWNGRADE));
        check("https://127.0.0.1:1/", "http://localhost:2/x", Ok("http://localhost:2/x"));
        check("https://a.test/", "http://plain.test/x", Ok("http://plain.test/x"));
        check("https://a.test/", "file:///etc/passwd", Err("redirect to something else than HTTP"));
        check("https://a.test/", "https://", Err("malformed redirect"));
    }

    #[test]
    fn loops_and_long_ways_end() {
        let mut trail = Trail::new(&"https://a.test/0".parse().unwrap());
        for n in 1..=10 {
            trail.next(&format!("/{n}"), &Insecure::default()).unwrap();
        }
        assert_eq!(trail.next("/3", &Insecure::default()), Err("redirect loop"));
        assert_eq!(trail.next("/11", &Insecure::default()), Err("too many redirects"));
    }
}
