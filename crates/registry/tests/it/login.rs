//! Logins and tokens.

use std::sync::Barrier;
use std::thread;

use kit::registry::auth::{Bearer, base64};
use kit::{Auth, Fault, Image, Layer, Registry};
use registry::{Credentials, Denial, Error, Login, Options, Repository, Secret};
use report::{ErrorKind, HasKind as _};

use crate::script::{Script, answer};
use crate::support::{chain, content, descriptor, open_with, options, read};

const PASSWORD: &str = "hunter2";

fn password(password: &str) -> Login {
    Login::Password { user: "me".to_owned(), password: Secret::new(password) }
}

fn start(auth: Auth) -> Registry {
    let registry = Registry::with_auth(auth);
    registry.add("app:1", Image::new().layer(Layer::new().file("a", "a")));
    registry.add_blob("app", content());
    registry
}

fn anonymous(registry: &Registry) -> Repository {
    open_with(options(), &registry.name("app"))
}

fn logged_in(registry: &Registry, login: Login) -> Repository {
    let credentials = Credentials::none().with(&registry.host(), login);
    open_with(Options { credentials, ..options() }, &registry.name("app"))
}

fn n_tokens(registry: &Registry) -> usize {
    registry.requests().iter().filter(|it| it.path.starts_with("/token")).count()
}

