//! Uploads, and what becomes of them when a registry or a connection fails.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kit::registry::auth::Bearer;
use kit::{Auth, Fault, Registry};
use layer_format::{Descriptor, Trouble, Troubled as _, media_type};
use registry::{
    Content, Credentials, Error, Login, Options, Repository, Retries, Secret, Upload, Window,
};

use crate::script::{Script, answer};
use crate::support::{chain, check, content, descriptor, impatient, open_with, options};

/// What is lost with a broken connection is never more than this.
const CHUNK: u64 = 200_000;

fn chunked() -> Options {
    Options { chunk: CHUNK, ..options() }
}

fn open(registry: &Registry) -> Repository {
    open_with(chunked(), &registry.name("app"))
}

fn whole(bytes: Vec<u8>) -> Arc<dyn Content> {
    Arc::new(Window::new(0, bytes))
}

/// Sends a blob that can be read again.
fn send(upload: &mut Upload, bytes: &[u8]) -> Result<(), Error> {
    let content = whole(bytes.to_vec());
    while !upload.is_done() {
        upload.send(&content)?;
    }
    Ok(())
}

/// Uploads [`content`] to `app`, which must then be there.
#[track_caller]
fn upload_with(options: Options, registry: &Registry) {
    let repository = open_with(options, &registry.name("app"));
    let blob = descriptor(&content());
    assert!(!repository.has(&blob).unwrap());
    send(&mut repository.upload(&blob), &content()).unwrap();
    assert_eq!(registry.blob("app", &blob.digest.to_string()).unwrap(), content());
}

fn log(registry: &Registry) -> Vec<String> {
    let short = |line: &str| line.split("state=").next().unwrap_or_default().to_owned();
    let verb = |line: &str| {
        let status = line.rsplit(' ').next().unwrap_or_default().to_owned();
        format!("{} {status}", short(line).split(' ').next().unwrap_or_default())
    };
    registry.log().lines().map(verb).collect()
}

fn received(registry: &Registry) -> u64 {
    registry.bytes_received("PATCH") + registry.bytes_received("PUT")
}

/// Uploads in chunks under a fault; at most one chunk is received twice.
#[track_caller]
fn survives(fault: Fault) -> Registry {
    let registry = Registry::start();
    registry.fault(fault);
    upload_with(chunked(), &registry);
    let twice = received(&registry) - content().len() as u64;
    assert!(twice <= CHUNK, "{twice} bytes twice:\n{}", registry.log());
    registry
}

