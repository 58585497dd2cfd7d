//! What is asked for next, by whom.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use layer_format::{Descriptor, Digest};
use registry::{Client, Options};

use super::connections::{LARGEST, Parts, stopped};
use super::reader::Reader;
use super::state::{Claim, Divided, ENOUGH, SMALLEST, Server, State, needed};
use crate::blob::Blob;
use crate::slot::lock;

const MIB: u64 = 1 << 20;

/// The parts of a blob of so many bytes, at its beginning, of a registry that is never asked.
fn of_blob(size: u64, server: Server) -> Parts {
    of_blobs(1, size, server)
}

/// The same of several blobs, three of which are read at once.
fn of_blobs(n: usize, size: u64, server: Server) -> Parts {
    let client = Client::new(Options::default()).unwrap();
    let blob = Blob {
        descriptor: Descriptor::new("", Digest::of(b""), size),
        repository: client.repository(&"localhost:1/app".parse().unwrap()).unwrap(),
        diff_ids: [].into(),
    };
    let parts = Parts::new(8, std::slice::from_ref(&blob), 3);
    parts.update(|state| {
        let divided = || Divided { server, ..Divided::new(blob.clone(), 0) };
        state.blobs.extend((0..n).map(|position| (position, divided())));
    });
    parts
}

fn is_given_up(claim: &Claim) -> bool {
    claim.given_up.load(Ordering::Relaxed)
}

/// The next part of it, and whether it is all that is left; `None` if none is to be asked for.
fn claim(parts: &Parts) -> Option<(Range<u64>, bool)> {
    let claim = lock(&parts.state).claim(8, LARGEST, parts.readers)?;
    Some((claim.range, claim.is_rest))
}

#[test]
fn parts_under_way_take_about_as_much_memory_whatever_their_number() {
    let largest = |connections| Parts::new(connections, &[], 1).largest;
    assert_eq!([1, 2, 8, 12, 64].map(largest), [4 << 20, 4 << 20, 3 << 20, 2 << 20, 384 << 10]);
}

#[test]
fn the_rate_follows_what_connections_bring() {
    let mut state = State::default();
    state.note(4 << 20, Duration::from_secs(1));
    state.note(8 << 20, Duration::from_secs(1));
    assert_eq!(state.rate, 5 << 20);
}

#[test]
fn one_quick_connection_is_enough_until_it_slows_down() {
    const SIZE: u64 = 100 << 20;
    let parts = of_blob(SIZE, Server::GivesParts);
    parts.update(|state| state.rate = 2 * ENOUGH);
    assert_eq!(claim(&parts), Some((0..SIZE, true)));
    assert_eq!(claim(&parts), None);
    let offset = 5 << 20;
    assert!(parts.resume(0, offset), "it wasn't quick to the end");
    assert_eq!(claim(&parts), Some((offset..offset + LARGEST, false)));
    assert_eq!(claim(&parts), Some((offset + LARGEST..offset + 2 * LARGEST, false)));
    let new = of_blob(SIZE, Server::Unasked);
    new.update(|state| state.rate = 2 * ENOUGH);
    assert_eq!(claim(&new), Some((0..SIZE, true)), "others were quick");
    assert!(new.resume(0, offset));
    assert_eq!(claim(&new), Some((offset..offset + LARGEST, false)));
    assert_eq!(claim(&new), None, "whether its server gives parts isn't known");
    let all_by_one = of_blob(SIZE, Server::Asked);
    assert!(!all_by_one.resume(0, offset), "its server gives no parts");
    assert!(!all_by_one.resume(1, offset), "its reader has gone");
}

