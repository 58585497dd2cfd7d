//! Uploads, and what becomes of them when a registry or a connection fails.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kit::image::random::Random;
use kit::registry::auth::Bearer;
use kit::registry::profile::{self, Profile};
use kit::registry::profiles;
use kit::{Auth, Fault, Registry};
use layer_format::{Descriptor, media_type};
use registry::{
    Content, Credentials, Error, Login, Options, Repository, Retries, Secret, Upload, Window,
};
use report::{ErrorKind, HasKind as _};

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

/// Chunks are refused for ever, but the whole is taken.
#[test]
fn from_every_refusal_of_a_chunk_a_way_leads_on() {
    let refusals = [400, 404, 405, 406, 409, 410, 411, 412, 413, 415, 416, 422, 500, 501, 503];
    for (status, n_taken) in refusals.into_iter().flat_map(|status| [(status, 0), (status, 2)]) {
        // What a proxy finds too large it finds so from the beginning.
        if status == 413 {
            continue;
        }
        let registry = Registry::start();
        let fault = Fault::on("uploads").method("PATCH").after(n_taken).status(status);
        registry.fault(fault.header("Retry-After", "0"));
        upload_with(chunked(), &registry);
        let refused = registry.requests().into_iter().filter(|it| it.status == status);
        let taken = received(&registry) - refused.map(|it| it.received).sum::<u64>();
        assert!(taken <= 1_000_003 + 2 * CHUNK, "{status}: {taken}:\n{}", registry.log());
        // Of one that the registry says it doesn't know there is nothing to cancel.
        let n_left = usize::from(matches!(status, 404 | 410));
        assert_eq!(registry.n_uploads(), n_left, "{status}:\n{}", registry.log());
    }
}

/// Nothing is taken, in no way: it ends, and soon.
#[test]
fn an_upload_that_leads_nowhere_ends() {
    for status in [400, 404, 405, 411, 413, 416, 422, 500, 501, 503] {
        let registry = Registry::start();
        for method in ["PATCH", "PUT"] {
            registry.fault(Fault::on("uploads").method(method).status(status));
        }
        let repository = open(&registry);
        let error = send(&mut repository.upload(&descriptor(&content())), &content()).unwrap_err();
        let n_parts = registry.n_requests("PATCH", "") + registry.n_requests("PUT", "");
        assert!(n_parts <= 11, "{status}: {}", registry.log());
        assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::NotFound), "{error}");
    }
}

/// All chunks are taken, and then no PUT is: once in chunks and once whole, and no PATCH with everything after that.
#[test]
fn no_way_sends_a_blob_a_third_time() {
    for status in [400, 405, 501] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PUT").status(status));
        let repository = open(&registry);
        let sent = send(&mut repository.upload(&descriptor(&content())), &content());
        assert!(sent.is_err(), "{status}");
        assert_eq!(received(&registry), 2 * 1_000_003, "{status}:\n{}", registry.log());
    }
}

/// An upload of noise to a registry in chunks of 1 MiB; gives how many bytes were received.
#[track_caller]
fn upload_to(profile: &Profile, registry: &Registry, repository: &Repository, n: usize) -> u64 {
    let bytes = Random::new(n as u64).bytes(n);
    let (blob, before) = (descriptor(&bytes), received(registry));
    let content = whole(bytes);
    let mut upload = repository.upload(&blob);
    while !upload.is_done() {
        let sent = upload.send(&content);
        assert!(sent.is_ok(), "{}: {sent:?}\n{}", profile.name, registry.log());
    }
    assert!(registry.blob("app", &blob.digest.to_string()).is_some());
    received(registry) - before
}

