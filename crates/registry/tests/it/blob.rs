//! Blobs, and everything that a network does to them.

use std::io::{BufRead as _, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Fault, Registry};
use layer_format::Descriptor;
use registry::{Error, Options};
use report::ErrorKind;

use crate::script::{Script, answer};
use crate::support::{
    check, content, descriptor, impatient, open, open_with, options, read, read_all, with_blob,
    with_blob_and,
};

/// Reads the blob under a fault: it must come whole, and no byte of it twice.
#[track_caller]
fn recovers(fault: Fault, n_requests: usize) -> Registry {
    let (registry, descriptor) = with_blob_and(fault);
    let repository = open_with(impatient(), &registry.name("app"));
    assert!(read_all(&repository, &descriptor, 0) == content(), "other bytes");
    assert_eq!(registry.requests().len(), n_requests, "{}", registry.log());
    registry
}

#[test]
fn a_blob_is_read_from_any_offset() {
    let (registry, descriptor) = with_blob();
    let repository = open(&registry);
    for offset in [0, 1, 500_000, descriptor.size - 1] {
        let start = usize::try_from(offset).unwrap();
        assert!(read_all(&repository, &descriptor, offset) == content()[start..]);
    }
    assert_eq!(registry.requests()[1].range.as_deref(), Some("bytes=1-"));
    registry.forget();
    assert!(read_all(&repository, &descriptor, descriptor.size).is_empty());
    assert!(registry.requests().is_empty(), "nothing is left to ask for");
    assert!(repository.blob(&descriptor, descriptor.size + 1).is_err());
}

#[test]
fn whoever_only_looks_is_spared_a_copy() {
    let (registry, descriptor) = with_blob();
    let mut blob = open(&registry).blob(&descriptor, 0).unwrap();
    let mut found = vec![];
    loop {
        let chunk = blob.fill_buf().unwrap();
        let n = chunk.len().min(10_000);
        found.extend_from_slice(&chunk[..n]);
        blob.consume(n);
        assert_eq!(blob.offset(), found.len() as u64);
        if n == 0 {
            break;
        }
    }
    assert!(found == content());
}

#[test]
fn a_connection_that_is_cut_is_taken_up_where_it_broke() {
    let registry = recovers(Fault::on("blobs/").times(3).close_after(200_000), 4);
    assert_eq!(registry.sent_twice("blobs/"), []);
    assert_eq!(registry.bytes_sent("blobs/"), 1_000_003);
}

#[test]
fn progress_starts_the_count_of_failures_anew() {
    let registry = recovers(Fault::on("blobs/").close_after(100_000), 11);
    assert_eq!(registry.sent_twice("blobs/"), []);
}

#[test]
fn a_stall_is_left_behind() {
    let registry = recovers(Fault::on("blobs/").times(1).stall_after(300_000, None), 2);
    assert_eq!(registry.sent_twice("blobs/"), []);
}

#[test]
fn a_short_pause_is_no_stall() {
    let pause = Some(Duration::from_millis(100));
    recovers(Fault::on("blobs/").stall_after(300_000, pause), 1);
}