#[test]
fn a_connection_for_each_blob_that_is_read_is_enough_if_they_are_quick_together() {
    const SIZE: u64 = 100 << 20;
    let check = |n, rate, expected| {
        let parts = of_blobs(n, SIZE, Server::GivesParts);
        parts.update(|state| state.rate = rate);
        assert_eq!(claim(&parts), Some(expected), "{n} blobs, {rate}");
    };
    check(3, ENOUGH / 2, (0..SIZE, true));
    check(4, ENOUGH / 2, (0..SIZE, true));
    check(3, ENOUGH / 3, (0..LARGEST, false));
    check(2, ENOUGH / 2, (0..LARGEST, false));
    check(1, ENOUGH, (0..LARGEST, false));
    check(1, ENOUGH + 1, (0..SIZE, true));
}

#[test]
fn parts_that_are_waited_for_too_long_are_given_up() {
    const SIZE: u64 = 100 << 20;
    let wait = Duration::from_secs(48);
    let check = |readers, dear, n_dear, expected| {
        let parts = of_blobs(readers, SIZE, Server::GivesParts);
        parts.update(|state| {
            state.has_slowed_down = true;
            let dear = std::iter::repeat_n(wait / dear, n_dear);
            let took = dear.chain(std::iter::repeat_n(wait, 16 - n_dear));
            took.for_each(|took| state.weigh(wait, took, 8, readers));
        });
        assert_eq!(claim(&parts), Some(expected), "{readers} read, {n_dear} of 1/{dear}");
    };
    let (part, whole) = ((0..SMALLEST, false), (0..SIZE, true));
    check(1, 17, 6, whole.clone());
    check(1, 17, 5, part.clone());
    check(1, 16, 16, part.clone());
    check(3, 7, 6, whole);
    check(3, 6, 16, part);
    let parts = of_blobs(5, SIZE, Server::GivesParts);
    parts.update(|state| state.are_dear = true);
    assert!(!parts.resume(0, 0), "it was asked for parts before");
    let claims = std::iter::from_fn(|| claim(&parts));
    assert_eq!(claims.count(), 3, "one for each that is read");
}

#[test]
fn a_part_whose_reader_has_gone_makes_room_when_it_ends() {
    let parts = of_blob(100 << 20, Server::GivesParts);
    let mut state = lock(&parts.state);
    let claims: Vec<_> = std::iter::repeat_with(|| state.claim(2, LARGEST, 1)).take(2).collect();
    let [Some(first), Some(second)] = &claims[..] else { panic!("{claims:?}") };
    let counts = |state: &State| (state.n_parts, state.under_way.len());
    assert_eq!(counts(&state), (2, 2));
    state.end(first, Err(stopped().into()));
    assert_eq!(counts(&state), (2, 1), "it is to be read");
    state.blobs.clear();
    state.end(second, Err(stopped().into()));
    assert_eq!(counts(&state), (1, 0));
}

/// Has so many bytes of the first part come since so long ago.
fn trickle(state: &mut State, n_bytes: u64, seconds: f32) {
    let arrival = state.part(0, 0).unwrap();
    arrival.begun = Instant::now().checked_sub(Duration::from_secs_f32(seconds));
    arrival.n_bytes = n_bytes;
}

#[test]
fn what_is_silent_is_brought_by_another_connection() {
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    let is_starved = |is_rest, asked, begun: Option<u64>, last| {
        let parts = of_blob(100 * MIB, Server::GivesParts);
        let mut state = lock(&parts.state);
        state.rate = 4 * MIB;
        state.recent.note(4 * MIB);
        let first = state.claim(1, 4 * MIB, 1).unwrap();
        let arrival = state.arrival(&first).unwrap();
        (arrival.is_rest, arrival.asked, arrival.last) = (is_rest, ago(asked), ago(last));
        (arrival.begun, arrival.n_bytes) =
            (begun.map(ago), if begun.is_some() { 3 * MIB } else { 0 });
        state.claim(1, 4 * MIB, 1).is_some()
    };
    assert!(!is_starved(false, 2, None, 2), "an answer may be waited for");
    assert!(is_starved(false, 3, None, 3));
    assert!(!is_starved(true, 3, None, 3), "its reader would get it whole");
    assert!(!is_starved(false, 5, Some(4), 2), "it came quickly enough until now");
    assert!(is_starved(false, 5, Some(4), 3));
}