/// aws/containers-roadmap#2831, dotnet/sdk#33019, kitops#821, rust-oci-client#35, ocx#237, skopeo#1101, kitops#777,
/// containerd#3533, regclient#961, regclient#627, ggcr#2198, mise#11376.
#[test]
fn every_registry_takes_a_blob_that_is_more_than_a_chunk() {
    const KIB: usize = 1 << 10;
    for profile in profiles::ALL {
        // Limits and chunks are a quarter of what they are with the blobs that people have.
        let (login, mut uploads) = (profile::Login::None, profile.uploads);
        if let profile::Chunks::Limited(limit) = uploads.chunks {
            uploads.chunks = profile::Chunks::Limited(limit / 4);
        }
        let profile = Profile { login, uploads, ..profile };
        let registry = Registry::with_profile(&profile);
        let options = Options { chunk: 1280 << 10, ..options() };
        let repository = open_with(options, &registry.name("app"));
        let size = 3072 * KIB + 1;
        let first = upload_to(&profile, &registry, &repository, size);
        let size = size as u64;
        assert!(first <= 2 * size, "{}: {first}\n{}", profile.name, registry.log());
        // What was found out with the first holds for the second.
        let second = upload_to(&profile, &registry, &repository, 3072 * KIB + 3);
        assert_eq!(second, size + 2, "{}:\n{}", profile.name, registry.log());
        assert_eq!(registry.n_uploads(), 0, "{}: something is left", profile.name);
    }
}

/// ECR's `Range` stays where it is: no byte is sent twice for that, and one look is enough.
#[test]
fn what_a_registry_says_of_ranges_is_a_hint() {
    for profile in [profiles::ECR, profiles::ZOT, profiles::GGCR] {
        let profile = Profile { login: profile::Login::None, ..profile };
        let registry = Registry::with_profile(&profile);
        upload_with(chunked(), &registry);
        assert_eq!(received(&registry), 1_000_003, "{}", profile.name);
        assert!(registry.n_requests("GET", "uploads") <= 1, "{}", registry.log());
    }
}

/// apple/containerization#790, ggcr#431: what comes again after a break is 416 with ECR, and GET tells nothing.
#[test]
fn a_break_in_the_middle_begins_anew_where_the_registry_tells_nothing() {
    for profile in [profiles::ECR, profiles::GHCR, profiles::ACR, profiles::DISTRIBUTION_2] {
        let registry = Registry::with_profile(&Profile { login: profile::Login::None, ..profile });
        let cut = Fault::on("uploads").method("PATCH").after(2).times(1).close_reading(50_000);
        registry.fault(cut);
        upload_with(chunked(), &registry);
        assert!(received(&registry) < 2 * 1_000_003, "{}", profile.name);
    }
}

/// jib#4301: the PUT was done, its answer was lost, and who asks again is told that there is no such upload.
#[test]
fn an_upload_that_is_unknown_because_it_is_done_is_done() {
    for options in [options(), chunked()] {
        let registry = Registry::start();
        let repository = open_with(options, &registry.name("app"));
        let blob = descriptor(&content());
        registry.add_blob("app", content());
        registry.fault(Fault::on("uploads").method("PUT").times(1).status(404));
        let mut upload = repository.upload(&blob);
        send(&mut upload, &content()).unwrap();
        assert_eq!(registry.n_requests("PUT", "uploads"), 1, "{}", registry.log());
    }
}

/// Azure/acr#866: 416 to a PUT with the whole blob, now and then.
#[test]
fn a_whole_that_is_refused_once_is_sent_once_more() {
    for status in [404, 416] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PUT").times(1).status(status));
        upload_with(options(), &registry);
        assert_eq!(received(&registry), 2 * 1_000_003);
    }
}

/// ocx#237, where a stream has no more than a part of the blob at hand.
#[test]
fn a_limit_that_the_refusal_names_is_kept() {
    let registry =
        Registry::with_profile(&Profile { login: profile::Login::None, ..profiles::GHCR });
    let options = Options { chunk: 6 << 20, ..options() };
    let repository = open_with(options, &registry.name("app"));
    let bytes = Random::new(1).bytes(9 << 20);
    let mut upload = repository.upload(&descriptor(&bytes));
    for (from, to) in [(0, 6 << 20), (6 << 20, 9 << 20)] {
        let window: Arc<dyn Content> = Arc::new(Window::new(from as u64, &bytes[from..to]));
        while !upload.is_done() && (to == bytes.len() || upload.offset() < to as u64) {
            upload.send(&window).unwrap();
        }
    }
    let sizes: Vec<_> = registry.requests().iter().map(|it| it.received >> 20).collect();
    assert_eq!(sizes, [0, 6, 0, 0, 4, 2, 3, 0], "{}", registry.log());
}

