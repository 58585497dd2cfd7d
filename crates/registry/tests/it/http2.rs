//! HTTP/2: what goes wrong there doesn't differ from what goes wrong elsewhere.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use registry::{Content, Options, Repository, Window};

use crate::frames::{Say, Server, Turn};
use crate::support::{content, descriptor, open_with, options, read_all};
use crate::tls::config;

/// Reasons of `RST_STREAM`, as in RFC 9113, section 7.
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// Where the answer to a first request breaks off.
const CUT: usize = 300_000;

fn open(turns: Vec<Turn>, options: Options) -> (Server, Repository) {
    let server = Server::start(&config(), turns);
    let insecure = vec![server.host.clone()];
    let repository = open_with(Options { insecure, ..options }, &format!("{}/app", server.host));
    (server, repository)
}

fn whole() -> Turn {
    Turn::answer(200, &[], &content())
}

/// What is left after the cut.
fn rest() -> Turn {
    let range = format!("bytes {CUT}-{}/{}", content().len() - 1, content().len());
    Turn::answer(206, &[("content-range", &range)], &content()[CUT..])
}

/// An answer that breaks off, and then this.
fn cut(then: Say) -> Turn {
    let length = vec![("content-length", content().len().to_string())];
    Turn::of(vec![Say::Head(200, length), Say::Part(content()[..CUT].to_vec()), then])
}

#[track_caller]
fn check(turns: Vec<Turn>, n_requests: usize, n_connections: usize) {
    let (server, repository) = open(turns, options());
    assert_eq!(read_all(&repository, &descriptor(&content()), 0), content());
    assert_eq!((server.n_requests(), server.n_connections()), (n_requests, n_connections));
}

#[test]
fn one_connection_carries_everything() {
    let (server, repository) = open(vec![Turn::answer(200, &[], b"hi")], options());
    let ask = || assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| (0..8).for_each(|_| ask())))));
    assert_eq!((server.n_requests(), server.n_connections()), (32, 1));
}

#[test]
fn a_stream_that_is_reset_goes_on_at_its_byte() {
    check(vec![cut(Say::Reset(INTERNAL_ERROR)), rest()], 2, 1);
}

#[test]
fn a_stream_that_is_refused_is_asked_for_again() {
    check(vec![Turn::of(vec![Say::Reset(REFUSED_STREAM)]), whole()], 2, 1);
}

#[test]
fn a_connection_that_ends_is_followed_by_another() {
    check(vec![Turn::of(vec![Say::GoAway]), whole()], 2, 2);
}

#[test]
fn a_connection_that_says_nothing_is_left() {
    let patient = Options { stall: Duration::from_secs(3), ..options() };
    let (server, repository) = open(vec![cut(Say::Silence), rest()], patient);
    assert_eq!(read_all(&repository, &descriptor(&content()), 0), content());
    assert!(server.n_connections() > 1);
}

#[test]
fn an_upload_that_is_reset_goes_on_where_the_registry_says() {
    let place = ("location", "/v2/app/blobs/uploads/1");
    let reset = Turn { is_early: true, ..Turn::of(vec![Say::Reset(INTERNAL_ERROR)]) };
    let at = |status, range| Turn::answer(status, &[place, ("range", range)], b"");
    let turns = vec![
        at(202, "0-0"),
        reset,
        at(204, "0-99999"),
        at(202, "0-699999"),
        at(202, "0-1000002"),
        Turn::answer(201, &[], b""),
    ];
    let (server, repository) = open(turns, Options { chunk: 600_000, ..options() });
    let mut upload = repository.upload(&descriptor(&content()));
    let content: Arc<dyn Content> = Arc::new(Window::new(0, content()));
    while !upload.is_done() {
        upload.send(&content).unwrap();
    }
    assert_eq!((server.n_requests(), server.n_connections()), (6, 1));
}