#[test]
fn where_a_server_gives_no_parts_any_more_the_others_are_left() {
    let parts = of_blob(100 << 20, Server::GivesParts);
    let mut state = lock(&parts.state);
    let claims: Vec<_> = (0..4).map(|_| state.claim(8, LARGEST, 1).unwrap()).collect();
    state.end(&claims[3], Err(stopped().into()));
    assert_eq!((state.n_parts, state.under_way.len()), (4, 3));
    state.leave_parts(&claims[1]);
    let given_up: Vec<_> = claims.iter().map(is_given_up).collect();
    assert_eq!(given_up, [false, false, true, false]);
    assert_eq!(state.n_parts, 3, "one that has ended, and wasn't read");
    state.end(&claims[2], Err(stopped().into()));
    assert_eq!((state.n_parts, state.blobs[&0].parts.len()), (2, 2));
    assert!(state.claim(8, LARGEST, 1).is_none(), "all that is left comes by one request");
    drop(state);
    assert!(!parts.resume(0, 0));
}

#[test]
fn the_rest_of_a_part_that_starves_is_brought_by_another_connection() {
    let parts = of_blob(100 * MIB, Server::GivesParts);
    let mut state = lock(&parts.state);
    state.rate = 4 * MIB;
    state.recent.note(4 * MIB);
    let claim = |state: &mut State| state.claim(1, 4 * MIB, 1);
    let first = claim(&mut state).unwrap();
    assert_eq!(first.range, 0..4 * MIB);
    assert!(claim(&mut state).is_none(), "nothing has come yet");
    for (n_bytes, seconds) in [(0, 0.9), (2 * MIB, 2.0), (4 * MIB, 60.0)] {
        trickle(&mut state, n_bytes, seconds);
        assert!(claim(&mut state).is_none(), "{n_bytes} bytes in {seconds} s");
    }
    trickle(&mut state, MIB, 4.0);
    state.are_dear = true;
    assert!(claim(&mut state).is_none(), "the server has too much to do");
    state.are_dear = false;
    let second = claim(&mut state).unwrap();
    assert_eq!((second.start, &second.range, second.is_first), (0, &(MIB..4 * MIB), false));
    assert_eq!([&first, &second].map(is_given_up), [true, false]);
    assert!(claim(&mut state).is_none(), "it has just begun");
    assert!(state.arrival(&first).is_none(), "nobody wants more of it");
    state.end(&first, Err(stopped().into()));
    assert_eq!((state.n_parts, state.under_way.len()), (1, 1));
    assert!(state.part(0, 0).unwrap().end.is_none(), "the other one brings it");
    trickle(&mut state, MIB, 4.0);
    let third = claim(&mut state).unwrap();
    assert_eq!(third.range, 2 * MIB..4 * MIB);
    state.end(&third, Err(stopped().into()));
    assert!(state.part(0, 0).unwrap().end.is_some());
    assert!(claim(&mut state).is_none(), "it has ended");
}

#[test]
fn what_nobody_wants_any_more_is_given_up() {
    let parts = of_blob(100 << 20, Server::GivesParts);
    let claim = || lock(&parts.state).claim(8, LARGEST, 1).unwrap();
    let (first, second) = (claim(), claim());
    lock(&parts.state).end(&first, Err(stopped().into()));
    drop(Reader::new(&parts, 0, 0, 1));
    assert_eq!([&first, &second].map(is_given_up), [false, true]);
    let parts = of_blob(100 << 20, Server::GivesParts);
    let first = lock(&parts.state).claim(8, LARGEST, 1).unwrap();
    parts.end();
    assert!(is_given_up(&first));
}

#[test]
fn quick_connections_are_few() {
    let of = |rate: u64| needed(rate << 20, 8);
    assert_eq!([0, 1, 30, 37, 38, 100, 200, 400].map(of), [8, 8, 8, 8, 8, 4, 2, 1]);
}