/// The same to a PUT.
#[test]
fn a_limit_that_the_refusal_of_a_whole_names_is_kept() {
    let text = "the request body exceeds the maximum permissible limit of 1MiB";
    let refusal = format!(r#"{{"errors":[{{"code":"SIZE_INVALID","message":"{text}"}}]}}"#);
    let registry = Registry::start();
    let refused = Fault::on("uploads").method("PUT").times(1).status(416);
    registry.fault(refused.body("application/json", refusal));
    let bytes = Random::new(1).bytes(5 << 19);
    let repository = open_with(options(), &registry.name("app"));
    send(&mut repository.upload(&descriptor(&bytes)), &bytes).unwrap();
    let sizes: Vec<_> = registry.requests().iter().map(|it| it.received >> 10).collect();
    assert_eq!(sizes, [0, 2560, 0, 1024, 1024, 512, 0], "{}", registry.log());
}

#[test]
fn an_upload_that_is_given_up_is_cancelled_even_when_we_are_told_to_stop() {
    let registry = Registry::start();
    let options = Options { cancelled: || STOPPED.load(Ordering::SeqCst), ..chunked() };
    let repository = open_with(options, &registry.name("app"));
    let mut upload = repository.upload(&descriptor(&content()));
    upload.send(&whole(content())).unwrap();
    // Without it the answer could be faster than the look whether to stop.
    let stalled = Fault::on("uploads").method("PATCH").status(503);
    registry.fault(stalled.delay(Duration::from_secs(60)));
    STOPPED.store(true, Ordering::SeqCst);
    assert!(upload.send(&whole(content())).is_err());
    assert_eq!(registry.n_uploads(), 1);
    upload.cancel();
    assert_eq!((registry.n_uploads(), upload.address()), (0, None));
}

/// For the test above alone.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// moby#50065
#[test]
fn a_question_that_is_refused_is_no_answer() {
    for profile in [
        profiles::HEADLESS,
        Profile { head: profile::Head::Refused(403), ..profiles::SPEC },
        Profile { head: profile::Head::Refused(405), ..profiles::SPEC },
        // skopeo#1639
        Profile { head: profile::Head::Refused(500), ..profiles::SPEC },
    ] {
        let registry = Registry::with_profile(&profile);
        registry.add_blob("app", "a");
        let blob = descriptor(b"a");
        assert!(!open(&registry).is_known_to_have(&blob).unwrap(), "{:?}", profile.head);
    }
}

#[test]
fn a_question_that_fails_is_an_error_and_no_answer() {
    let registry = Registry::start();
    registry.fault(Fault::on("blobs").method("HEAD").times(100).hang_up());
    let error = open(&registry).is_known_to_have(&descriptor(b"a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
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

/// moby#50065: whether it is there isn't told, so it is sent once more.
#[test]
fn a_blob_whose_last_answer_was_lost_is_sent_again_where_questions_are_refused() {
    for options in [options(), chunked()] {
        let registry = Registry::with_profile(&profiles::HEADLESS);
        registry.fault(Fault::on("uploads").method("PUT").times(1).hang_up());
        upload_with(options, &registry);
        assert_eq!(received(&registry), 2 * 1_000_003, "{}", registry.log());
    }
}

#[test]
fn a_registry_that_takes_no_chunks_gets_the_whole() {
    for status in [400, 405, 411, 416, 422, 501] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PATCH").status(status));
        upload_with(chunked(), &registry);
        let log = log(&registry);
        let log: Vec<_> = log[3..].iter().filter(|line| !line.starts_with("GET")).collect();
        assert_eq!(log, ["DELETE 204", "POST 202", "PUT 201"]);
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
    assert_eq!(sizes, [0, 3072, 0, 1024, 1024, 1024, 0]);
    registry.fault(Fault::on("uploads").status(413));
    let error = send(&mut repository.upload(&descriptor(b"x")), b"x").unwrap_err();
    assert!(matches!(error, Error::Refused { status: 413, .. }), "{error}");
}

/// As large as what may be sent a second time allows.
#[test]
fn chunks_that_are_too_large_become_no_smaller_than_need_be() {
    for (size, expected) in [(17 << 20, 8), ((17 << 20) - 1, 1)] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PATCH").times(1).status(413));
        let options = Options { chunk: 9 << 20, ..options() };
        let bytes = vec![7; size];
        send(&mut open_with(options, &registry.name("app")).upload(&descriptor(&bytes)), &bytes)
            .unwrap();
        let sizes: Vec<_> = registry.requests().iter().map(|it| it.received >> 20).collect();
        assert_eq!(sizes[..4], [0, 9, 0, expected], "{}", registry.log());
    }
}

/// However small it is.
#[test]
fn what_is_too_large_for_ever_ends() {
    let registry = Registry::start();
    for method in ["PUT", "PATCH"] {
        registry.fault(Fault::on("uploads").method(method).status(413));
    }
    let repository = open_with(options(), &registry.name("app"));
    let bytes = vec![7; 3 << 20];
    let error = send(&mut repository.upload(&descriptor(&bytes)), &bytes).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 413, .. }), "{error}");
    let sizes: Vec<_> = registry.requests().iter().map(|it| it.received >> 10).collect();
    assert_eq!(sizes, [0, 3072, 0, 1024, 0, 512]);
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
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
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
    assert_eq!(error.kind(), ErrorKind::Network);
}

