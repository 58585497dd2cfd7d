//! Redirects, as registries use them to hand blobs to a storage.

use kit::{Auth, Fault, Registry};
use registry::{Credentials, Error, Login, Options, Secret};
use report::ErrorKind;

use crate::support::{
    chain, check, content, descriptor, open, open_with, options, read_all, with_blob_and,
};

fn start(auth: Auth, location: &str) -> Registry {
    let registry = Registry::with_auth(auth);
    registry.add_blob("app", content());
    registry.fault(Fault::on("/v2/app/blobs/").redirect(location));
    registry
}

fn options_for(registry: &Registry) -> Options {
    let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
    let credentials = Credentials::none().with(&registry.host(), login);
    Options { credentials, ..options() }
}

/// Whether each request to `/storage` came with a login.
fn shown_to_storage(registry: &Registry) -> Vec<bool> {
    let requests = registry.requests().into_iter();
    requests
        .filter(|it| it.path.contains("/storage/"))
        .map(|it| it.authorization.is_some())
        .collect()
}

#[test]
fn a_login_stays_with_the_host_that_it_is_for() {
    let storage = Registry::start();
    storage.add_blob("x", content());
    let location = format!("http://{}/storage/{{digest}}?signature=s3cret", storage.host());
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    registry.add_blob("app", content());
    let repository = open_with(options_for(&registry), &registry.name("app"));
    assert!(read_all(&repository, &descriptor(&content()), 0) == content());
    registry.fault(Fault::on("/v2/app/blobs/").redirect(&location));
    storage.fault(Fault::on("/storage/").times(2).close_after(300_000));
    assert!(read_all(&repository, &descriptor(&content()), 0) == content());
    assert_eq!(shown_to_storage(&storage), [false; 3]);
    assert_eq!(storage.sent_twice("/storage/"), []);
    let asked: Vec<_> = registry.requests().iter().map(|it| it.authorization.is_some()).collect();
    assert_eq!(asked, [false, true, true, true, true], "every resumption starts at the registry");
}

#[test]
fn a_login_goes_along_on_its_own_host() {
    let registry = start(Auth::bearer(), "/storage/{digest}");
    registry.heal();
    let repository = open(&registry);
    read_all(&repository, &descriptor(&content()), 0);
    registry.fault(Fault::on("/v2/app/blobs/").redirect("/storage/{digest}"));
    assert!(read_all(&repository, &descriptor(&content()), 10) == content()[10..]);
    assert_eq!(shown_to_storage(&registry), [true]);
}

#[test]
fn another_port_is_another_host() {
    let storage = Registry::start();
    storage.add_blob("x", content());
    let location = format!(
        "http://localhost:{}/storage/{{digest}}",
        storage.host().rsplit_once(':').unwrap().1
    );
    let registry = start(Auth::Anonymous, &location);
    assert!(read_all(&open(&registry), &descriptor(&content()), 7) == content()[7..]);
    assert_eq!(storage.requests()[0].range.as_deref(), Some("bytes=7-"));
}

#[test]
fn a_loop_ends() {
    let (registry, descriptor) = with_blob_and(Fault::on("blobs/").redirect_loop());
    let error = open(&registry).blob(&descriptor, 0).unwrap_err();
    let text =
        format!("{}@sha256:{}: redirect loop", registry.name("app"), descriptor.digest.short());
    check(&error, ErrorKind::Network, &text);
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_long_way_ends() {
    let (registry, descriptor) = with_blob_and(Fault::on("blobs/").redirect("{path}x"));
    let error = open(&registry).blob(&descriptor, 0).unwrap_err();
    assert!(matches!(error, Error::Redirect { reason: "too many redirects", .. }), "{error}");
    assert_eq!(registry.requests().len(), 11);
}

#[test]
fn the_signature_of_a_redirect_is_not_told() {
    let (registry, descriptor) =
        with_blob_and(Fault::on("blobs/").redirect("http://127.0.0.1:1/x?signature=s3cret"));
    let error = open(&registry).blob(&descriptor, 0).unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert!(text.contains("connecting to 127.0.0.1:1") && !text.contains("s3cret"), "{text}");
}
