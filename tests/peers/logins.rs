//! The real registry with a login, behind TLS, without what is asked for, and not there at all.

use insta::assert_snapshot;
use kit::peers::docker_registry::{DockerRegistry, Login, PASSWORD, Setup, Transport, USER};
use kit::registry::auth::base64;
use kit::{Image, Output, Sandbox};
use serde_json::json;

use crate::layers::small;
use crate::published;

const OPEN: Setup = Setup::PLAIN;
const LOCKED: Setup = Setup { login: Login::Htpasswd, ..OPEN };
const TLS: Setup = Setup { transport: Transport::Tls, ..OPEN };

/// A registry with an image in it as `app:1`, and a user of it.
struct User {
    registry: DockerRegistry,
    sandbox: Sandbox,
}

impl User {
    fn of(setup: &Setup) -> Option<Self> {
        let (registry, _) = published::app(setup, &small(Image::new()))?;
        Some(Self { registry, sandbox: Sandbox::new() })
    }

    /// What `docker login` leaves behind.
    fn log_in(&self, password: &str) {
        let auth = base64(format!("{USER}:{password}").as_bytes());
        let config = json!({ "auths": { self.registry.host(): { "auth": auth } } });
        self.sandbox.write("../home/.docker/config.json", config.to_string());
    }

    fn pull(&self, name: &str) -> Output {
        self.pull_with(name, &[])
    }

    fn pull_with(&self, name: &str, env: &[(&str, &str)]) -> Output {
        let name = format!("{}/{name}", self.registry.host());
        let pull = self.sandbox.command("pull").args(["--no-stream", &name]);
        env.iter().fold(pull, |pull, (key, value)| pull.env(key, value)).run()
    }

    /// What was said, whatever the port.
    fn text(&self, output: &Output) -> String {
        output.text_without(&[(&self.registry.host(), "[REGISTRY]")])
    }
}

#[track_caller]
fn assert_pulled(output: &Output) {
    assert_eq!(output.success().out().trim_end(), small(Image::new()).digest());
}

#[test]
fn a_login_of_dockers_is_used() {
    let Some(user) = User::of(&LOCKED) else { return };
    user.log_in(PASSWORD);
    assert_pulled(&user.pull("app:1"));
    // Who is logged in is told that there is no such thing, and not to log in.
    assert_snapshot!(user.text(&user.pull("none:1")), @"
    status: 3
    --- stderr
    pull: [REGISTRY]/none:1: not found: manifest unknown (MANIFEST_UNKNOWN)
    ");
}

#[test]
fn a_wrong_password_and_none_are_refused() {
    let Some(user) = User::of(&LOCKED) else { return };
    assert_snapshot!(user.text(&user.pull("app:1")), @"
    status: 6
    --- stderr
    pull: [REGISTRY]/app:1: not authorised: no login known for [REGISTRY]: authentication required (UNAUTHORIZED)
    hint: log in: remote login [REGISTRY]
    ");
    user.log_in("wrong");
    assert_snapshot!(user.text(&user.pull("app:1")), @"
    status: 6
    --- stderr
    pull: [REGISTRY]/app:1: not authorised: the login from [SANDBOX]/home/.docker/config.json was refused: authentication required (UNAUTHORIZED)
    hint: log in again: remote login [REGISTRY]
    ");
}

#[test]
fn an_image_that_is_not_there_is_not_found() {
    let Some(user) = User::of(&OPEN) else { return };
    assert_snapshot!(user.text(&user.pull("app:2")), @"
    status: 3
    --- stderr
    pull: [REGISTRY]/app:2: not found: manifest unknown (MANIFEST_UNKNOWN)
    ");
    assert_snapshot!(user.text(&user.pull("none:1")), @"
    status: 3
    --- stderr
    pull: [REGISTRY]/none:1: not found: manifest unknown (MANIFEST_UNKNOWN)
    ");
    let absent = format!("app@sha256:{:064}", 0);
    assert_snapshot!(user.text(&user.pull(&absent)), @"
    status: 3
    --- stderr
    pull: [REGISTRY]/app@sha256:000000000000: not found: manifest unknown (MANIFEST_UNKNOWN)
    ");
}

#[test]
fn a_registry_that_is_not_there_is_trouble_that_may_pass() {
    let Some(User { registry, sandbox }) = User::of(&OPEN) else { return };
    let host = registry.host();
    drop(registry);
    let output = sandbox.command("pull").args(["--no-stream", &format!("{host}/app:1")]).run();
    assert_snapshot!(output.text_without(&[(&host, "[REGISTRY]")]), @"
    status: 5
    --- stderr
    pull: [REGISTRY]/app:1: connecting to [REGISTRY]: connection refused
    ");
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let Some(user) = User::of(&TLS) else { return };
    let authority = user.registry.authority();
    let authority = authority.to_str().unwrap();
    assert_pulled(&user.pull_with("app:1", &[("SSL_CERT_FILE", authority)]));
    let Some(user) = User::of(&Setup { login: Login::Htpasswd, ..TLS }) else { return };
    user.log_in(PASSWORD);
    let authority = user.registry.authority();
    assert_pulled(&user.pull_with("app:1", &[("SSL_CERT_FILE", authority.to_str().unwrap())]));
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let Some(user) = User::of(&TLS) else { return };
    assert_snapshot!(user.text(&user.pull("app:1")), @"
    status: 5
    --- stderr
    pull: [REGISTRY]/app:1: connecting to [REGISTRY]: invalid peer certificate: UnknownIssuer
    hint: put its authority into /etc/containers/certs.d/[REGISTRY]/ca.crt, or --insecure [REGISTRY]
    ");
    // Another one of the same name.
    let Some(other) = User::of(&TLS) else { return };
    let authority = other.registry.authority();
    let output = user.pull_with("app:1", &[("SSL_CERT_FILE", authority.to_str().unwrap())]);
    assert_snapshot!(user.text(&output), @"
    status: 5
    --- stderr
    pull: [REGISTRY]/app:1: connecting to [REGISTRY]: invalid peer certificate: BadSignature
    hint: put its authority into /etc/containers/certs.d/[REGISTRY]/ca.crt, or --insecure [REGISTRY]
    ");
}
