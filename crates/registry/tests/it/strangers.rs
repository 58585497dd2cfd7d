//! Addresses that a registry names: where a redirect, a token server, an upload or a foreign layer may lead
//! (docs/decisions/0018-redirects.md).
//!
//! A registry elsewhere is one behind a proxy: what it is asked, the proxy answers.

use std::ffi::OsString;
use std::sync::Arc;

use kit::Registry;
use layer_format::{Descriptor, media_type};
use registry::{Content, Credentials, Error, Login, Options, Proxies, Repository, Secret, Window};
use report::ErrorKind;

use crate::script::{Script, answer};
use crate::support::{chain, check, content, descriptor, open_with, options, read_all};

/// What only this machine or its link can reach, in several spellings; `PORT` is a registry's on loopback.
const NEAR: [&str; 8] = [
    "http://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://0.0.0.0:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://2130706433:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/latest/",
];

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const REFUSED: &str =
    "sent to an address that only this machine or its own link can reach; refused";

/// A registry elsewhere that gives these answers, once it was found to be plain.
struct Elsewhere {
    script: Script,
    /// A registry on loopback, which nobody is to reach.
    near: Registry,
}

impl Elsewhere {
    fn new(answers: Vec<Vec<u8>>) -> Self {
        let no_tls = answer(503, "", b"");
        let script = Script::plain([vec![no_tls], answers].concat());
        Self { script, near: Registry::start() }
    }

    /// An address of [`NEAR`].
    fn near(&self, address: &str) -> String {
        address.replace("PORT", self.near.host().rsplit_once(':').unwrap().1)
    }

    fn open(&self) -> Repository {
        let proxy = self.script.host.clone();
        let proxies = Proxies::from_variables(|name| {
            matches!(name, "HTTP_PROXY" | "HTTPS_PROXY").then(|| OsString::from(&proxy))
        });
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
        let credentials = Credentials::none().with("far.test", login);
        let insecure = vec!["far.test".to_owned(), "other.test".to_owned()];
        open_with(Options { credentials, insecure, proxies, ..options() }, "far.test/app")
    }

    #[track_caller]
    fn is_refused(&self, error: &Error, n_requests: usize) {
        let text = chain(error);
        assert!(text.ends_with(REFUSED), "{text}");
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert_eq!(self.near.requests().len(), 0);
        assert_eq!(self.script.requests().len(), n_requests, "{:?}", self.script.requests());
    }
}

fn to(location: &str) -> Vec<u8> {
    answer(307, &format!("Location: {location}\r\n"), b"")
}

#[test]
fn a_redirect_from_elsewhere_never_leads_to_this_machine_or_its_link() {
    for address in NEAR {
        let place = Elsewhere::new(vec![]);
        let location = place.near(address);
        let place = Elsewhere { script: Elsewhere::new(vec![to(&location)]).script, ..place };
        let error = place.open().document(&descriptor(b"hi")).unwrap_err();
        place.is_refused(&error, 2);
    }
}

#[test]
fn a_way_over_a_third_host_leads_there_no_more() {
    // go-containerregistry#2291
    let place = Elsewhere::new(vec![to("http://other.test/a"), to("http://127.0.0.1:1/b")]);
    place.is_refused(&place.open().document(&descriptor(b"hi")).unwrap_err(), 3);
}

