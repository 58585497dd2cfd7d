//! Proxies of the environment, as everybody else's programs take them.

use kit::{Auth, Output, Registry, Sandbox, pipeline};
use serde_json::json;

use crate::fixtures::{assert_one_line, demo};

const SECRET: &str = "hunter2";

/// A registry that wants a login, its host as it is not loopback's by name, and a sandbox that has the login.
fn start() -> (Registry, String, Sandbox) {
    let registry = Registry::with_auth(Auth::basic("me", SECRET));
    registry.add("app:1", demo());
    let host = format!("0.0.0.0:{}", registry.host().rsplit_once(':').unwrap().1);
    let sandbox = Sandbox::new();
    let auth = kit::registry::auth::base64(format!("me:{SECRET}").as_bytes());
    let config = json!({ "auths": { &*host: { "auth": auth } } });
    sandbox.write("auth.json", config.to_string());
    (registry, host, sandbox)
}

fn pull(sandbox: &Sandbox, variables: &str, words: &str) -> Output {
    let script = format!("{variables} pull --no-stream --authfile auth.json {words}");
    pipeline::sh(sandbox, &script)
}

#[test]
fn an_excepted_registry_is_asked_directly_and_no_proxy_sees_the_login() {
    let (registry, host, sandbox) = start();
    // Whoever is asked here writes down all that it hears; it would be a proxy.
    let proxy = Registry::start();
    let proxies = format!("HTTPS_PROXY={} HTTP_PROXY={}", proxy.host(), proxy.host());
    for exceptions in [format!("NO_PROXY={host}"), format!("NO_PROXY= no_proxy=x,{host}")] {
        let words = format!("--insecure {host} {host}/app:1");
        pull(&sandbox, &format!("{proxies} {exceptions}"), &words).success();
    }
    assert!(registry.requests().iter().any(|it| it.authorization.is_some()));
    assert_eq!(proxy.requests().len(), 0);
    let explained = pull(
        &sandbox,
        &format!("{proxies} NO_PROXY={host}"),
        &format!("--explain-auth {host}/app:1"),
    );
    let expected = format!("proxy: none (NO_PROXY={host})\n");
    assert!(explained.success().out().contains(&expected), "{}", explained.out());
    let explained = pull(&sandbox, &proxies, &format!("--explain-auth {host}/app:1"));
    let expected = format!("proxy: http://{} (HTTPS_PROXY)\n", proxy.host());
    assert!(explained.success().out().contains(&expected), "{}", explained.out());
}

#[test]
fn a_malformed_proxy_is_wrong_usage_and_shown_to_nobody() {
    let (registry, _, sandbox) = start();
    let output = pull(&sandbox, "HTTPS_PROXY=http://me:hunter2@:80", &registry.name("app:1"));
    assert_one_line(output.fails_with(2), "pull");
    assert!(output.stderr.contains("HTTPS_PROXY: not an address\nhint: "), "{}", output.stderr);
    assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
    assert!(registry.requests().is_empty());
}