#[track_caller]
fn refused(repository: &Repository) -> Error {
    let error = repository.manifest("1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorised, "{error}");
    let everything = format!("{} {error:?} {repository:?}", chain(&error));
    assert!(!everything.contains(PASSWORD) && !everything.contains("wrong"), "{everything}");
    error
}

#[test]
fn a_password_is_shown_only_when_asked_for() {
    let registry = start(Auth::basic("me", PASSWORD));
    let repository = logged_in(&registry, password(PASSWORD));
    repository.manifest("1").unwrap();
    repository.manifest("1").unwrap();
    let shown: Vec<_> = registry.requests().iter().map(|it| it.authorization.is_some()).collect();
    assert_eq!(shown, [false, true, true]);
}

#[test]
fn a_missing_or_wrong_password_is_said_without_it() {
    let registry = start(Auth::basic("me", PASSWORD));
    let error = refused(&anonymous(&registry));
    let (name, host) = (registry.name("app"), registry.host());
    let said = "authentication required (UNAUTHORIZED)";
    let text = format!("{name}:1: not authorised: no login known for {host}: {said}");
    assert_eq!(chain(&error), text);
    assert_eq!(error.hint(), Some(format!("log in: remote login {host}")));
    registry.forget();
    let error = refused(&logged_in(&registry, password("wrong")));
    let text =
        format!("{name}:1: not authorised: the login from the command line was refused: {said}");
    assert_eq!(chain(&error), text);
    assert_eq!(error.hint(), Some(format!("log in again: remote login {host}")));
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn anybody_gets_a_token_and_uses_it_again() {
    let registry = start(Auth::bearer());
    let repository = anonymous(&registry);
    repository.manifest("1").unwrap();
    repository.manifest("1").unwrap();
    assert_eq!(n_tokens(&registry), 1);
    assert_eq!(registry.requests().len(), 4);
    let token = registry.requests()[1].clone();
    assert!(token.path.contains("scope=repository%3Aapp%3Apull"), "{}", token.path);
    assert!(token.authorization.is_none());
}

#[test]
fn a_login_is_exchanged_for_a_token() {
    let registry = start(Auth::Bearer(Bearer::login("me", PASSWORD)));
    logged_in(&registry, password(PASSWORD)).manifest("1").unwrap();
    let shown: Vec<_> = registry.requests().into_iter().filter_map(|it| it.authorization).collect();
    assert!(shown[0].starts_with("Basic ") && shown[1].starts_with("Bearer "), "{shown:?}");
    refused(&anonymous(&registry));
    registry.forget();
    refused(&logged_in(&registry, password("wrong")));
    assert_eq!(registry.requests().len(), 2, "{}", registry.log());
}

#[test]
fn an_identity_token_is_posted() {
    let identity_token = Some("i d&token".to_owned());
    let keys: &[&str] = &["access_token"];
    let bearer = Bearer { identity_token, keys, ..Bearer::login("me", PASSWORD) };
    let registry = start(Auth::Bearer(bearer));
    logged_in(&registry, Login::IdentityToken(Secret::new("i d&token"))).manifest("1").unwrap();
    assert_eq!(registry.requests()[1].method, "POST");
    assert!(!registry.log().contains("token&"), "no secret in an address");
    refused(&logged_in(&registry, Login::IdentityToken(Secret::new("wrong"))));
}

#[test]
fn a_registrys_own_token_is_shown_as_it_is() {
    let challenge = "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/\"\r\n";
    let script = Script::plain(vec![
        answer(401, challenge, b""),
        answer(200, "", b"hi"),
        answer(401, challenge, b""),
    ]);
    let credentials =
        Credentials::none().with(&script.host, Login::RegistryToken(Secret::new("t")));
    let repository =
        open_with(Options { credentials, ..options() }, &format!("{}/app", script.host));
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    assert!(script.requests()[1].to_lowercase().contains("authorization: bearer t\r\n"));
    refused(&repository);
    assert_eq!(script.requests().len(), 3);
}

#[test]
fn logins_come_from_dockers_file() {
    let registry = start(Auth::basic("me", PASSWORD));
    let sandbox = kit::Sandbox::new();
    let auth = base64(format!("me:{PASSWORD}").as_bytes());
    let json = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host());
    let path = sandbox.write("config.json", json);
    let credentials = Credentials::from_file(&path);
    let name = registry.name("app");
    open_with(Options { credentials: credentials.clone(), ..options() }, &name)
        .manifest("1")
        .unwrap();
    sandbox.write("config.json", format!(r#"{{"auths":{{"x":"{PASSWORD}"}}}}"#));
    let repository = open_with(Options { credentials, ..options() }, &name);
    let text = repository.manifest("1").unwrap_err().to_string();
    let path = path.to_str().unwrap();
    assert!(
        text.starts_with(path) && text.contains("malformed at line 1") && !text.contains(PASSWORD),
        "{text}"
    );
}

#[test]
fn a_token_that_ends_in_the_middle_is_replaced() {
    let registry = start(Auth::bearer());
    let repository = anonymous(&registry);
    registry.fault(Fault::on("blobs/").after(1).times(1).close_after(400_000));
    let mut blob = repository.blob(&descriptor(&content()), 0).unwrap();
    registry.revoke_tokens();
    let (found, error) = read(&mut blob);
    assert!(error.is_none() && found == content(), "{error:?}");
    assert_eq!(n_tokens(&registry), 2);
    assert_eq!(registry.sent_twice("blobs/"), []);
}

#[test]
fn a_token_near_its_end_is_renewed_before() {
    let registry = start(Auth::Bearer(Bearer { expires_in: Some(1), ..Bearer::ANYBODY }));
    let repository = anonymous(&registry);
    repository.manifest("1").unwrap();
    thread::sleep(std::time::Duration::from_millis(1100));
    registry.forget();
    repository.manifest("1").unwrap();
    assert_eq!(n_tokens(&registry), 1);
    assert_eq!(registry.requests().len(), 2, "no refusal in between: {}", registry.log());
}

#[test]
fn a_registry_that_refuses_its_own_token_is_asked_twice() {
    let registry = start(Auth::bearer());
    let realm = format!(r#"Bearer realm="http://{}/token",service="x""#, registry.host());
    registry.fault(Fault::on("manifests/").status(401).header("WWW-Authenticate", &realm));
    refused(&anonymous(&registry));
    assert_eq!((n_tokens(&registry), registry.requests().len()), (1, 3));
}

#[test]
fn threads_wait_for_one_token() {
    let registry = start(Auth::bearer());
    registry.fault(Fault::on("/token").delay(std::time::Duration::from_millis(200)));
    let repository = anonymous(&registry);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                repository.manifest("1").unwrap();
            });
        }
    });
    assert_eq!(n_tokens(&registry), 1);
}

#[test]
fn a_token_server_that_makes_no_sense_is_named() {
    let registry = start(Auth::bearer());
    registry.fault(Fault::on("/token").times(1).html());
    let name = registry.name("app");
    let text = format!("{name}:1: token from {}: not a registry? got text/html", registry.host());
    assert_eq!(chain(&anonymous(&registry).manifest("1").unwrap_err()), text);
    registry.fault(Fault::on("/token").times(1).body("application/json", "{}"));
    let text = format!("{name}:1: token from {}: not a token", registry.host());
    assert_eq!(chain(&anonymous(&registry).manifest("1").unwrap_err()), text);
}