#[test]
fn a_small_blob_takes_two_requests() {
    let registry = Registry::start();
    upload_with(options(), &registry);
    assert_eq!(log(&registry), ["HEAD 404", "POST 202", "PUT 201"]);
    let put = &registry.requests()[2];
    assert_eq!(put.header("Content-Length"), Some("1000003"));
    assert_eq!(put.header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(registry.requests()[1].header("Content-Length"), Some("0"));
}

#[test]
fn an_empty_blob_is_a_blob() {
    let registry = Registry::start();
    let repository = open(&registry);
    let blob = descriptor(b"");
    send(&mut repository.upload(&blob), b"").unwrap();
    assert!(repository.has(&blob).unwrap());
}

#[test]
fn a_large_blob_goes_in_chunks_and_each_answer_is_followed() {
    let registry = Registry::start();
    upload_with(chunked(), &registry);
    let expected = ["HEAD 404", "POST 202"].into_iter();
    let expected = expected.chain(["PATCH 202"; 6]).chain(["PUT 201"]);
    assert_eq!(log(&registry), expected.collect::<Vec<_>>());
    assert_eq!(registry.requests()[3].header("Content-Range"), Some("200000-399999"));
    assert_eq!(received(&registry), 1_000_003);
}

#[test]
fn a_registry_may_want_larger_chunks() {
    let least =
        |header: &str| Fault::on("uploads").method("POST").header("OCI-Chunk-Min-Length", header);
    let registry = survives(least("400000"));
    let sizes: Vec<_> = registry.requests().iter().map(|it| it.received).collect();
    assert_eq!(sizes, [0, 0, 400_000, 400_000, 200_003, 0]);
    survives(least("many"));
}

#[test]
fn what_came_before_a_cut_is_not_sent_again() {
    let registry =
        survives(Fault::on("uploads").method("PATCH").after(1).times(2).close_reading(70_000));
    assert_eq!(received(&registry), 1_000_003);
    // The answer was lost, not the bytes.
    let registry = survives(Fault::on("uploads").method("PATCH").times(1).hang_up());
    assert_eq!(received(&registry), 1_000_003);
}

#[test]
fn a_chunk_that_was_lost_is_sent_again() {
    for status in [429, 500, 502, 503, 504] {
        let fault = Fault::on("uploads").method("PATCH").after(2).times(1).status(status);
        survives(fault.header("Retry-After", "0"));
    }
    survives(Fault::on("uploads").method("PATCH").times(1).status(503).hang_up());
}

#[test]
fn a_whole_that_was_cut_goes_on_in_chunks() {
    let registry = Registry::start();
    registry.fault(Fault::on("uploads").method("PUT").times(1).close_reading(300_000));
    upload_with(options(), &registry);
    assert_eq!(log(&registry)[2..], ["PUT 0", "GET 204", "PATCH 202", "PUT 201"]);
    assert_eq!(received(&registry), 1_000_003);
}

#[test]
fn the_registry_knows_where_it_goes_on() {
    let registry = survives(Fault::on("uploads").method("PATCH").after(1).times(1).status(416));
    assert_eq!(log(&registry)[3..6], ["PATCH 416", "GET 204", "PATCH 202"]);
    // It took less than was sent.
    let half = Fault::on("uploads").method("PATCH").times(1).header("Range", "0-99999");
    survives(half);
}

#[test]
fn a_forgotten_upload_begins_anew() {
    for status in [404, 416] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PATCH").after(1).times(1).status(status));
        registry.fault(Fault::on("uploads").method("GET").times(1).status(404));
        upload_with(chunked(), &registry);
        let n_begun = log(&registry).iter().filter(|line| *line == "POST 202").count();
        assert_eq!(n_begun, 2);
    }
}

#[test]
fn an_upload_that_leads_nowhere_ends() {
    for status in [404, 416, 503] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PATCH").status(status));
        let repository = open(&registry);
        let error = send(&mut repository.upload(&descriptor(&content())), &content()).unwrap_err();
        assert_eq!(registry.requests().iter().filter(|it| it.method == "PATCH").count(), 5);
        assert!(matches!(error.trouble(), Trouble::Network | Trouble::NotFound), "{error}");
    }
}

#[test]
fn a_blob_whose_last_answer_was_lost_is_there() {
    for options in [options(), chunked()] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PUT").times(1).hang_up());
        upload_with(options, &registry);
        assert_eq!(log(&registry).last().unwrap(), "HEAD 200");
        assert_eq!(received(&registry), 1_000_003);
    }
}

#[test]
fn a_registry_that_takes_no_chunks_gets_the_whole() {
    for status in [400, 405, 501] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PATCH").status(status));
        upload_with(chunked(), &registry);
        assert_eq!(log(&registry)[3..], ["POST 202", "PUT 201"]);
    }
}

#[test]
fn chunks_that_are_too_large_become_smaller() {
    let registry = Registry::start();
    registry.fault(Fault::on("uploads").method("PUT").times(1).status(413));
    let (blob, bytes) = (descriptor(&vec![7; 3 << 20]), vec![7; 3 << 20]);
    let repository = open_with(options(), &registry.name("app"));
    send(&mut repository.upload(&blob), &bytes).unwrap();
    let sizes: Vec<_> = registry.requests().iter().map(|it| it.received >> 10).collect();
    assert_eq!(sizes, [0, 3072, 0, 768, 768, 768, 768, 0]);
    registry.fault(Fault::on("uploads").status(413));
    let error = send(&mut repository.upload(&descriptor(b"x")), b"x").unwrap_err();
    assert!(matches!(error, Error::Refused { status: 413, .. }), "{error}");
}

