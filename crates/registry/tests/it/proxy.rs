//! Proxies: who is asked through one, and that nobody else sees a login.

use std::ffi::OsString;

use kit::{Auth, Registry};
use registry::{Client, Credentials, Error, Login, Options, Proxies, Secret};
use report::{ErrorKind, HasKind as _};

use crate::script::{Script, answer};
use crate::support::{chain, descriptor, open_with, options};

/// The proxies of an environment with these variables.
fn proxies(variables: &[(&str, &str)]) -> Proxies {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
    Proxies::from_variables(|name| find(name).map(|(_, value)| OsString::from(value)))
}

/// A registry that wants a login; and its host as it is not loopback's by name, though it is this machine.
fn start() -> (Registry, String) {
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    registry.add_blob("app", "hi");
    let port = registry.host().rsplit_once(':').unwrap().1.to_owned();
    (registry, format!("0.0.0.0:{port}"))
}

fn with(host: &str, variables: &[(&str, &str)]) -> Options {
    let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
    let credentials = Credentials::none().with(host, login);
    let insecure = vec![host.to_owned()];
    Options { credentials, insecure, proxies: proxies(variables), ..options() }
}

#[test]
fn an_excepted_host_and_port_is_asked_directly_and_the_proxy_sees_nothing() {
    let (registry, host) = start();
    let port = host.rsplit_once(':').unwrap().1;
    // skopeo#588; by Go's rules a host's port, an address' port and a network count too.
    for exception in ["*", "0.0.0.0", &host, "0.0.0.0/8", &format!("x.test, 0.0.0.0:{port}")] {
        let proxy = Script::plain(vec![]);
        let variables =
            [("HTTP_PROXY", &*proxy.host), ("HTTPS_PROXY", &proxy.host), ("NO_PROXY", exception)];
        let repository = open_with(with(&host, &variables), &format!("{host}/app"));
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi", "{exception}");
        assert_eq!(proxy.requests(), [""; 0], "{exception}");
    }
    assert!(registry.requests().iter().any(|it| it.authorization.is_some()));
}

#[test]
fn another_host_is_asked_by_the_proxy() {
    for exception in ["r.test:5000", "x.test", "198.51.100.0/24", ".r.test", "*.r.test"] {
        let proxy = Script::plain(vec![answer(503, "", b""), answer(200, "", b"hi")]);
        let url = format!("http://{}", proxy.host);
        let variables = [("https_proxy", &*url), ("http_proxy", &url), ("no_proxy", exception)];
        let repository = open_with(with("r.test", &variables), "r.test/app");
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi", "{exception}");
        let requests = proxy.requests();
        assert!(requests[0].starts_with("CONNECT r.test:443 HTTP/1.1\r\n"), "{requests:?}");
        assert!(requests[1].starts_with("GET http://r.test/v2/app/blobs/sha256:"), "{requests:?}");
    }
}

#[test]
fn a_proxy_gets_its_own_login_and_nobody_elses() {
    let proxy = Script::plain(vec![answer(503, "", b""), answer(200, "", b"hi")]);
    let url = format!("http://you:s3cret@{}", proxy.host);
    let options = with("r.test", &[("HTTPS_PROXY", &url), ("HTTP_PROXY", &url)]);
    assert!(!format!("{options:?}").contains("s3cret"));
    let repository = open_with(options, "r.test/app");
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    for request in proxy.requests() {
        let request = request.to_lowercase();
        assert!(request.contains("proxy-authorization: basic ew91onmzy3jlda=="), "{request}");
        assert!(!request.contains("\r\nauthorization:"), "{request}");
    }
}

#[test]
fn a_malformed_proxy_is_wrong_usage_before_anybody_is_asked() {
    for (variable, value) in [
        ("HTTPS_PROXY", "http://me:hunter2@:8080"),
        ("https_proxy", "htp://hunter2"),
        ("HTTP_PROXY", "hunter2 hunter2"),
        ("ALL_PROXY", "socks4://hunter2"),
    ] {
        let proxies = proxies(&[(variable, value)]);
        let error = Client::new(Options { proxies, ..options() }).unwrap_err();
        let text = chain(&error);
        assert!(matches!(error, Error::MalformedProxy { .. }), "{text}");
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(text.starts_with(&format!("{variable}: ")) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_variable_that_is_used_is_the_one_that_is_told() {
    let check = |host: &str, variables: &[(&str, &str)], expected: &[&str]| {
        let client = Client::new(with("plain.test", variables)).unwrap();
        let plan = client.explain(&format!("{host}/app").parse().unwrap()).unwrap();
        let told: Vec<_> = plan.iter().filter(|line| line.starts_with("proxy")).collect();
        assert_eq!(told, expected, "{host}");
    };
    let both = [("HTTPS_PROXY", ""), ("https_proxy", "a.test:1"), ("HTTP_PROXY", "b.test:2")];
    check("r.test", &both, &["proxy: http://a.test:1 (https_proxy)"]);
    let plain = "proxy for plain HTTP: http://b.test:2 (HTTP_PROXY)";
    check("plain.test", &both, &["proxy: http://a.test:1 (https_proxy)", plain]);
    let excepted = [("HTTPS_PROXY", "a.test:1"), ("no_proxy", "r.test:443")];
    check("r.test", &excepted, &["proxy: none (no_proxy=r.test:443)"]);
    check("r.test:5000", &excepted, &["proxy: http://a.test:1 (HTTPS_PROXY)"]);
    check("127.0.0.1:5000", &excepted, &["proxy: none (this machine itself)"]);
}
