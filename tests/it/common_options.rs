//! What every program does alike: `--quiet`, `--progress` and `--store`.

use kit::{Image, Layer, Named, Output, Producer, Registry, Sandbox, pipeline};

use crate::fixtures::lacks_root;

/// A line for each program, apart from `union`, in which it does its work and ends with 0. `OPTIONS` is what a test adds;
/// `IMAGE` is an archive of which nothing is known, or an image in the store.
const LINES: &[&str] = &[
    "pull OPTIONS --no-stream NAME:1",
    "unpack OPTIONS --from IMAGE new",
    "snapshot OPTIONS --base IMAGE root > /dev/null",
    "commit OPTIONS -t new --base app:1 layer.tar",
    REBASE,
    "save OPTIONS app:1 > /dev/null",
    "load OPTIONS < app.tar",
    "push OPTIONS app:1 NAME:2",
    "images OPTIONS verify",
    "flatten OPTIONS IMAGE > /dev/null",
    "changes OPTIONS IMAGE ./root > /dev/null; test $? = 1",
];

/// The same for `rebase`, which reads nothing that takes long.
const REBASE: &str = "rebase OPTIONS app:1 --from app:1 --onto app:1 -t new";

/// The same for `inspect`, a look-up: what takes less than a second is told only to whom asks for a form.
const LOOK_UP: &str = "inspect OPTIONS --files IMAGE";

/// The same for `union`.
const UNION: &str = "union OPTIONS app:1 m; code=$?; umount m; exit $code";

fn app() -> Image {
    Image::new().layer(Layer::new().file("etc/os", "base\n")).layer(Layer::new().file("app", "one"))
}

/// What a line does in a sandbox of its own, where the store that `at` names has the image.
fn run(line: &str, options: &str, at: &str) -> (Sandbox, Output) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", app());
    let archive = Producer::Strata.write(&[Named::new("docker.io/library/app:1", app())]);
    sandbox.write("app.tar", archive);
    let other = Image::new().layer(Layer::new().file("other", "two"));
    let archive = Producer::Strata.write(&[Named::new("docker.io/library/other:1", other)]);
    sandbox.write("other.tar", archive);
    sandbox.write("layer.tar", Layer::new().file("new", "x").tar());
    sandbox.write("m/.keep", "");
    let before = format!("load -q {at} app.tar && mkdir root && echo new > root/new");
    pipeline::sh(&sandbox, &before).success();
    let line = line.replace("OPTIONS", options).replace("NAME", &registry.name("app"));
    let output = pipeline::sh(&sandbox, &line);
    assert_eq!(output.code(), 0, "{line}: {}", output.text());
    (sandbox, output)
}

fn talk(line: &str, options: &str) -> String {
    run(&line.replace("IMAGE", "./other.tar"), options, "").1.stderr
}

#[track_caller]
fn check_quiet(line: &str) {
    assert_eq!(talk(line, "").is_empty(), line == LOOK_UP, "{line}");
    assert_eq!(talk(line, "-q --progress plain"), "", "{line}");
}

#[track_caller]
fn check_progress(line: &str) {
    let talk_of = |how: &str| talk(line, &format!("--progress {how}"));
    let json = talk_of("json");
    assert_ne!(json, "", "{line}");
    for object in json.lines() {
        let value: serde_json::Value = serde_json::from_str(object).unwrap_or_default();
        assert!(value.is_object(), "{line}: {object}");
    }
    let plain = talk_of("plain");
    let expected = if line == LOOK_UP { "" } else { &plain };
    assert_eq!(talk(line, "").lines().count(), expected.lines().count(), "{line}: {plain}");
    let n_steps = plain.lines().count() - talk_of("none").lines().count();
    assert_eq!(n_steps == 0, line == REBASE, "{line}: {plain}");
}

#[track_caller]
fn check_store(line: &str) {
    let (sandbox, _) = run(&line.replace("IMAGE", "app:1"), "--store other", "--store other");
    assert!(!sandbox.store().exists(), "{line}: the usual store was made");
}

#[test]
fn quiet_is_without_a_word() {
    for line in LINES.iter().chain(&[LOOK_UP]) {
        check_quiet(line);
    }
}

#[test]
fn progress_is_told_in_the_form_that_was_asked_for() {
    for line in LINES.iter().chain(&[LOOK_UP]) {
        check_progress(line);
    }
}

#[test]
fn the_store_that_is_named_is_the_only_one() {
    for line in LINES.iter().chain(&[LOOK_UP]) {
        check_store(line);
    }
}

#[test]
fn as_root_union_is_quiet_tells_progress_and_uses_the_store_that_is_named() {
    if lacks_root() {
        return;
    }
    check_quiet(UNION);
    check_progress(UNION);
    check_store(UNION);
}