#[test]
fn a_later_process_goes_on() {
    let registry = Registry::start();
    let blob = descriptor(&content());
    let mut upload = open(&registry).upload(&blob);
    assert_eq!(upload.address(), None);
    for _ in 0..3 {
        upload.send(&whole(content())).unwrap();
    }
    let address = upload.address().unwrap().to_owned();
    drop(upload);
    let repository = open(&registry);
    assert!(!repository.has(&blob).unwrap());
    let mut upload = repository.resume(&blob, &address);
    send(&mut upload, &content()).unwrap();
    assert_eq!(upload.address(), None);
    assert_eq!(received(&registry), 1_000_003);
    assert_eq!(registry.blob("app", &blob.digest.to_string()).unwrap(), content());
}

#[test]
fn an_address_that_is_of_no_use_is_no_harm() {
    let registry = Registry::start();
    let elsewhere = Script::plain(vec![]);
    let kept = ["", "nonsense", "/v2/app", &format!("http://{}/1", elsewhere.host)];
    let forgotten = format!("http://{}/v2/app/blobs/uploads/x?state=5", registry.host());
    for address in kept.into_iter().chain([&forgotten[..]]) {
        let repository = open(&registry);
        let blob = descriptor(address.as_bytes());
        assert!(!repository.has(&blob).unwrap());
        send(&mut repository.resume(&blob, address), address.as_bytes()).unwrap();
    }
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn an_upload_of_other_bytes_begins_anew() {
    let registry = Registry::start();
    let (blob, other) = (descriptor(&content()), vec![0; content().len()]);
    let mut upload = open(&registry).upload(&blob);
    upload.send(&whole(other)).unwrap();
    let address = upload.address().unwrap().to_owned();
    let repository = open(&registry);
    assert!(!repository.has(&blob).unwrap());
    send(&mut repository.resume(&blob, &address), &content()).unwrap();
    assert_eq!(registry.blob("app", &blob.digest.to_string()).unwrap(), content());
}

#[test]
fn bytes_with_another_digest_are_refused_for_good() {
    let registry = Registry::start();
    let repository = open(&registry);
    let blob = Descriptor::new(media_type::OCI_LAYER, descriptor(b"a").digest, 1);
    let error = send(&mut repository.upload(&blob), b"b").unwrap_err();
    assert_eq!(error.trouble(), Trouble::Untrusted, "{error}");
    assert_eq!(log(&registry), ["POST 202", "PUT 400"]);
}

#[test]
fn a_stream_is_sent_window_by_window() {
    let registry = Registry::start();
    registry.fault(Fault::on("uploads").method("PATCH").after(1).times(1).close_reading(50_000));
    registry.fault(Fault::on("uploads").method("PATCH").after(3).times(1).status(503));
    let repository = open(&registry);
    let (bytes, blob) = (content(), descriptor(&content()));
    let mut upload = repository.upload(&blob);
    let mut end = 0;
    while !upload.is_done() {
        if upload.offset() == end as u64 {
            let start = end;
            end = bytes.len().min(end + usize::try_from(upload.chunk()).unwrap());
            let window: Arc<dyn Content> = Arc::new(Window::new(start as u64, &bytes[start..end]));
            upload.send(&window).unwrap();
            while upload.offset() < end as u64 {
                upload.send(&window).unwrap();
            }
            if end == bytes.len() {
                upload.send(&window).unwrap();
            }
        }
    }
    assert_eq!(registry.blob("app", &blob.digest.to_string()).unwrap(), bytes);
}

#[test]
fn a_stream_that_the_registry_lost_is_told() {
    let registry = Registry::start();
    let repository = open(&registry);
    let bytes = content();
    let mut upload = repository.upload(&descriptor(&bytes));
    let window = |from: usize, to: usize| -> Arc<dyn Content> {
        Arc::new(Window::new(from as u64, &bytes[from..to]))
    };
    upload.send(&window(0, 200_000)).unwrap();
    registry.forget_uploads();
    let error = upload.send(&window(200_000, 400_000)).unwrap_err();
    assert!(matches!(error, Error::Rewound { .. }), "{error}");
    assert_eq!(error.trouble(), Trouble::Network);
}

#[test]
fn wrong_locations_are_told() {
    let name = |script: &Script| format!("{}/app@sha256:ca978112ca1b", script.host);
    let tell = |location: &str, text: &str| {
        let head = format!("Location: {location}\r\n");
        let script = Script::plain(vec![answer(202, &head, b"")]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
        check(&error, Trouble::Untrusted, &format!("{}: {text}", name(&script)));
    };
    tell("file:///etc/passwd", "malformed Location of an upload");
    tell("http://[", "malformed Location of an upload");
    let script = Script::plain(vec![answer(202, "", b"")]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
    check(&error, Trouble::Untrusted, &format!("{}: no Location of an upload", name(&script)));
    // Of the same registry, but an upload that it doesn't know: there must be an end.
    let registry = Registry::start();
    registry.fault(
        Fault::on("uploads")
            .method("POST")
            .header("Location", "/v2/app/blobs/uploads/other?state=0"),
    );
    let error = send(&mut open(&registry).upload(&descriptor(b"a")), b"a").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn a_login_does_not_follow_to_another_host() {
    let storage = Registry::start();
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    let begun = open(&storage);
    let mut upload = begun.upload(&descriptor(&content()));
    upload.send(&whole(content())).unwrap();
    let location = upload.address().unwrap().to_owned();
    storage.forget();
    registry.fault(Fault::on("uploads").method("POST").header("Location", &location));
    let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
    let credentials = Credentials::none().with(&registry.host(), login);
    let repository = open_with(Options { credentials, ..chunked() }, &registry.name("app"));
    let mut upload = repository.upload(&descriptor(&content()));
    // The other one is already further on, says so, and is believed.
    upload.send(&whole(content())).unwrap();
    assert!(storage.requests().len() > 1);
    assert!(storage.requests().iter().all(|it| it.authorization.is_none()));
    assert_eq!(upload.address(), None, "an address elsewhere may be a key by itself");
}

#[test]
fn a_blob_is_mounted_from_another_repository() {
    let registry = Registry::with_auth(Auth::bearer());
    registry.add_blob("base", content());
    let repository = open(&registry);
    let blob = descriptor(&content());
    let mut upload = repository.upload(&blob);
    assert!(upload.mount("base").unwrap() && upload.is_done());
    assert!(registry.blob("app", &blob.digest.to_string()).is_some());
    let token = registry.requests().into_iter().find(|it| it.path.starts_with("/token")).unwrap();
    assert!(
        token.path.contains("scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull"),
        "{}",
        token.path
    );
}

#[test]
fn where_nothing_can_be_mounted_the_upload_has_begun() {
    let registry = Registry::start();
    let repository = open(&registry);
    let mut upload = repository.upload(&descriptor(b"a"));
    assert!(!upload.mount("nowhere").unwrap());
    send(&mut upload, b"a").unwrap();
    assert_eq!(log(&registry), ["POST 202", "PUT 201"]);
    // A refusal is no reason to give up.
    for status in [401, 403, 404, 405] {
        registry.fault(Fault::on("mount=").times(1).status(status));
        let mut upload = repository.upload(&descriptor(&[1]));
        assert!(!upload.mount("nowhere").unwrap());
        send(&mut upload, &[1]).unwrap();
    }
}

#[test]
fn tokens_that_end_in_the_middle_are_renewed() {
    let registry = Registry::with_auth(Auth::bearer());
    let repository = open(&registry);
    let blob = descriptor(&content());
    let mut upload = repository.upload(&blob);
    while !upload.is_done() {
        upload.send(&whole(content())).unwrap();
        registry.revoke_tokens();
    }
    assert_eq!(registry.blob("app", &blob.digest.to_string()).unwrap(), content());
    let taken: u64 =
        registry.requests().iter().filter(|it| it.status == 202).map(|it| it.received).sum();
    assert_eq!(taken, 1_000_003);
    // One that says when it ends is renewed before.
    let short = Bearer { expires_in: Some(1), ..Bearer::ANYBODY };
    let registry = Registry::with_auth(Auth::Bearer(short));
    registry.fault(Fault::on("uploads").method("PATCH").delay(Duration::from_millis(300)));
    upload_with(chunked(), &registry);
}

#[test]
fn who_may_not_write_is_told() {
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    let repository = open(&registry);
    let error = repository.has(&descriptor(b"a")).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Unauthorised);
    let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
    assert_eq!(error.trouble(), Trouble::Unauthorised);
    assert!(!chain(&error).contains("hunter2"));
}

#[test]
fn a_registry_that_takes_nothing_is_not_waited_for() {
    let registry = Registry::start();
    registry.fault(Fault::on("uploads").method("PATCH").delay(Duration::from_mins(1)));
    let retries = Retries { consecutive: 1, ..options().retries };
    let connect = Duration::from_millis(100);
    let options = Options { chunk: CHUNK, retries, connect, ..impatient() };
    let repository = open_with(options, &registry.name("app"));
    let error = send(&mut repository.upload(&descriptor(&content())), &content()).unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
}

/// Content that can't be read beyond its middle.
#[derive(Debug)]
struct Damaged;

impl Content for Damaged {
    fn range(&self) -> Range<u64> {
        0..2
    }

    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(b"a")))
    }
}

