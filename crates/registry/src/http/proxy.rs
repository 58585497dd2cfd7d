//! Proxies, by the rules of Go's `httpproxy`, which docker, podman, skopeo and crane follow.
//!
//! `HTTPS_PROXY` is for addresses with TLS, `HTTP_PROXY` for those without; a variable in lower case counts where the
//! one in upper case is unset or empty. `ALL_PROXY`, which Go doesn't know, counts where neither is set. `NO_PROXY`
//! lists the hosts that are asked directly. Loopback never has a proxy.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use url::Url;

use crate::base::{Error, is_loopback, one_line};

const HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The schemes of proxies.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// The proxies that the environment names.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Setting>,
    https: Option<Setting>,
    exceptions: Option<(&'static str, Exceptions)>,
}

/// A variable that names a proxy.
#[derive(Clone)]
struct Setting {
    variable: &'static str,
    proxy: Result<Url, &'static str>,
}

impl Proxies {
    /// No proxies at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The proxies of the environment.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The proxies of an environment. A malformed one is told when a client is made.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = variable(name).filter(|value| !value.is_empty())?;
                Some((*name, value))
            })
        };
        let setting = |(variable, value): (_, OsString)| Setting { variable, proxy: parse(&value) };
        let exceptions = first(&EXCEPTIONS);
        Self {
            http: first(&HTTP).map(setting),
            https: first(&HTTPS).map(setting),
            exceptions: exceptions
                .map(|(name, value)| (name, Exceptions::new(&value.to_string_lossy()))),
        }
    }

    /// Checks that all proxies are addresses.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedProxy`] names the variable.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for Setting { variable, proxy } in self.http.iter().chain(&self.https) {
            if let Err(reason) = proxy {
                return Err(Error::MalformedProxy { variable, reason });
            }
        }
        Ok(())
    }

    /// The proxy by which an address is asked; none if it is asked directly.
    pub(crate) fn of(&self, url: &Url) -> Option<&Url> {
        let setting = self.setting(url)?;
        if is_loopback(url.host_str().unwrap_or_default()) || self.exempts(url) {
            return None;
        }
        setting.proxy.as_ref().ok()
    }

    /// The same in words: the proxy without its login, and the variable that names it.
    pub(crate) fn describe(&self, url: &Url) -> String {
        match (self.setting(url), self.of(url), &self.exceptions) {
            (None, ..) => "none".to_owned(),
            (Some(Setting { variable, .. }), Some(proxy), _) => {
                format!("{} ({variable})", without_login(proxy))
            }
            (Some(Setting { variable, proxy: Err(reason) }), ..) => {
                format!("{variable} is malformed: {reason}")
            }
            (Some(_), None, Some((name, exceptions))) if self.exempts(url) => {
                format!("none ({name}={})", one_line(&exceptions.text))
            }
            (Some(_), None, _) => "none (this machine itself)".to_owned(),
        }
    }

    fn setting(&self, url: &Url) -> Option<&Setting> {
        if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }
    }

    fn exempts(&self, url: &Url) -> bool {
        self.exceptions.as_ref().is_some_and(|(_, exceptions)| exceptions.name(url))
    }
}

/// The proxies, without their logins.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |setting: Option<&Setting>| {
            setting.map(|setting| match &setting.proxy {
                Ok(proxy) => without_login(proxy),
                Err(reason) => (*reason).to_owned(),
            })
        };
        f.debug_struct("Proxies")
            .field("http", &shown(self.http.as_ref()))
            .field("https", &shown(self.https.as_ref()))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

/// A proxy's address. One without a scheme is meant to be HTTP.
fn parse(value: &OsString) -> Result<Url, &'static str> {
    let text = value.to_str().ok_or("not text")?.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // A malformed address is not shown, for it may hold a password.
    let mut url: Url = whole.parse().map_err(|_| "not an address")?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err("neither an http, https, socks5 nor socks5h address");
    }
    if url.host_str().unwrap_or_default().is_empty() {
        return Err("not an address");
    }
    // Go lets the proxy look names up.
    if url.scheme() == "socks5" && url.set_scheme("socks5h").is_err() {
        return Err("not an address");
    }
    Ok(url)
}

/// `scheme://host:port`.
fn without_login(proxy: &Url) -> String {
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", proxy.scheme(), proxy.host_str().unwrap_or_default())
}