#[test]
fn wrong_locations_are_told() {
    let name = |script: &Script| format!("{}/app@sha256:ca978112ca1b", script.host);
    let tell = |location: &str, text: &str| {
        let head = format!("Location: {location}\r\n");
        let script = Script::plain(vec![answer(202, &head, b"")]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
        check(&error, ErrorKind::Untrusted, &format!("{}: {text}", name(&script)));
    };
    tell("file:///etc/passwd", "malformed Location of an upload");
    tell("http://[", "malformed Location of an upload");
    let script = Script::plain(vec![answer(202, "", b"")]);
    let repository = open_with(options(), &format!("{}/app", script.host));
    let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
    check(&error, ErrorKind::Untrusted, &format!("{}: no Location of an upload", name(&script)));
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
    // A refusal is no reason to give up (401: harbor#17097).
    for status in [400, 401, 403, 404, 405] {
        registry.fault(Fault::on("mount=").times(1).status(status));
        let mut upload = repository.upload(&descriptor(&[1]));
        assert!(!upload.mount("nowhere").unwrap());
        send(&mut upload, &[1]).unwrap();
    }
}

#[test]
fn a_mount_that_leads_nowhere_is_no_reason_to_give_up() {
    let registry =
        Registry::with_profile(&Profile { mounts: profile::Mounts::Lost, ..profiles::SPEC });
    registry.add_blob("base", "a");
    let mut upload = open(&registry).upload(&descriptor(b"a"));
    assert!(!upload.mount("base").unwrap());
    send(&mut upload, b"a").unwrap();
    assert_eq!(log(&registry), ["POST 202", "POST 202", "PUT 201"]);
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
    assert_eq!(error.kind(), ErrorKind::Unauthorised);
    let error = send(&mut repository.upload(&descriptor(b"a")), b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorised);
    assert!(!chain(&error).contains("hunter2"));
}

#[test]
fn a_registry_that_takes_nothing_is_not_waited_for() {
    let registry = Registry::start();
    registry.fault(Fault::on("uploads").method("PATCH").delay(Duration::from_secs(60)));
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
    assert_eq!(error.kind(), ErrorKind::Failed, "{error:?}");
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