#[test]
fn content_that_cannot_be_read_is_not_the_registrys_fault() {
    let registry = Registry::start();
    let repository = open(&registry);
    let error =
        repository.upload(&descriptor(b"ab")).send(&(Arc::new(Damaged) as Arc<dyn Content>));
    let error = error.unwrap_err();
    assert_eq!(error.trouble(), Trouble::Failed, "{error:?}");
    assert!(matches!(error, Error::Unreadable { .. }));
    // Not tried again; the one that broke off may not even have been read.
    assert!(registry.requests().iter().filter(|it| it.method == "PUT").count() <= 1);
}

#[test]
fn manifests_are_put_byte_for_byte() {
    let registry = Registry::start();
    let repository = open(&registry);
    let config = descriptor(&registry.add_blob("app", "{}").into_bytes());
    drop(config);
    let digest = registry.add_blob("app", "{}");
    let raw = format!(r#"{{ "config": {{"digest":"{digest}","size":2}}, "layers":[] }}"#);
    let named = descriptor(raw.as_bytes()).digest.to_string();
    for (at, name) in ["1", &named].into_iter().enumerate() {
        assert_eq!(repository.manifest_digest(name).unwrap().is_some(), at > 0);
        registry.fault(Fault::on("manifests").method("PUT").times(1).status(503));
        repository.put_manifest(name, media_type::OCI_MANIFEST, raw.as_bytes()).unwrap();
        let found = repository.manifest_digest(name).unwrap().unwrap();
        assert_eq!(found.to_string(), named);
    }
    assert_eq!(registry.manifest("app:1").unwrap(), raw.as_bytes());
    let put = registry.requests().into_iter().find(|it| it.method == "PUT").unwrap();
    assert_eq!(put.header("Content-Type"), Some(media_type::OCI_MANIFEST));
    let other = descriptor(b"other").digest.to_string();
    registry.fault(Fault::on("manifests").method("PUT").header("Docker-Content-Digest", &other));
    let error = repository.put_manifest("2", media_type::OCI_MANIFEST, raw.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}