/// Hosts that are asked without a proxy.
#[derive(Clone, Debug)]
struct Exceptions {
    text: String,
    rules: Vec<Rule>,
}

/// One host, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Everything,
    /// `198.51.100.0/24`: an address, and how many bits of it count.
    Network(IpAddr, u32),
    /// `198.51.100.7`, `198.51.100.7:5000`.
    Address(IpAddr, Option<u16>),
    /// `.example.com`, with the port if one was given.
    Domain {
        suffix: String,
        /// Whether `example.com` itself is meant too, which it isn't by `.example.com` and `*.example.com`.
        with_itself: bool,
        port: Option<u16>,
    },
}

impl Exceptions {
    fn new(text: &str) -> Self {
        let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
        let rules = words.filter_map(|word| Rule::parse(&word)).collect();
        Self { text: text.to_owned(), rules }
    }

    /// Whether the host of an address is among them.
    fn name(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = url.port_or_known_default();
        let address = host.parse::<IpAddr>().ok();
        self.rules.iter().any(|rule| rule.fits(&host, address, port))
    }
}

impl Rule {
    fn parse(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = word.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            return (bits <= width(address)).then_some(Self::Network(address.to_canonical(), bits));
        }
        let (host, port) = host_and_port(word)?;
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let bare = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        if bare.trim_start_matches('.').is_empty() {
            return None;
        }
        let with_itself = !bare.starts_with('.');
        let suffix = if with_itself { format!(".{bare}") } else { bare.to_owned() };
        Some(Self::Domain { suffix, with_itself, port })
    }

    /// Whether it names a host, whose address is known if the host is one.
    fn fits(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let is_ours = |wanted: Option<u16>| wanted.is_none() || wanted == port;
        let address = address.map(|address| address.to_canonical());
        match self {
            Self::Everything => true,
            Self::Network(network, bits) => {
                address.is_some_and(|address| contains(*network, *bits, address))
            }
            Self::Address(wanted, port) => address == Some(*wanted) && is_ours(*port),
            Self::Domain { suffix, with_itself, port } => {
                let is_below = host.ends_with(suffix);
                let is_itself = *with_itself && suffix.strip_prefix('.') == Some(host);
                address.is_none() && (is_below || is_itself) && is_ours(*port)
            }
        }
    }
}

/// A host, and its port if there is one; nothing for what can be neither.
fn host_and_port(word: &str) -> Option<(&str, Option<u16>)> {
    let is_address = word.parse::<IpAddr>().is_ok();
    match word.rsplit_once(':').filter(|(_, port)| !is_address && !port.ends_with(']')) {
        None => Some((word, None)),
        Some(("", _)) => None,
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
    }
}

