//! Large layers come in parts by several connections, and are what they would be by one.

use std::collections::HashSet;
use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use kit::image::random::Random;
use kit::registry::log::Request;
use kit::{Codec, Fault, Image, Layer, Registry, Sandbox, pipeline};

use crate::fixtures::assert_one_line;
use crate::gc::wait_for;

/// The size of the first part, in bytes; the others are what a connection brings in a second.
const FIRST: u64 = 256 << 10;
/// The size of the large file, in bytes.
const SIZE: usize = 17 << 20;

/// An image with a layer that comes in parts, and one that is small.
struct Fixture {
    image: Image,
    /// The content of the large file.
    large: Vec<u8>,
    /// The path of the large layer.
    layer: String,
    /// The size of the large layer, in bytes.
    size: u64,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
        let large = Random::new(1).bytes(SIZE);
        let layer = Layer::new().file("large", large.clone());
        let image = Image::new().codec(Codec::None).layer(layer);
        let image = image.layer(Layer::new().file("small", "x"));
        let blob = &image.layer_blobs()[0];
        let (layer, size) = (format!("/blobs/{}", blob.digest), blob.bytes.len() as u64);
        Fixture { image, large, layer, size }
    });
    &FIXTURE
}

/// The path of the large layer.
fn layer() -> &'static str {
    &fixture().layer
}

/// The requests for the large layer.
fn asked(registry: &Registry) -> Vec<Request> {
    registry.requests().into_iter().filter(|it| it.path.contains(layer())).collect()
}

/// The parts of the large layer that were asked for.
fn ranges(registry: &Registry) -> Vec<String> {
    asked(registry).into_iter().filter_map(|it| it.range).collect()
}

/// The ends of these parts. What is asked for once more has the same end.
fn ends(ranges: &[String]) -> HashSet<&str> {
    ranges.iter().filter_map(|range| range.rsplit_once('-')).map(|(_, end)| end).collect()
}

fn with_image() -> Registry {
    let registry = Registry::start();
    registry.add("app:1", &fixture().image);
    registry
}

/// Pulls by each way, and compares what comes with what there is. `check` looks at the registry.
#[track_caller]
fn arrives(faults: &[Fault], check: impl Fn(&Registry)) {
    for way in ["pull --no-store", "pull", "pull --no-stream"] {
        let (registry, sandbox) = (with_image(), Sandbox::new());
        for fault in faults {
            registry.fault(fault.clone());
        }
        let name = registry.name("app:1");
        let line = match way {
            "pull --no-stream" => format!("{way} {name} && unpack --from {name} root"),
            _ => format!("{way} {name} | unpack root"),
        };
        pipeline::sh(&sandbox, &line).success();
        let found = fs::read(sandbox.path("root/large")).unwrap();
        assert!(found == fixture().large, "{way}");
        check(&registry);
    }
}

/// Connections so slow that several are wanted.
fn slow() -> Fault {
    Fault::on(layer()).bytes_per_second(4 << 20)
}

#[test]
fn each_part_is_asked_for_once() {
    arrives(&[slow()], |registry| {
        // On a busy machine a part may be taken for one that starves.
        let twice: u64 = registry.sent_twice(layer()).iter().map(|(.., length)| length).sum();
        assert!(twice < 4 << 20, "{}", registry.log());
        let ranges = ranges(registry);
        assert!(ranges.len() > 5, "{}", registry.log());
        assert_eq!(ranges[0], format!("bytes=0-{}", FIRST - 1));
    });
}

#[test]
fn several_parts_are_under_way_at_once_and_no_more_than_connections() {
    for n in [2, 4] {
        let (registry, sandbox) = (with_image(), Sandbox::new());
        // The first shows that the registry gives parts, and how slow a connection is.
        registry.fault(slow());
        registry.fault(Fault::on(layer()).after(1).stall_after(0, None));
        let name = registry.name("app:1");
        let pull = format!("pull --connections {n} --no-stream {name}");
        let pull = pipeline::Script::new(&sandbox, &pull).start();
        wait_for(|| asked(&registry).len() == n + 1);
        registry.heal();
        registry.release();
        pull.wait().success();
    }
}

#[test]
fn one_connection_is_enough_if_the_user_says_so() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    let name = registry.name("app:1");
    pipeline::sh(&sandbox, &format!("pull --connections 1 --no-stream {name}")).success();
    let requests = asked(&registry);
    assert_eq!(requests.len(), 1, "{}", registry.log());
    assert_eq!(requests[0].range, None);
}