#[test]
fn a_token_server_that_knows_nothing_is_no_missing_image() {
    let registry = start(Auth::bearer());
    let name = registry.name("app");
    for status in [400, 404, 410, 418] {
        registry.fault(Fault::on("/token").times(1).status(status).body("text/plain", ""));
        let error = anonymous(&registry).manifest("1").unwrap_err();
        let host = registry.host();
        let text = format!("{name}:1: the token server {host} answered {status}");
        assert_eq!((chain(&error), error.kind()), (text, ErrorKind::Network));
    }
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such realm"}]}"#;
    registry.fault(Fault::on("/token").times(1).status(400).body("application/json", unknown));
    let error = anonymous(&registry).manifest("1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    for status in [401, 403] {
        registry.fault(Fault::on("/token").times(1).status(status));
        refused(&anonymous(&registry));
    }
}

#[test]
fn a_token_server_far_away_must_speak_tls() {
    let registry = start(Auth::bearer());
    let realm = r#"Bearer realm="http://token.example/token""#;
    registry.fault(Fault::on("manifests/").status(401).header("WWW-Authenticate", realm));
    let error = logged_in(&registry, password(PASSWORD)).manifest("1").unwrap_err();
    let text = format!("{}:1: a token server without TLS refused", registry.name("app"));
    assert_eq!((chain(&error), error.kind()), (text, ErrorKind::Untrusted));
}

#[test]
fn a_busy_token_server_is_asked_again() {
    let registry = start(Auth::bearer());
    registry.fault(Fault::on("/token").times(2).status(503));
    anonymous(&registry).manifest("1").unwrap();
    assert_eq!(n_tokens(&registry), 3);
}

#[track_caller]
fn denial(outcome: Result<impl std::fmt::Debug, Error>) -> Denial {
    match outcome.unwrap_err() {
        Error::Unauthorised { denial, .. } => denial,
        error => panic!("{error}"),
    }
}