/// How many bits an address has.
fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether the first `bits` of an address are those of a network.
fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let number = |address| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let rest = width(network) - bits.min(width(network));
    let differs = number(network) ^ number(address);
    network.is_ipv4() == address.is_ipv4() && differs.checked_shr(rest).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Proxies::from_variables(|name| find(name).map(|(_, value)| OsString::from(value)))
    }

    #[track_caller]
    fn check(variables: &[(&str, &str)], url: &str, expected: &str) {
        assert_eq!(proxies(variables).describe(&url.parse().unwrap()), expected);
    }

    #[test]
    fn the_variable_that_counts_is_the_one_that_is_named() {
        let tls = "https://r.test/";
        check(&[], tls, "none");
        check(&[("HTTPS_PROXY", "")], tls, "none");
        let shown = "http://p.test:3128 (HTTPS_PROXY)";
        check(&[("HTTPS_PROXY", "http://me:hunter2@p.test:3128/")], tls, shown);
        check(&[("HTTPS_PROXY", "p.test:3128"), ("https_proxy", "q.test")], tls, shown);
        // An empty one hides nothing.
        check(
            &[("HTTPS_PROXY", ""), ("https_proxy", "q.test")],
            tls,
            "http://q.test (https_proxy)",
        );
        check(&[("all_proxy", "me:hunter2@p.test")], tls, "http://p.test (all_proxy)");
        check(&[("HTTP_PROXY", "p.test")], tls, "none");
        check(&[("HTTPS_PROXY", "p.test")], "http://r.test/", "none");
        check(&[("http_proxy", "p.test")], "http://r.test/", "http://p.test (http_proxy)");
        check(
            &[("HTTPS_PROXY", "p.test")],
            "https://127.0.0.1:5000/",
            "none (this machine itself)",
        );
        let variables = [("HTTPS_PROXY", "p.test"), ("no_proxy", "r.test")];
        check(&variables, tls, "none (no_proxy=r.test)");
        check(&variables, "https://s.test/", "http://p.test (HTTPS_PROXY)");
        check(&[("HTTPS_PROXY", "socks5://p.test:9")], tls, "socks5h://p.test:9 (HTTPS_PROXY)");
    }

    #[test]
    fn what_is_no_proxy_is_told_without_a_word_of_it() {
        for value in
            ["hunter2 hunter2", "http://", "ftp://hunter2@p.test", "http://p:hunter2", "://"]
        {
            let proxies = proxies(&[("https_proxy", value)]);
            let error = proxies.check().unwrap_err();
            let text = format!("{error} {proxies:?}");
            assert!(text.starts_with("https_proxy") && !text.contains("hunter2"), "{text}");
        }
        let proxies = proxies(&[("https_proxy", "http://me:hunter2@p.test")]);
        assert!(proxies.check().is_ok() && !format!("{proxies:?}").contains("hunter2"));
    }

    /// As Go's own tests of `NO_PROXY` have it.
    #[test]
    fn exceptions_are_hosts_ports_networks_and_domains() {
        let goes_direct = |exceptions: &str, hosts: &[&str], is_direct: bool| {
            for host in hosts {
                let proxies = proxies(&[("HTTPS_PROXY", "p.test"), ("NO_PROXY", exceptions)]);
                let url = format!("https://{host}/").parse().unwrap();
                assert_eq!(proxies.of(&url).is_none(), is_direct, "{exceptions} {host}");
            }
        };
        let check = |exceptions: &str, direct: &[&str], by_proxy: &[&str]| {
            goes_direct(exceptions, direct, true);
            goes_direct(exceptions, by_proxy, false);
        };
        let all = ["r.test", "a.r.test", "198.51.100.7", "[2001:db8::7]:5000"];
        check("*", &all, &[]);
        check("x.test, *", &all, &[]);
        check("", &[], &all);
        check("r.test", &["r.test", "R.test", "a.r.test", "r.test:5000"], &["ar.test", "r.test.x"]);
        check(".r.test", &["a.r.test", "a.b.r.test:5000"], &["r.test", "ar.test"]);
        check("*.r.test", &["a.r.test"], &["r.test", "ar.test"]);
        // skopeo#588
        check("r.test:5000", &["r.test:5000", "a.r.test:5000"], &["r.test", "r.test:5001"]);
        check("r.test:443", &["r.test", "r.test:443"], &["r.test:5000"]);
        check("*.r.test:5000", &["a.r.test:5000"], &["a.r.test", "r.test:5000"]);
        check("198.51.100.7", &["198.51.100.7", "198.51.100.7:5000"], &["198.51.100.8"]);
        check("198.51.100.7:5000", &["198.51.100.7:5000"], &["198.51.100.7", "198.51.100.7:5001"]);
        check("198.51.100.0/24", &["198.51.100.7", "198.51.100.255:5000"], &["198.51.101.7"]);
        check("198.51.100.7/32", &["198.51.100.7"], &["198.51.100.6"]);
        check("0.0.0.0/0", &["198.51.100.7"], &["[2001:db8::7]", "r.test"]);
        check("2001:db8::/32", &["[2001:db8::7]", "[2001:db8:1::]:5000"], &["[2001:db9::7]"]);
        check("2001:db8::7", &["[2001:db8::7]:5000"], &["[2001:db8::8]"]);
        check("[2001:db8::7]:5000", &["[2001:db8::7]:5000"], &["[2001:db8::7]"]);
        check(" x.test ,, r.test ", &["r.test", "x.test"], &["y.test"]);
        // Nonsense names no host, and what stands beside it counts.
        check(":5000,r.test:x,/8,1.2.3.4/33,.,*.,s.test", &["s.test"], &all);
        check("100.7", &[], &["198.51.100.7"]);
    }

    #[test]
    fn this_machine_has_no_proxy() {
        let proxies = proxies(&[("ALL_PROXY", "p.test")]);
        for host in ["localhost", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000", "[::ffff:127.0.0.1]"]
        {
            assert!(proxies.of(&format!("http://{host}/").parse().unwrap()).is_none(), "{host}");
        }
    }
}
