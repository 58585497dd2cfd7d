//! Hosts and addresses: names of registries as hosts, schemes, loopback, and the hosts that may be insecure.

use std::net::IpAddr;

use url::Url;

use super::Error;

/// The registry that names without a host mean.
pub(crate) const HUB: &str = "docker.io";
/// The host behind that name.
const HUB_HOST: &str = "registry-1.docker.io";
/// The longest part of a malformed host that an error shows, in characters.
const SHOWN_LENGTH: usize = 300;

/// The host on the network of a registry with this name.
pub(crate) fn network_host(registry: &str) -> &str {
    if registry == HUB { HUB_HOST } else { registry }
}

/// HTTP with or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme as it stands in an address.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Hosts that may speak plain HTTP or show any certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct InsecureHosts(Vec<String>);

impl InsecureHosts {
    /// The hosts of a list, each with or without a port.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedHost`] for an entry that is no host.
    pub(crate) fn new(hosts: &[String]) -> Result<Self, Error> {
        let check = |host: &String| match parse_host(host) {
            Some(url) => Ok(with_written_port(&url, host)),
            None => Err(malformed_host(host)),
        };
        hosts.iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the host of `url` is listed. An entry without a port stands for all its ports.
    pub(crate) fn contains(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        self.0.iter().any(|entry| entry == host || *entry == with_port)
    }
}

/// The error for a text that is no host.
pub(crate) fn malformed_host(text: &str) -> Error {
    Error::MalformedHost { text: text.chars().take(SHOWN_LENGTH).collect() }
}

/// The address `https://HOST/` of a host with or without a port; none if the text is no host, or more than that.
pub(crate) fn parse_host(host: &str) -> Option<Url> {
    let url: Url = format!("https://{host}/").parse().ok()?;
    let is_plain = !host.contains(['/', '@', '?', '#', '\\']) && !host.is_empty();
    is_plain.then_some(url).filter(|url| url.path() == "/")
}

/// `host:port` where `text` gave a port (the parser drops one that is the scheme's own), `host` otherwise.
fn with_written_port(url: &Url, text: &str) -> String {
    let host = url.host_str().unwrap_or_default();
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    match url.port_or_known_default().filter(|_| has_port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The host of an address, with its port unless that is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a host, as it stands in an address, is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "a/b", "user@host", "a b", "http://a", "a:b", "1.2.3.4.5"] {
            assert!(InsecureHosts::new(&[host.to_owned()]).is_err(), "{host}");
        }
    }

    #[test]
    fn an_authority_has_the_port_that_is_not_the_schemes_own() {
        let check = |text: &str, expected: &str| {
            assert_eq!(authority(&text.parse().unwrap()), expected);
        };
        check("https://r.test/x", "r.test");
        check("https://r.test:443/x", "r.test");
        check("http://r.test:443/x", "r.test:443");
        check("https://[::1]:5000/", "[::1]:5000");
    }
}
