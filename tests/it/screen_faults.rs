//! What spoils the screens of other tools, and not ours: a terminal that changes its size, others who write to it, more layers
//! than rows, few columns, terminals that can't draw.

use kit::image::random::Random;
use kit::terminal::{OnTerminal, Size};
use kit::{Codec, Fault, Image, Layer, Named, Registry, Sandbox, digest, pipeline};

/// A registry with an image of so many layers, of which the first stops in the middle until the registry is released.
fn stalling(n_layers: u64) -> (Registry, Sandbox, String) {
    let registry = Registry::start();
    // The first one is more than all buffers hold.
    let size = |n| if n == 0 { 6_000_000 } else { 2000 };
    let layer =
        |n| Vec::from(Layer::new().file(format!("file-{n}"), Random::new(n).bytes(size(n))));
    let image = Image::new().codec(Codec::None);
    registry.add("app:1", (0..n_layers).fold(image, |image, n| image.layer(layer(n))));
    let first = format!("/blobs/{}", digest(&layer(0)));
    registry.fault(Fault::on(&first).stall_after(3_000_000, None));
    let name = registry.name("app:1");
    (registry, Sandbox::new(), name)
}

/// Starts `pull | unpack` and waits until a bar is seen.
fn unpacking(sandbox: &Sandbox, size: Size, name: &str) -> OnTerminal {
    let running =
        pipeline::on_terminal(sandbox, size, &format!("pull {name} | unpack --owner ignore root"));
    running.wait_for(|screen| screen.contains("Extracting ["));
    running
}

/// Checks that of `n_layers` one line each is left, and nothing else but what is expected before and after them.
#[track_caller]
fn check_end(screen: &str, before: &[&str], n_layers: usize, after: usize) {
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(&lines[..before.len()], before, "{screen}");
    let states = &lines[before.len()..before.len() + n_layers];
    assert!(states.iter().all(|line| line.ends_with(": Unpacked")), "{screen}");
    assert!(lines[before.len() + n_layers].starts_with("unpacked 127.0.0.1:"), "{screen}");
    assert_eq!(lines.len(), before.len() + n_layers + after, "{screen}");
}

// console-rs/indicatif#182, textualize/rich#971, vbauerster/mpb#40: a bar stays at each change of the size.
#[test]
fn a_terminal_that_changes_its_size_keeps_no_dead_bars() {
    let (registry, sandbox, name) = stalling(4);
    let running = unpacking(&sandbox, Size { columns: 140, rows: 24 }, &name);
    for (columns, rows) in [(60, 24), (120, 8), (45, 30), (100, 6), (80, 24)] {
        // The bar's line is as wide as there is room.
        let seen = |screen: &str| {
            let bars: Vec<_> = screen.lines().filter(|line| line.contains("Extracting")).collect();
            bars.len() == 1 && screen.lines().all(|line| line.chars().count() < columns.into())
        };
        running.resize(Size { columns, rows });
        running.wait_for(seen);
    }
    registry.release();
    check_end(running.wait().ended_with(0), &[], 4, 1);
}

// console-rs/indicatif#520, containers/buildah#1270: what something else writes to the terminal leaves a line twice.
#[test]
fn what_another_program_writes_meanwhile_gets_lines_of_its_own() {
    let (registry, sandbox, name) = stalling(3);
    let script = format!(
        "mkfifo go; {{ read -r _ < go; echo 'other: one line' >&2; unpack --from missing:1 x; \
         echo done > said; }} & pull {name} | unpack --owner ignore root; wait"
    );
    let running = pipeline::on_terminal(&sandbox, Size::USUAL, &script);
    running.wait_for(|screen| screen.contains("Extracting ["));
    std::fs::write(sandbox.path("go"), "go\n").unwrap();
    let seen = |screen: &str| screen.contains("hint: pull missing:1") && screen.contains('[');
    running.wait_for(seen);
    registry.release();
    let before = ["other: one line", "unpack: missing:1: not in the store", "hint: pull missing:1"];
    check_end(running.wait().ended_with(0), &before, 3, 1);
}

// docker/cli#1030: what somebody types meanwhile shifts the bars.
#[test]
fn what_somebody_types_meanwhile_leaves_no_dead_bar() {
    let (registry, sandbox, name) = stalling(2);
    let running = unpacking(&sandbox, Size::USUAL, &name);
    running.keys("ls\r");
    running.wait_for(|screen| screen.starts_with("ls\n\n") && screen.lines().count() == 5);
    registry.release();
    check_end(running.wait().ended_with(0), &["ls"], 2, 1);
}

// console-rs/indicatif#53, #496, docker/compose#8800: what has no room is drawn again and again.
#[test]
fn more_layers_than_rows_are_counted_and_shown_once_at_the_end() {
    let (registry, sandbox, name) = stalling(300);
    let running = unpacking(&sandbox, Size::USUAL, &name);
    let screen = running.wait_for(|screen| screen.contains("\n(279 more)\nTotal "));
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[22]), (24, "", "(279 more)"), "{screen}");
    assert!(lines[2..22].iter().all(|line| line.ends_with(": Waiting")), "{screen}");
    registry.release();
    check_end(running.wait().ended_with(0), &[], 300, 1);
}