#[test]
fn a_slow_reader_is_no_stall() {
    let (registry, descriptor) = with_blob();
    let mut blob = open_with(impatient(), &registry.name("app")).blob(&descriptor, 0).unwrap();
    let mut found = vec![0; 100];
    blob.read_exact(&mut found).unwrap();
    thread::sleep(Duration::from_secs(1));
    found.extend(read(&mut blob).0);
    assert!(found == content());
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_body_with_too_small_a_length_is_continued() {
    let registry = recovers(Fault::on("blobs/").times(1).shorten(400_000), 2);
    assert_eq!(registry.sent_twice("blobs/"), []);
    recovers(Fault::on("blobs/").times(2).until_close().close_after(400_000), 3);
    recovers(Fault::on("blobs/").times(2).chunked().close_after(400_000), 3);
}

#[test]
fn chunks_and_no_length_at_all_are_fine() {
    recovers(Fault::on("blobs/").chunked(), 1);
    recovers(Fault::on("blobs/").until_close(), 1);
}

#[test]
fn a_server_that_ignores_ranges_is_skipped_forward() {
    let (registry, descriptor) = with_blob_and(Fault::on("blobs/").ignore_range());
    registry.fault(Fault::on("blobs/").times(1).close_after(400_000));
    assert!(read_all(&open(&registry), &descriptor, 0) == content());
    assert_eq!(registry.requests().len(), 2);
    assert!(read_all(&open(&registry), &descriptor, 700_000) == content()[700_000..]);
}

#[test]
fn a_server_that_sends_another_part_is_asked_for_the_whole() {
    let (registry, descriptor) = with_blob_and(Fault::on("blobs/").claim_start(7));
    assert!(read_all(&open(&registry), &descriptor, 700_000) == content()[700_000..]);
    let ranges: Vec<_> = registry.requests().into_iter().map(|it| it.range).collect();
    assert_eq!(ranges, [Some("bytes=700000-".to_owned()), None]);
}

#[test]
fn a_failure_that_lasts_is_the_end() {
    let (registry, descriptor) = with_blob();
    registry.fault(Fault::on("blobs/").after(1).hang_up());
    registry.fault(Fault::on("blobs/").close_after(100_000));
    let (found, error) = read(&mut open(&registry).blob(&descriptor, 0).unwrap());
    assert_eq!(found.len(), 100_000);
    let error = error.unwrap();
    assert!(matches!(error, Error::Connection { step: "reading from", .. }), "{error:?}");
    assert_eq!(registry.requests().len(), 1 + 5 - 1);
}

#[test]
fn a_busy_registry_is_waited_for_in_the_middle() {
    let (registry, descriptor) = with_blob();
    registry.fault(Fault::on("blobs/").times(1).close_after(100_000));
    let busy = Fault::on("blobs/").with_header("Range").times(3);
    registry.fault(busy.status(503).header("Retry-After", "0"));
    assert!(read_all(&open(&registry), &descriptor, 0) == content());
    assert_eq!(registry.requests().len(), 5);
}

#[test]
fn a_blob_that_is_too_short_is_not_to_be_trusted() {
    let (registry, right) = with_blob();
    let wanted = Descriptor { size: right.size + 5, ..right.clone() };
    let (found, error) = read(&mut open(&registry).blob(&wanted, 0).unwrap());
    assert!(found == content());
    let name = format!("{}@sha256:{}", registry.name("app"), right.digest.short());
    let text = format!("{name}: size mismatch: expected 1000008 bytes, found 1000003");
    check(&error.unwrap(), ErrorKind::Untrusted, &text);
}

#[test]
fn a_blob_that_is_too_long_is_not_to_be_trusted() {
    let (registry, right) = with_blob_and(Fault::on("blobs/").lengthen(9));
    let error = open(&registry).blob(&right, 0).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { found: 1_000_012, .. }), "{error}");
    registry.fault(Fault::on("blobs/").chunked());
    let (found, error) = read(&mut open(&registry).blob(&right, 0).unwrap());
    assert!(found.len() <= content().len() && content().starts_with(&found));
    assert!(matches!(error, Some(Error::SizeMismatch { found: 1_000_004, .. })), "{error:?}");
}

#[test]
fn a_claim_of_more_than_is_sent_is_recovered_from() {
    let (registry, right) = with_blob();
    registry.fault(Fault::on("blobs/").times(1).shorten(500_000).claim_length(1_000_003));
    assert!(read_all(&open(&registry), &right, 0) == content());
    assert_eq!(registry.sent_twice("blobs/"), []);
}

#[test]
fn a_web_page_is_no_blob() {
    let (registry, right) = with_blob_and(Fault::on("blobs/").html());
    let error = open(&registry).blob(&right, 0).unwrap_err();
    assert!(matches!(error, Error::NotARegistry { .. }), "{error}");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_blob_that_is_not_there_is_known_at_once() {
    let (registry, _) = with_blob();
    let error = open(&registry).blob(&descriptor(b"x"), 0).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn whoever_waits_can_be_interrupted() {
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    let (registry, descriptor) = with_blob_and(Fault::on("blobs/").stall_after(1000, None));
    let options = Options { cancelled: || CANCELLED.load(Ordering::SeqCst), ..options() };
    let mut blob = open_with(options, &registry.name("app")).blob(&descriptor, 0).unwrap();
    let (sending, begun) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        // All that comes; after that nothing does.
        blob.read_exact(&mut [0; 1000]).unwrap();
        sending.send(()).unwrap();
        read(&mut blob)
    });
    begun.recv().unwrap();
    let started = Instant::now();
    CANCELLED.store(true, Ordering::SeqCst);
    let (_, error) = reader.join().unwrap();
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert!(matches!(error, Some(Error::Interrupted { .. })), "{error:?}");
}

