//! Manifests and other small documents.

use std::time::{Duration, Instant};

use kit::{Fault, Image, Index, Layer, Registry};
use layer_format::{Algorithm, Descriptor, Digest, Document, Hasher, media_type};
use registry::{Error, Options, Referrers, Repository};
use report::{ErrorKind, HasKind as _};

use crate::script::{Script, answer};
use crate::support::{check, impatient, open, open_with, options};

fn image() -> Image {
    Image::new().layer(Layer::new().file("etc/motd", "hello\n"))
}

fn with_image() -> (Registry, Repository) {
    let registry = Registry::start();
    registry.add("app:1", image());
    let repository = open(&registry);
    (registry, repository)
}

fn with_image_and(fault: Fault) -> (Registry, Repository) {
    let (registry, repository) = with_image();
    registry.fault(fault);
    (registry, repository)
}

#[track_caller]
fn is_whole(repository: &Repository) {
    let (document, digest) = repository.manifest("1").unwrap();
    assert_eq!(digest.to_string(), image().digest());
    assert_eq!(Digest::of(document.raw()), digest);
}

#[test]
fn a_manifest_is_had_by_tag_and_by_digest() {
    let (registry, repository) = with_image();
    is_whole(&repository);
    let (document, _) = repository.manifest(&image().digest()).unwrap();
    let Document::Manifest(manifest) = document else { panic!("no manifest") };
    let config = repository.document(&manifest.config).unwrap();
    assert_eq!(Digest::of(&config), manifest.config.digest);
    let request = &registry.requests()[0];
    assert!(request.header("Accept").unwrap().contains(media_type::DOCKER_INDEX));
    assert!(request.header("User-Agent").unwrap().starts_with("strata/"));
    assert!(request.authorization.is_none());
}

#[test]
fn an_index_leads_to_its_manifests() {
    let registry = Registry::start();
    let index = Index::new().image(&image());
    registry.add("app:1", &index);
    let repository = open(&registry);
    let (document, _) = repository.manifest("1").unwrap();
    let Document::Index(index) = document else { panic!("no index") };
    let raw = repository.document(&index.manifests[0]).unwrap();
    assert_eq!(Digest::of(&raw).to_string(), image().digest());
    let wrong_size = Descriptor { size: 7, ..index.manifests[0].clone() };
    let error = repository.document(&wrong_size).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 7, .. }), "{error}");
}

