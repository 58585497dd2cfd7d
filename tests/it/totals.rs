//! How far all of it is: bytes of all, the rate, the time left (moby#4022, moby#10894, docker/cli#2688).

use kit::pipeline::sh;
use kit::terminal::{OnTerminal, Size};
use kit::{Fault, Registry, Sandbox};
use serde_json::Value;

use crate::fixtures::noise;

/// An image of three layers of 100 kB, each of which the registry sends in so many seconds.
fn slow(seconds: u64) -> (Registry, Sandbox, String) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", noise(100_000));
    registry.fault(Fault::on("/blobs/").method("GET").bytes_per_second(100_000 / seconds));
    let name = registry.name("app:1");
    (registry, sandbox, name)
}

/// Starts a pull by a single connection on a terminal.
fn pulling(sandbox: &Sandbox, size: Size, name: &str) -> OnTerminal {
    let args = ["--no-stream", "--jobs", "1", "--connections", "1", name];
    sandbox.command("pull").args(args).start_on(size)
}

/// The line below the bars, if it is there with all that belongs to it.
fn total(screen: &str) -> Option<&str> {
    let last = screen.lines().rfind(|line| !line.trim().is_empty())?;
    let is_whole = last.starts_with("Total ") && last.contains("/s") && last.ends_with(" left");
    is_whole.then_some(last)
}

#[test]
fn the_last_line_below_the_bars_has_bytes_rate_and_time_left_at_every_width() {
    for columns in [80, 140, 60] {
        let (_registry, sandbox, name) = slow(1);
        let pull = pulling(&sandbox, Size { columns, rows: 24 }, &name);
        let screen = pull.wait_for(|screen| total(screen).is_some());
        let line = total(&screen).unwrap();
        assert!(line.contains("/306kB"), "{screen}");
        assert_eq!(line.contains('['), columns > 60, "{screen}");
        assert!(line.chars().count() < columns.into(), "{screen}");
        let shown = pull.wait();
        let end = shown.ended_with(0);
        assert!(!end.contains("Total"), "{end}");
        assert_eq!(end.matches("Pull complete").count(), 3, "{end}");
    }
}

// Two of our programs on one terminal: only the last one draws, and its total goes with the bars.
#[test]
fn of_two_programs_the_last_one_shows_its_total() {
    let (_registry, sandbox, name) = slow(1);
    let script = format!("pull --jobs 1 --connections 1 {name} | unpack --owner ignore root");
    let running = kit::pipeline::on_terminal(&sandbox, Size { columns: 80, rows: 24 }, &script);
    let screen = running.wait_for(|screen| total(screen).is_some());
    assert_eq!(screen.matches("Total").count(), 1, "{screen}");
    let shown = running.wait();
    let end = shown.ended_with(0);
    assert!(!end.contains("Total") && end.matches("Unpacked").count() == 3, "{end}");
}

#[test]
fn programs_are_told_the_same() {
    let (_registry, sandbox, name) = slow(1);
    let script = format!("pull --progress json --no-stream --jobs 1 --connections 1 {name}");
    let talk = sh(&sandbox, &script).success().stderr.clone();
    let objects = talk.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let totals: Vec<_> = objects.filter(|object| object["type"] == "total").collect();
    assert!(totals.len() >= 3, "{talk}");
    let number = |object: &Value, key: &str| object[key].as_u64();
    assert!(totals.iter().all(|it| number(it, "total") == Some(305_664)), "{talk}");
    let current: Vec<_> = totals.iter().map(|it| number(it, "current").unwrap()).collect();
    assert!(current.is_sorted() && current[0] < current[current.len() - 1], "{talk}");
    let timed: Vec<_> = totals.iter().filter(|it| it["secondsLeft"].is_u64()).collect();
    assert!(!timed.is_empty(), "{talk}");
    assert!(timed.iter().all(|it| number(it, "secondsLeft").unwrap() < 60), "{talk}");
    assert!(totals.iter().any(|it| it["bytesPerSecond"].is_u64()), "{talk}");
}

#[test]
fn layers_that_are_there_are_no_part_of_it() {
    let (registry, sandbox, name) = slow(1);
    registry.heal();
    registry.add("base:1", noise(100_000));
    sh(&sandbox, &format!("pull -q --no-stream {}", registry.name("base:1"))).success();
    let app = noise(100_000).layer(kit::Layer::new().file("a", vec![1; 90_000]));
    let app = app.layer(kit::Layer::new().file("b", vec![2; 90_000]));
    registry.add("app:2", app);
    registry.fault(Fault::on("/blobs/").method("GET").bytes_per_second(90_000));
    let name = name.replace("app:1", "app:2");
    let pull = pulling(&sandbox, Size { columns: 100, rows: 24 }, &name);
    let screen = pull.wait_for(|screen| total(screen).is_some());
    assert!(total(&screen).unwrap().contains("/183kB"), "{screen}");
    pull.wait().ended_with(0);
}

#[test]
fn a_log_has_a_line_of_it_every_ten_seconds() {
    let (_registry, sandbox, name) = slow(5);
    let script = format!("pull --no-stream --jobs 1 --connections 1 {name}");
    let talk = sh(&sandbox, &script).success().stderr.clone();
    let totals: Vec<_> = talk.lines().filter(|line| line.starts_with("total: ")).collect();
    assert!(totals.len() == 1 || totals.len() == 2, "{talk}");
    assert!(totals[0].contains("/306kB ") && totals[0].ends_with(" left"), "{talk}");
}