#[test]
fn a_quick_connection_is_enough_until_it_slows_down() {
    // As nginx's limit_rate_after has it: a part is quick, and the whole isn't.
    let burst = Fault::on(layer()).bytes_per_second(2 << 20).after_burst(3 << 20);
    // Where a request for all that is left begins.
    let start = |range: &String| -> Option<u64> {
        range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    };
    arrives(&[burst], |registry| {
        let ranges = ranges(registry);
        // After the burst there must be slow bytes for two trials, for a busy machine may sleep through one.
        let is_long = |range| start(range).is_some_and(|at| fixture().size - at > 11 << 20);
        // On a busy machine no connection is quick, and all comes in parts.
        if let Some(at) = ranges.iter().position(is_long) {
            assert!(ranges.len() > at + 1, "{ranges:?}");
        }
    });
    arrives(&[], |registry| {
        let ranges = ranges(registry);
        // On a busy machine a connection may be given up.
        if ranges.iter().rev().skip(1).all(|range| start(range).is_none()) {
            let n_bytes = registry.bytes_sent(layer());
            assert_eq!((n_bytes, registry.sent_twice(layer())), (fixture().size, vec![]));
        }
    });
}

#[test]
fn a_quick_connection_that_begins_to_trickle_is_left_at_once() {
    // podman#29625: 2 GB quickly, and then 11 kB a second until it broke. Four more MiB would take minutes.
    let trickles = Fault::on(layer()).bytes_per_second(20 << 10).after_burst(9 << 20);
    arrives(&[trickles], |_| ());
}

#[test]
fn where_each_request_is_waited_for_long_the_rest_comes_by_one() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    let waits = Fault::on(layer()).delay(Duration::from_secs(1)).bytes_per_second(60 << 20);
    registry.fault(waits);
    let line = format!("pull --connections 2 --no-store {} | unpack root", registry.name("app:1"));
    pipeline::sh(&sandbox, &line).success();
    assert!(fs::read(sandbox.path("root/large")).unwrap() == fixture().large);
    let ranges = ranges(&registry);
    assert!(ranges.last().unwrap().ends_with('-'), "{ranges:?}");
    assert_eq!(ranges.len(), 6, "{ranges:?}");
}

#[test]
fn the_rest_of_a_part_that_trickles_is_brought_by_another_connection() {
    // As storage does that answers from many machines, one of which is in trouble (beta9#1876, simpleinfra#1166).
    let trickles = Fault::on(layer()).after(2).times(1).bytes_per_second(20 << 10);
    arrives(&[slow(), trickles], |registry| {
        let ranges = ranges(registry);
        assert!(ends(&ranges).len() < ranges.len(), "{}", registry.log());
        let n_bytes = registry.bytes_sent(layer());
        assert!(n_bytes < fixture().size + (2 << 20), "{n_bytes} bytes, {}", registry.log());
    });
}

#[test]
fn a_part_that_stalls_is_brought_by_another_connection_and_not_waited_for() {
    let stalled = Fault::on(layer()).after(2).times(1);
    let first = Fault::on(layer()).times(1);
    for fault in [
        stalled.clone().stall_after(100 << 10, None),
        // Its answer doesn't even begin.
        stalled.delay(Duration::from_secs(3600)),
        // The first part tells whether there are others.
        first.bytes_per_second(1 << 10),
    ] {
        let (registry, sandbox) = (with_image(), Sandbox::new());
        registry.fault(slow());
        registry.fault(fault);
        // Whoever waited for the time-out would be ended with the test.
        let pull = format!("pull --stall-timeout 3600 {}", registry.name("app:1"));
        pipeline::sh(&sandbox, &format!("{pull} | unpack root")).success();
        assert!(fs::read(sandbox.path("root/large")).unwrap() == fixture().large);
    }
}

#[test]
fn a_layer_that_is_too_small_for_parts_and_trickles_is_asked_for_by_another_connection() {
    const MEDIUM: usize = 3 << 20;
    let medium = Random::new(2).bytes(MEDIUM);
    let large = Layer::new().file("large", fixture().large.clone());
    let image = Image::new().codec(Codec::None).layer(large);
    let image = image.layer(Layer::new().file("medium", medium.clone()));
    let path = format!("/blobs/{}", image.layer_blobs()[1].digest);
    for way in ["pull --no-store", "pull"] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        registry.add("app:1", &image);
        registry.fault(slow());
        registry.fault(Fault::on(&path).times(1).bytes_per_second(20 << 10));
        let line = format!("{way} {} | unpack root", registry.name("app:1"));
        pipeline::sh(&sandbox, &line).success();
        assert!(fs::read(sandbox.path("root/medium")).unwrap() == medium, "{way}");
        // What has come isn't asked for again.
        let n_bytes = registry.bytes_sent(&path);
        assert!(n_bytes < (MEDIUM + (1 << 20)) as u64, "{way}: {n_bytes}, {}", registry.log());
    }
}

#[test]
fn a_registry_that_gives_no_parts_is_asked_by_one_connection() {
    arrives(&[Fault::on(layer()).ignore_range()], |registry| {
        assert_eq!(asked(registry).len(), 1, "{}", registry.log());
    });
}