#[test]
fn a_private_network_may_be_named() {
    // A registry that everybody reaches and a storage within the company's network: docker/model-runner#1050.
    let place = Elsewhere::new(vec![to("http://10.1.2.3:9000/blob"), answer(200, "", b"hi")]);
    assert_eq!(place.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    assert!(place.script.requests()[2].starts_with("GET http://10.1.2.3:9000/blob "));
}

#[test]
fn a_token_server_near_us_is_not_asked_for_a_registry_elsewhere() {
    for address in NEAR {
        // go-containerregistry#2243, #2284
        let place = Elsewhere::new(vec![]);
        let realm = place.near(address).replace("http:", "https:");
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n");
        let script = Elsewhere::new(vec![answer(401, &challenge, b"")]).script;
        let place = Elsewhere { script, ..place };
        place.is_refused(&place.open().document(&descriptor(b"hi")).unwrap_err(), 2);
    }
}

#[test]
fn a_token_server_elsewhere_sends_nobody_near_us() {
    let challenge = "WWW-Authenticate: Bearer realm=\"http://other.test/token\"\r\n";
    let place =
        Elsewhere::new(vec![answer(401, challenge, b""), to("http://169.254.169.254/role")]);
    place.is_refused(&place.open().document(&descriptor(b"hi")).unwrap_err(), 3);
}

#[test]
fn an_upload_is_not_sent_to_what_is_near_us() {
    for address in NEAR {
        // go-containerregistry#2295
        let place = Elsewhere::new(vec![]);
        let headers = format!("Location: {}\r\n", place.near(address));
        let script = Elsewhere::new(vec![answer(202, &headers, b"")]).script;
        let place = Elsewhere { script, ..place };
        let blob = descriptor(b"hi");
        let content: Arc<dyn Content> = Arc::new(Window::new(0, *b"hi"));
        let error = place.open().upload(&blob).send(&content).unwrap_err();
        place.is_refused(&error, 2);
    }
}

/// A layer that is nowhere but at this address.
fn foreign(url: &str) -> Descriptor {
    let mut layer = descriptor(b"hi");
    FOREIGN.clone_into(&mut layer.media_type);
    layer.urls = vec![url.to_owned()];
    layer
}

#[test]
fn a_foreign_layer_is_not_fetched_from_what_is_near_us() {
    for address in NEAR {
        let place = Elsewhere::new(vec![answer(404, "", b"")]);
        let layer = foreign(&place.near(address));
        // The registry is asked for the blob, and what it wants to be shown.
        place.is_refused(&place.open().blob(&layer, 0).unwrap_err(), 3);
    }
}

#[test]
fn a_foreign_layer_comes_by_tls_and_without_a_user() {
    // Over TLS a registry names no address without it.
    let unsafe_address = "the registry names another address, which is not safe";
    for url in
        ["http://other.test/layer", "https://me@other.test/layer", "https://:pw@other.test/l"]
    {
        let secure = crate::tls::config();
        let script = crate::tls::serve(secure, crate::tls::AS_GO, vec![answer(404, "", b"")]);
        let insecure = vec![script.host.clone()];
        let name = format!("{}/app", script.host);
        let repository = open_with(Options { insecure, ..options() }, &name);
        let error = repository.blob(&foreign(url), 0).unwrap_err();
        let text = format!("{name}@sha256:{}: {unsafe_address}", foreign(url).digest.short());
        check(&error, ErrorKind::Untrusted, &text);
    }
    // From a plain registry, a plain address is no worse; a user in it is.
    let storage = Registry::start();
    storage.add_blob("app", "hi");
    let registry = Registry::start();
    let address =
        |user: &str| format!("http://{user}{}/v2/app/blobs/{}", storage.host(), foreign("").digest);
    let repository = open_with(options(), &registry.name("app"));
    assert_eq!(read_all(&repository, &foreign(&address("")), 0), b"hi");
    assert!(repository.blob(&foreign(&address("me@")), 0).is_err());
    assert_eq!(storage.requests().len(), 1);
}

#[test]
fn each_kind_of_redirect_is_followed_by_a_question() {
    for status in [301, 302, 303, 307, 308] {
        let storage = Registry::start();
        storage.add_blob("x", content());
        let blob = descriptor(&content());
        let location = format!("Location: http://{}/storage/{}\r\n", storage.host(), blob.digest);
        let script = Script::plain(vec![answer(status, &location, b"")]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        assert!(read_all(&repository, &blob, 0) == content(), "{status}");
        assert_eq!(storage.requests()[0].method, "GET");
    }
}

#[test]
fn an_upload_that_is_redirected_by_a_302_is_not_turned_into_a_question() {
    for status in [301, 302, 303] {
        let script = Script::plain(vec![answer(status, "Location: /elsewhere\r\n", b"")]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        let error = repository.put_manifest("1", media_type::OCI_MANIFEST, b"{}").unwrap_err();
        assert!(matches!(error, Error::Refused { status: it, .. } if it == status), "{error:?}");
        assert_eq!(script.requests().len(), 1);
    }
}

#[test]
fn an_identity_token_follows_a_token_server_on_its_own_host_only() {
    for (location, is_followed) in
        [("/other", true), ("http://localhost:1/token", false), ("http://127.0.0.1:1/token", false)]
    {
        let realm = Script::plain(vec![to(location), answer(200, "", br#"{"token":"t"}"#)]);
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\"\r\n", realm.host);
        let script = Script::plain(vec![answer(401, &challenge, b""), answer(200, "", b"hi")]);
        let login = Login::IdentityToken(Secret::new("hunter2"));
        let credentials = Credentials::none().with(&script.host, login);
        let repository =
            open_with(Options { credentials, ..options() }, &format!("{}/app", script.host));
        let outcome = repository.document(&descriptor(b"hi"));
        assert_eq!(outcome.is_ok(), is_followed, "{location} {outcome:?}");
        let requests = realm.requests();
        assert_eq!(requests.len(), if is_followed { 2 } else { 1 });
        assert!(requests.iter().all(|it| it.starts_with("POST ")), "{requests:?}");
        if let Err(error) = outcome {
            let text = chain(&error);
            assert!(text.ends_with("redirect of a login to another host refused"), "{text}");
        }
    }
}