#[test]
fn a_foreign_layer_comes_from_its_other_addresses() {
    let registry = Registry::start();
    let other = Script::plain(vec![
        answer(404, "", b""),
        answer(200, "", &content()[..400_000]),
        answer(206, "Content-Range: bytes 400000-1000002/1000003\r\n", &content()[400_000..]),
    ]);
    let mut descriptor = descriptor(&content());
    descriptor.urls =
        vec![format!("http://{}/missing", other.host), format!("http://{}/layer", other.host)];
    let repository = open(&registry);
    assert!(matches!(repository.blob(&descriptor, 0), Err(Error::NotFound { .. })));
    assert!(other.requests().is_empty(), "an ordinary layer has no other addresses");
    descriptor.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar".to_owned();
    assert!(read_all(&repository, &descriptor, 0) == content());
    let requests = other.requests();
    assert!(requests[2].starts_with("GET /layer ") && requests[2].contains("bytes=400000-"));
}

#[test]
fn a_foreign_layer_that_no_address_has_is_not_found() {
    let registry = Registry::start();
    let mut descriptor = descriptor(&content());
    descriptor.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar".to_owned();
    for n_addresses in 0..3 {
        let other = Script::plain(vec![answer(404, "", b""); n_addresses]);
        descriptor.urls = vec![format!("http://{}/missing", other.host); n_addresses];
        let missing = open(&registry).blob(&descriptor, 0);
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{n_addresses}");
        assert_eq!(other.requests().len(), n_addresses);
    }
}

#[test]
fn threads_share_connections() {
    let (registry, descriptor) = with_blob();
    let repository = open(&registry);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(read_all(&repository, &descriptor, 0) == content()));
        }
    });
    assert_eq!(registry.requests().len(), 4);
}

#[test]
fn no_more_bytes_a_second_come_than_are_wanted_and_they_are_the_same() {
    let (registry, descriptor) = with_blob();
    let limit_rate = std::num::NonZeroU64::new(2_000_000);
    let options = Options { limit_rate, ..impatient() };
    let repository = open_with(options, &registry.name("app"));
    let started = Instant::now();
    // Two at once share it.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert!(read_all(&repository, &descriptor, 0) == content()));
        }
    });
    // 2 MB at 2 MB a second, but for the last pieces, after which nobody waits.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(registry.requests().len(), 2, "nothing stalled meanwhile: {}", registry.log());
}

#[test]
fn no_more_bytes_a_second_go_than_are_wanted() {
    let registry = Registry::start();
    let limit_rate = std::num::NonZeroU64::new(2_000_000);
    let options = Options { limit_rate, ..impatient() };
    let repository = open_with(options, &registry.name("app"));
    let content: std::sync::Arc<dyn registry::Content> =
        std::sync::Arc::new(registry::Window::new(0, content()));
    let started = Instant::now();
    repository.upload(&descriptor(&crate::support::content())).send(&content).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    let sent = registry.requests().iter().map(|it| it.received).sum::<u64>();
    assert_eq!(sent, 1_000_003);
}

#[test]
fn what_a_server_says_of_a_blobs_encoding_changes_nothing() {
    // moby#17595: Apache calls each blob that is a gzip x-gzip; #15264 and containerd#5124: no length.
    let blob = kit::Codec::GZIP.encode(&content()[..1000]);
    for encoding in ["gzip", "x-gzip"] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        let script = Script::plain(vec![answer(200, &headers, &blob)]);
        let repository = open_with(options(), &format!("{}/app", script.host));
        assert!(read_all(&repository, &descriptor(&blob), 0) == blob, "{encoding}");
    }
}