#[test]
fn a_registry_that_refuses_to_give_parts_gives_the_whole() {
    // 501 is an answer that passes, and is tried again.
    for status in [400, 405, 416] {
        let refused = Fault::on(layer()).with_header("Range").status(status);
        arrives(&[refused], |registry| {
            let whole = asked(registry).into_iter().filter(|it| it.range.is_none());
            assert_eq!(whole.count(), 1, "{status}: {}", registry.log());
        });
    }
}

#[test]
fn a_registry_that_stops_giving_parts_in_the_middle_is_understood() {
    arrives(&[Fault::on(layer()).after(2).times(2).ignore_range()], |_| ());
}

#[test]
fn what_breaks_costs_its_part_alone() {
    let breaks = Fault::on(layer()).after(1).times(3).close_after(10_000);
    arrives(&[slow(), breaks], |registry| {
        // Of each part that broke, the rest is asked for, to the same end.
        let ranges = ranges(registry);
        assert!(ranges.len() >= ends(&ranges).len() + 3, "{}", registry.log());
        let n_bytes = registry.bytes_sent(layer());
        // What is under way when a connection breaks is lost.
        assert!(n_bytes < fixture().size + (3 << 20), "{n_bytes}");
    });
}

#[test]
fn a_wrong_byte_in_a_part_is_an_error_and_nothing_is_stored() {
    for way in ["--no-store", "", "--no-stream"] {
        let (registry, sandbox) = (with_image(), Sandbox::new());
        registry.fault(Fault::on(layer()).flip(9 << 20));
        let output =
            pipeline::sh(&sandbox, &format!("pull {way} {} | cat > out", registry.name("app:1")));
        assert_eq!(output.code(), 4, "{}", output.text());
        assert_one_line(&output, "pull");
        assert_eq!(sandbox.command("images").arg("-q").run().out(), "");
    }
}

#[test]
fn a_part_that_is_not_to_be_had_is_an_error_that_names_the_layer() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    registry.fault(slow());
    registry.fault(Fault::on(layer()).after(2).status(404));
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {}", registry.name("app:1")));
    assert_one_line(output.fails_with(3), "pull");
    assert!(output.stderr.contains("layer sha256:"), "{}", output.text());
}

#[test]
fn a_pull_that_was_ended_goes_on_where_all_before_has_come() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    let name = registry.name("app:1");
    registry.fault(slow());
    // The second part never comes, so what follows it can't be kept.
    let second = Fault::on(layer()).after(1).times(1).stall_after(1000, None);
    registry.fault(second);
    let pull = pipeline::Script::new(&sandbox, &format!("exec pull --no-stream {name}")).start();
    let partial = || {
        let folder = sandbox.store().join("strata/partial");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|it| it.metadata().map_or(0, |it| it.len())).max().unwrap_or_default()
    };
    wait_for(|| partial() >= FIRST);
    pull.signal(rustix::process::Signal::TERM);
    assert_eq!(pull.wait().code(), 143);
    let kept = partial();
    registry.heal();
    registry.release();
    registry.forget();
    pipeline::sh(&sandbox, &format!("pull --no-stream {name} && images verify")).success();
    let ranges = ranges(&registry);
    // A request of the first pull may come late.
    let begins = format!("bytes={kept}-");
    assert!(ranges.iter().any(|it| it.starts_with(&begins)), "{}", registry.log());
}

#[test]
fn a_reader_that_goes_away_ends_all_connections() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    // No other answer comes: those who wait for one are ended as well.
    registry.fault(slow());
    registry.fault(Fault::on(layer()).after(1).delay(Duration::from_secs(3600)));
    let pull = format!("pull --no-store --stall-timeout 3600 {}", registry.name("app:1"));
    let line = format!("{pull} | head -c 100000 > /dev/null");
    let output = pipeline::sh(&sandbox, &line);
    assert_eq!(output.pipe[0], 141, "{}", output.text());
}

#[test]
fn on_a_slow_line_the_stream_flows_and_an_interruption_loses_little() {
    let (registry, sandbox) = (with_image(), Sandbox::new());
    let name = registry.name("app:1");
    // Five seconds at a megabyte a second: whatever is under way at the end is lost, the rest is kept.
    let script = format!(
        "timeout 5 pull -q --no-stream --limit-rate 1M {name}
         timeout 5 pull -q --no-store --limit-rate 1M {name} | wc -c"
    );
    let output = pipeline::sh(&sandbox, &script);
    let kept = fs::read_dir(sandbox.store().join("strata/partial")).unwrap().flatten();
    let kept = kept.map(|it| it.metadata().unwrap().len()).max().unwrap();
    assert!(kept > 1_000_000, "{kept} bytes were kept");
    let streamed: u64 = output.out().trim().parse().unwrap();
    assert!(streamed > 1_000_000, "{streamed} bytes were streamed");
}