// console-rs/indicatif#144, #218: a line that is longer than the terminal is wide is drawn again and again.
#[test]
fn twenty_columns_are_enough() {
    let (registry, sandbox, name) = stalling(3);
    let script = format!("pull {name} | unpack --owner ignore root");
    let size = Size { columns: 20, rows: 10 };
    let running = pipeline::on_terminal(&sandbox, size, &script);
    let screen = running.wait_for(|screen| screen.lines().count() == 5);
    let widths: Vec<_> = screen.lines().map(|line| line.chars().count()).collect();
    assert_eq!(widths[..4], [0, 19, 19, 19], "{screen}");
    assert!(widths[4] < 20 && screen.contains("\nTotal 3MB/6.01MB"), "{screen}");
    registry.release();
    let shown = running.wait();
    let text = shown.ended_with(0);
    assert_eq!(text.matches("Unpack").count(), 3, "{text}");
    assert!(!text.contains("Extr"), "{text}");
}

#[test]
fn an_interrupted_program_leaves_its_last_lines_above_the_prompt() {
    let (_registry, sandbox, name) = stalling(2);
    let script = format!("trap 'echo prompt' INT; pull {name} | unpack --owner ignore root; true");
    let running = pipeline::on_terminal(&sandbox, Size::USUAL, &script);
    running.wait_for(|screen| screen.contains("Extracting ["));
    running.keys("\x03");
    let shown = running.wait();
    let lines: Vec<_> = shown.ended_with(0).lines().collect();
    assert_eq!(lines.last(), Some(&"prompt"), "{}", shown.screen);
    assert!(lines[1].contains("Extracting [") && lines[2].ends_with("Waiting"), "{}", shown.screen);
}

#[test]
fn a_terminal_that_cannot_draw_and_a_file_get_plain_lines() {
    for script in ["TERM=dumb pull NAME", "pull NAME 2> talk; cat talk"] {
        let (registry, sandbox, name) = stalling(1);
        registry.heal();
        let running = pipeline::on_terminal(&sandbox, Size::USUAL, &script.replace("NAME", &name));
        let shown = running.wait();
        let text = shown.ended_with(0);
        assert!(
            text.contains(": Downloading") && text.contains("Status: Downloaded newer"),
            "{text}"
        );
        assert!(!shown.raw.contains(&0x1b), "{script}: {text}");
    }
}

// no-color.org: a help page has colours on a terminal, unless somebody wants none.
#[test]
fn no_color_is_obeyed() {
    for (script, has_colour) in [("pull --help", true), ("NO_COLOR=1 pull --help", false)] {
        let sandbox = Sandbox::new();
        let shown = pipeline::on_terminal(&sandbox, Size::USUAL, script).wait();
        assert!(shown.ended_with(0).contains("Usage: pull"), "{}", shown.screen);
        assert_eq!(shown.raw.contains(&0x1b), has_colour, "{script}");
    }
}

// docker/cli#1502: a command of a history breaks the table, or is cut where another program reads it.
#[test]
fn a_table_is_as_wide_as_the_terminal_unless_it_is_asked_for_in_full() {
    let sandbox = Sandbox::new();
    let command = "RUN 大きな名前 ".repeat(20).trim_end().to_owned();
    let history = serde_json::json!([{ "created_by": command }]);
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("a", "b"));
    let image = image.set_config("/history", history);
    let layer = digest(&Vec::from(Layer::new().file("a", "b")));
    let manifest = image.digest();
    sandbox.load(&[Named::new("app:1", image)]);
    let on_terminal = |script: &str, columns| {
        let running = pipeline::on_terminal(&sandbox, Size { columns, rows: 24 }, script);
        running.wait().ended_with(0).to_owned()
    };
    let short = on_terminal("inspect --history app:1", 80);
    assert_eq!(short.lines().count(), 2, "{short}");
    assert!(short.ends_with('…') && short.contains("RUN 大きな名前 RUN"), "{short}");
    // What another program reads is whole.
    let whole = pipeline::sh(&sandbox, "inspect --history app:1").success().out();
    assert!(whole.contains(&command) && !whole.contains(&layer), "{whole}");
    let full = on_terminal("inspect --history --no-trunc app:1", 600);
    assert!(full.contains(&command) && full.contains(&layer), "{full}");
    let layers = pipeline::sh(&sandbox, "inspect --layers --no-trunc app:1").success().out();
    assert_eq!(layers.matches(&layer).count(), 2, "{layers}");
    for (line, is_full) in [("images", false), ("images --no-trunc", true)] {
        let text = pipeline::sh(&sandbox, line).success().out();
        assert_eq!(text.contains(&manifest), is_full, "{text}");
    }
}

// podman says "Trying to pull …" before anything has come; an empty screen says nothing (docker/for-win#1440).
#[test]
fn an_image_that_is_long_looked_up_is_named() {
    let (registry, sandbox, name) = stalling(1);
    registry.fault(Fault::on("/manifests/").stall_after(0, None));
    let running = pipeline::on_terminal(&sandbox, Size::USUAL, &format!("pull --no-stream {name}"));
    running.wait_for(|screen| screen.contains(&format!("{name}: Waiting")));
    registry.release();
    let shown = running.wait();
    assert!(!shown.ended_with(0).contains("Waiting"), "{}", shown.ended_with(0));
}
