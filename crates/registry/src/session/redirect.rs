//! Redirects: where one may lead, and a request that follows them.

use http::header::{AUTHORIZATION, LOCATION};
use http::{Method, StatusCode};
use url::Url;

use super::response::transport_failure;
use super::state::Session;
use crate::base::{Error, Failure, InsecureHosts, authority, is_loopback};
use crate::http::{Exchange, NOT_FOR_STRANGERS, Reach, Request};

/// How many redirects of one request are followed at most.
const LIMIT: usize = 10;

/// The reason of a redirect to a less secure scheme.
const DOWNGRADE: &str = "redirect from https to plain http refused";

/// The reason of a redirect to another host where what is sent is itself the login.
const ANOTHER_HOST: &str = "redirect of a login to another host refused";

impl Session {
    /// Checks that the host of one address may send us to another. Gives back whether a name there is to be looked up
    /// with care. On one and the same host there is nothing to be checked.
    ///
    /// # Errors
    ///
    /// The reason why the address is not gone to.
    pub(super) fn may_lead(&self, from: &Url, to: &Url) -> Result<bool, &'static str> {
        if from.host_str() == to.host_str() {
            return Ok(false);
        }
        let reach = self.transport().reach(from);
        if reach.may_name(Reach::of(to)) {
            Ok(reach != Reach::Machine)
        } else {
            Err(NOT_FOR_STRANGERS)
        }
    }

    /// Follows the redirects of an answer. Gives back the address that answered in the end, and its answer. A login is
    /// left behind where the origin (scheme, host or port) changes, for good.
    pub(super) fn follow(
        &self,
        what: &str,
        request: &Request,
        mut exchange: Exchange,
    ) -> Result<(Url, Exchange), Failure> {
        let mut request = request.clone();
        request.headers.retain(|(name, _)| *name != AUTHORIZATION);
        let mut chain = RedirectChain::new(&request.url);
        while let Some(location) = location(&request.method, &exchange) {
            let refused = |reason| refused_redirect(what, reason);
            let next = chain.next(&location, &self.insecure).map_err(refused)?;
            request.is_guarded |= self.may_lead(&request.url, &next).map_err(refused)?;
            if next.origin() != request.url.origin() {
                if request.form.is_some() {
                    return Err(refused(ANOTHER_HOST).into());
                }
                request.authorization = None;
                request.private.clear();
            }
            request.url = next;
            let host = authority(&request.url);
            exchange =
                self.send(&request).map_err(|error| transport_failure(error, what, &host))?;
        }
        Ok((request.url, exchange))
    }
}

fn refused_redirect(what: &str, reason: &'static str) -> Error {
    let what = what.to_owned();
    match reason {
        DOWNGRADE | NOT_FOR_STRANGERS | ANOTHER_HOST => Error::Protocol { what, reason },
        _ => Error::Redirect { what, reason },
    }
}

/// The addresses that a request has been sent to.
#[derive(Debug)]
struct RedirectChain(Vec<Url>);

impl RedirectChain {
    fn new(start: &Url) -> Self {
        Self(vec![start.clone()])
    }

    /// The next address.
    ///
    /// # Errors
    ///
    /// The reason why it is not gone to.
    fn next(&mut self, location: &str, insecure: &InsecureHosts) -> Result<Url, &'static str> {
        let Some(here) = self.0.last() else { return Err("redirect from nowhere") };
        let mut next = here.join(location).map_err(|_| "malformed redirect")?;
        check_scheme(here, &next, insecure)?;
        // A login in a Location is not one of ours; a fragment is never sent.
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

fn check_scheme(from: &Url, to: &Url, insecure: &InsecureHosts) -> Result<(), &'static str> {
    let is_local = |url: &Url| is_loopback(url.host_str().unwrap_or_default());
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(()),
        ("https", "http") if is_local(from) && is_local(to) || insecure.contains(to) => Ok(()),
        ("https", "http") => Err(DOWNGRADE),
        _ => Err("redirect to something else than HTTP"),
    }
}

/// The target of an answer that is a redirect. One without a target is an answer like any other, and so is one that
/// would turn an upload into a plain question.
fn location(method: &Method, exchange: &Exchange) -> Option<String> {
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
        let insecure = InsecureHosts::new(&["plain.test".to_owned()]).unwrap();
        let found = RedirectChain::new(&from.parse().unwrap()).next(location, &insecure);
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
        let mut chain = RedirectChain::new(&"https://a.test/0".parse().unwrap());
        for n in 1..=10 {
            chain.next(&format!("/{n}"), &InsecureHosts::default()).unwrap();
        }
        assert_eq!(chain.next("/3", &InsecureHosts::default()), Err("redirect loop"));
        assert_eq!(chain.next("/11", &InsecureHosts::default()), Err("too many redirects"));
    }
}