#[test]
fn what_is_not_there_is_said_in_the_registrys_words() {
    let (registry, repository) = with_image();
    let error = repository.manifest("nope").unwrap_err();
    let name = registry.name("app");
    let text = format!("{name}:nope: not found: manifest unknown (MANIFEST_UNKNOWN)");
    check(&error, ErrorKind::NotFound, &text);
    let digest = Digest::of(b"nope");
    let error = repository.manifest(&digest.to_string()).unwrap_err();
    let text =
        format!("{name}@sha256:{}: not found: manifest unknown (MANIFEST_UNKNOWN)", digest.short());
    check(&error, ErrorKind::NotFound, &text);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_web_page_is_no_registry() {
    let (registry, repository) = with_image_and(Fault::on("manifests/").html());
    let error = repository.manifest("1").unwrap_err();
    let text = format!("{}:1: not a registry? got text/html", registry.name("app"));
    check(&error, ErrorKind::Untrusted, &text);
    let page = answer(404, "Content-Type: text/html\r\n", b"<html>");
    let script = Script::plain(vec![page]);
    let name = format!("{}/app", script.host);
    let error = open_with(options(), &name).manifest("1").unwrap_err();
    let text = format!("{name}:1: not found: not a registry? got text/html");
    check(&error, ErrorKind::NotFound, &text);
}

#[test]
fn garbage_is_no_manifest() {
    let garbage = Fault::on("manifests/").body("application/json", "{\"a\":");
    let (registry, repository) = with_image_and(garbage.header("Docker-Content-Digest", ""));
    let error = repository.manifest("1").unwrap_err();
    let start = format!("{}:1: malformed manifest sha256:", registry.name("app"));
    assert!(crate::support::chain(&error).starts_with(&start), "{error}");
}

#[test]
fn a_manifest_of_five_mebibytes_is_not_read() {
    for fault in [Fault::on(""), Fault::on("").chunked()] {
        let (registry, repository) = with_image_and(fault.lengthen(5 << 20));
        let error = repository.manifest("1").unwrap_err();
        let text = format!("{}:1 is larger than 4194304 bytes", registry.name("app"));
        check(&error, ErrorKind::Untrusted, &text);
        let huge = Descriptor::new(media_type::OCI_CONFIG, Digest::of(b""), 5 << 20);
        let error = repository.document(&huge).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert_eq!(registry.requests().len(), 1);
    }
}

#[test]
fn a_list_of_referrers_is_read_up_to_the_size_of_a_document() {
    let digest = image().digest().parse().unwrap();
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (more, is_fine) in [(0, true), (1, false)] {
        let list = index.to_owned() + &" ".repeat((4 << 20) + more - index.len());
        let script = Script::plain(vec![answer(200, "", list.as_bytes())]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        match repository.referrers(&digest) {
            Ok(Referrers::Listed(_)) => assert!(is_fine),
            Err(error @ Error::TooLarge { .. }) => assert!(!is_fine, "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_bytes_than_promised_are_refused() {
    let (_registry, repository) = with_image_and(Fault::on("/").flip(3));
    for wanted in ["1", &image().digest()] {
        let error = repository.manifest(wanted).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
    let config = image().config_blob();
    let config = Descriptor::new(
        media_type::OCI_CONFIG,
        config.digest.parse().unwrap(),
        config.bytes.len() as u64,
    );
    let error = repository.document(&config).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn the_digest_that_the_registry_says_must_be_right() {
    let other = Digest::of(b"other").to_string();
    let fault = Fault::on("manifests/").header("Docker-Content-Digest", &other);
    let (_registry, repository) = with_image_and(fault);
    assert!(matches!(repository.manifest("1"), Err(Error::DigestMismatch { .. })));
    let fault = Fault::on("manifests/").header("Docker-Content-Digest", "md5:00");
    let (_registry, repository) = with_image_and(fault);
    is_whole(&repository);
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let fault = Fault::on("manifests/").times(1).status(429).header("Retry-After", "1");
    let (registry, repository) = with_image_and(fault);
    let started = Instant::now();
    is_whole(&repository);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_registry_that_wants_an_hour_is_given_up_at_once() {
    let fault = Fault::on("manifests/").status(429).header("Retry-After", "3600");
    let (registry, repository) = with_image_and(fault);
    let error = repository.manifest("1").unwrap_err();
    let text = format!(
        "{}:1: {} answered 429: slow down (TOOMANYREQUESTS)",
        registry.name("app"),
        registry.host()
    );
    check(&error, ErrorKind::Network, &text);
    assert_eq!(registry.requests().len(), 1);
}

/// Docker Hub says with every answer what is left.
#[test]
fn a_busy_registry_tells_what_is_left() {
    let fault = Fault::on("manifests/").status(429).header("Retry-After", "3600");
    let (registry, repository) = with_image_and(fault.header("RateLimit-Remaining", "0;w=21600"));
    let error = repository.manifest("1").unwrap_err();
    let text = format!(
        "{}:1: {} answered 429: slow down (TOOMANYREQUESTS), ratelimit-remaining: 0;w=21600",
        registry.name("app"),
        registry.host()
    );
    check(&error, ErrorKind::Network, &text);
}

/// Both headers together say what the limit is; who is not logged in may have another one.
#[test]
fn a_busy_registry_tells_its_limit_and_the_way() {
    let fault = Fault::on("manifests/").status(429).header("Retry-After", "3600");
    let fault = fault.header("RateLimit-Remaining", "0;w=21600");
    let (registry, repository) = with_image_and(fault.header("RateLimit-Limit", "100;w=21600"));
    let error = repository.manifest("1").unwrap_err();
    let said = "slow down (TOOMANYREQUESTS), 0 of 100 requests in 360 min are left";
    let text = format!("{}:1: {} answered 429: {said}", registry.name("app"), registry.host());
    check(&error, ErrorKind::Network, &text);
    let hint = format!("log in, which has a limit of its own: remote login {}", registry.host());
    assert_eq!(error.hint(), Some(hint));
}

#[test]
fn what_may_pass_is_tried_again_and_no_oftener_than_agreed() {
    // go-containerregistry#1707: proxies have words of their own.
    for status in [408, 425, 499, 500, 502, 503, 504, 520, 522, 524, 530] {
        let fault = Fault::on("manifests/").times(4).status(status);
        let (_registry, repository) = with_image_and(fault);
        is_whole(&repository);
    }
    let (registry, repository) = with_image_and(Fault::on("manifests/").status(503));
    let error = repository.manifest("1").unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, .. }), "{error}");
    assert_eq!(registry.requests().len(), 5);
}

#[test]
fn what_will_not_pass_is_asked_once() {
    for status in [400, 401, 403, 404, 405, 418, 501, 505, 519, 531] {
        let (registry, repository) = with_image_and(Fault::on("manifests/").status(status));
        assert!(repository.manifest("1").is_err());
        assert_eq!(registry.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_manifest_that_breaks_off_is_read_again() {
    for fault in [
        Fault::on("manifests/").times(2).close_after(20),
        Fault::on("manifests/").times(2).hang_up(),
        Fault::on("manifests/").times(2).chunked().close_after(20),
    ] {
        let (_registry, repository) = with_image_and(fault);
        is_whole(&repository);
    }
}

#[test]
fn a_registry_that_says_nothing_is_given_up() {
    let registry = Registry::start();
    registry.add("app:1", image());
    registry.fault(Fault::on("manifests/").delay(Duration::from_secs(60)));
    let mut options = Options { connect: Duration::from_millis(200), ..impatient() };
    options.retries.consecutive = 2;
    let repository = open_with(options, &registry.name("app"));
    let started = Instant::now();
    let error = repository.manifest("1").unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn nobody_there_is_trouble_with_the_network() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = socket.local_addr().unwrap().to_string();
    drop(socket);
    let error = open_with(options(), &format!("{host}/app")).manifest("1").unwrap_err();
    let text = format!("{host}/app:1: connecting to {host}: connection refused");
    check(&error, ErrorKind::Network, &text);
}

#[test]
fn sha512_is_as_good() {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"config");
    let digest = hasher.finish();
    let descriptor = Descriptor::new(media_type::OCI_CONFIG, digest, 6);
    let script = Script::plain(vec![answer(200, "", b"config"), answer(200, "", b"c0nfig")]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    assert_eq!(repository.document(&descriptor).unwrap(), b"config");
    assert!(script.requests()[0].starts_with(&format!("GET /v2/app/blobs/{digest} ")));
    let error = repository.document(&descriptor).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn warnings_are_kept_for_the_user() {
    let registry = Registry::start();
    registry.add("app:1", image());
    registry.fault(Fault::on("").header("Warning", r#"299 - "this tag goes away""#));
    let client = registry::Client::new(options()).unwrap();
    let repository = client.repository(&registry.name("app").parse().unwrap()).unwrap();
    is_whole(&repository);
    is_whole(&repository);
    assert_eq!(client.warnings(), [format!("{}: this tag goes away", registry.host())]);
}

#[test]
fn dockers_first_manifests_are_told_whatever_digest_they_have() {
    // The registry's digest is that of the payload, without the signatures.
    let signed = br#"{"schemaVersion":1,"name":"app","fsLayers":[],"signatures":[{}]}"#;
    let digest = Digest::of(b"the payload alone");
    let headers = format!(
        "Content-Type: {}\r\nDocker-Content-Digest: {digest}\r\n",
        media_type::DOCKER_SCHEMA1
    );
    for wanted in ["1", &digest.to_string()] {
        let script = Script::plain(vec![answer(200, &headers, signed)]);
        let name = format!("{}/app", script.host);
        let error = open_with(options(), &name).manifest(wanted).unwrap_err();
        let text = crate::support::chain(&error);
        assert!(text.contains("Docker schema 1 is too old"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Untrusted);
    }
}

/// A registry may need a moment to know a blob that it has just got.
#[test]
fn a_manifest_is_put_again_where_a_blob_is_not_known_yet() {
    let body = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"not yet"}]}"#;
    let refused = || answer(400, "Content-Type: application/json\r\n", body);
    let script = Script::plain(vec![refused(), answer(201, "", b"")]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    repository.put_manifest("1", media_type::OCI_MANIFEST, b"{}").unwrap();
}

/// quay#1310
#[test]
fn a_config_that_comes_compressed_all_the_same_is_read() {
    let image = image();
    let raw = image.config_blob().bytes;
    let config = Descriptor::of(media_type::OCI_CONFIG, &raw);
    let compressed = kit::Codec::GZIP.encode(&raw);
    let encoded = "Content-Encoding: gzip\r\n";
    for body in [&compressed, &raw] {
        let script = Script::plain(vec![answer(200, encoded, body), answer(200, encoded, body)]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        assert!(repository.document(&config).unwrap() == raw);
    }
    // What is another one is found out there, too.
    let other = kit::Codec::GZIP.encode(b"{}");
    let script = Script::plain(vec![answer(200, encoded, &other), answer(200, encoded, &other)]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    let error = repository.document(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
}

#[test]
fn a_manifest_that_comes_compressed_all_the_same_is_read() {
    let raw = image().manifest_blob().bytes;
    let compressed = kit::Codec::GZIP.encode(&raw);
    let digest = image().digest();
    // moby#17595: Apache says x-gzip.
    for (encoding, body) in
        [("gzip", &compressed), ("x-GZIP", &compressed), ("gzip", &raw), ("x-gzip", &raw)]
    {
        let headers =
            format!("Content-Encoding: {encoding}\r\nDocker-Content-Digest: {digest}\r\n");
        let script = Script::plain(vec![answer(200, &headers, body)]);
        is_whole(&open_with(options(), &format!("{}/app", script.host)));
    }
    // A bomb is no longer than a manifest may be.
    let bomb = kit::Codec::GZIP.encode(&vec![b' '; 64 << 20]);
    for (body, reason) in [
        (bomb, "is larger than 4194304 bytes"),
        (
            compressed[..compressed.len() / 2].to_vec(),
            "the answer says that it is gzip, and is not",
        ),
    ] {
        let script = Script::plain(vec![answer(200, "Content-Encoding: gzip\r\n", &body)]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        let error = repository.manifest("1").unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
    }
}