#[test]
fn who_may_not_do_something_is_not_told_that_his_login_is_wrong() {
    let here = || "the command line".to_owned();
    // With a password: 403, or Docker's words for it.
    let denied = r#"{"errors":[{"code":"DENIED","message":"no push access"}]}"#;
    for fault in [
        Fault::on("manifests/").status(403),
        Fault::on("manifests/").after(1).status(401).body("application/json", denied),
    ] {
        let registry = start(Auth::basic("me", PASSWORD));
        let repository = logged_in(&registry, password(PASSWORD));
        registry.fault(fault);
        assert_eq!(denial(repository.manifest("1")), Denial::NotAllowed(here()));
    }
    // A token was had for the login, and it doesn't suffice.
    let registry = start(Auth::Bearer(Bearer::login("me", PASSWORD)));
    let realm =
        format!(r#"Bearer realm="http://{}/token",error="insufficient_scope""#, registry.host());
    registry.fault(Fault::on("manifests/").status(401).header("WWW-Authenticate", &realm));
    let error = logged_in(&registry, password(PASSWORD)).manifest("1").unwrap_err();
    let text = "1: not authorised: the login from the command line is not allowed to do this: ";
    assert!(chain(&error).contains(text), "{}", chain(&error));
    assert!(error.hint().unwrap().contains("gives the right to this"));
    // The token server has refused it.
    let wrong = logged_in(&registry, password("wrong")).manifest("1");
    assert_eq!(denial(wrong), Denial::LoginRefused(here()));
    assert_eq!(denial(anonymous(&registry).manifest("1")), Denial::NoLogin);
    // Nobody asked for the login that there is.
    let registry = start(Auth::Anonymous);
    registry.fault(Fault::on("manifests/").status(403));
    let unasked = logged_in(&registry, password(PASSWORD)).manifest("1");
    assert_eq!(denial(unasked), Denial::NotAllowed(here()));
    assert_eq!(denial(anonymous(&registry).manifest("1")), Denial::NoLogin);
}

#[test]
fn a_registry_that_asks_for_a_login_at_its_door_alone_is_shown_one() {
    // containerd#3291: to strangers, what is private isn't there.
    for (status, headers) in [(404, ""), (403, ""), (401, "")] {
        let script = Script::plain(vec![
            answer(status, headers, b""),
            answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
            answer(200, "", b"hi"),
            answer(404, "", b""),
        ]);
        let credentials = Credentials::none().with(&script.host, password(PASSWORD));
        let name = format!("{}/app", script.host);
        let repository = open_with(Options { credentials, ..options() }, &name);
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi", "{status}");
        let error = repository.document(&descriptor(b"hi")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let requests = script.requests();
        assert!(requests[1].starts_with("GET /v2/ HTTP/1.1\r\n"), "{requests:?}");
        let shown =
            requests.iter().map(|it| it.to_lowercase().contains("\r\nauthorization: basic"));
        assert_eq!(shown.collect::<Vec<_>>(), [false, false, true, true]);
    }
}

#[test]
fn nobody_knocks_without_a_login_or_twice() {
    let registry = start(Auth::Anonymous);
    let knocks =
        |registry: &Registry| registry.requests().iter().filter(|it| it.path == "/v2/").count();
    let repository = anonymous(&registry);
    for repository in [repository, logged_in(&registry, password(PASSWORD))] {
        for _ in 0..2 {
            let error = repository.manifest("nope").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }
    assert_eq!(knocks(&registry), 1, "{}", registry.log());
    assert!(registry.requests().iter().all(|it| it.authorization.is_none()));
}

#[test]
fn a_token_server_may_send_on() {
    for status in [301, 302, 303, 307, 308] {
        let server = Script::plain(vec![
            answer(status, "Location: /other\r\n", b""),
            answer(200, "", br#"{"token":"t"}"#),
        ]);
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\"\r\n", server.host);
        let script = Script::plain(vec![answer(401, &challenge, b""), answer(200, "", b"hi")]);
        let credentials = Credentials::none().with(&script.host, password(PASSWORD));
        let name = format!("{}/app", script.host);
        let repository = open_with(Options { credentials, ..options() }, &name);
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi", "{status}");
        let requests = server.requests();
        // On its own host it is shown the login there too.
        assert!(requests[1].starts_with("GET /other HTTP/1.1\r\n"), "{requests:?}");
        assert!(requests[1].to_lowercase().contains("\r\nauthorization: basic "), "{requests:?}");
    }
}

#[test]
fn a_token_server_on_another_host_is_sent_to_without_the_login() {
    let other = Script::plain(vec![answer(200, "", br#"{"token":"t"}"#)]);
    let location = format!("Location: http://{}/token\r\n", other.host);
    let server = Script::plain(vec![answer(307, &location, b"")]);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\"\r\n", server.host);
    let script = Script::plain(vec![answer(401, &challenge, b""), answer(200, "", b"hi")]);
    let credentials = Credentials::none().with(&script.host, password(PASSWORD));
    let repository =
        open_with(Options { credentials, ..options() }, &format!("{}/app", script.host));
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    assert!(server.requests()[0].to_lowercase().contains("\r\nauthorization: basic "));
    assert!(!other.requests()[0].to_lowercase().contains("authorization"));
}

#[test]
fn where_an_old_token_leads_to_nobody_the_one_who_gave_it_is_asked() {
    // nvcr.io, as told in oras-dotnet#415.
    let stranger = Script::plain(vec![
        answer(200, "", br#"{"token":"first"}"#),
        answer(200, "", br#"{"token":"second"}"#),
    ]);
    let nobody = Script::plain(vec![answer(401, "", b"")]);
    let challenge = |host: &str| format!("WWW-Authenticate: Bearer realm=\"http://{host}/t\"\r\n");
    let script = Script::plain(vec![
        answer(401, &challenge(&stranger.host), b""),
        answer(200, "", b"hi"),
        answer(401, &challenge(&nobody.host), b""),
        answer(200, "", b"hi"),
    ]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    for _ in 0..2 {
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    }
    assert_eq!((stranger.requests().len(), nobody.requests().len()), (2, 1));
    assert!(script.requests()[3].to_lowercase().contains("authorization: bearer second\r\n"));
}
