//! Whoever reads a layer whole leaves its listing in the store, and whoever can't goes on without.

use std::fs;

use kit::pipeline::sh;
use kit::{Codec, Image, Layer, Named, Output, Producer, Registry, Sandbox, archive};

use crate::fixtures::{demo, demo_layers, docker_demo, names};

const NAME: &str = "docker.io/library/base:1";

/// The listings that the store has, by the layer's diff id.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let folder = sandbox.store().join("strata/listing");
    if folder.exists() { names(folder) } else { vec![] }
}

/// The names that the listings of these diff ids have.
fn files_of(diff_ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut files: Vec<_> = diff_ids.into_iter().map(|it| it.replace(':', "-")).collect();
    files.sort();
    files
}

/// Runs a script, and gives the listings that it has left, with their contents.
#[track_caller]
fn left(sandbox: &Sandbox, script: &str) -> Vec<(String, Vec<u8>)> {
    let output = sh(sandbox, script);
    assert_eq!(output.success().pipe.iter().max(), Some(&0), "{}", output.text());
    assert!(names(sandbox.store().join("strata/temp")).is_empty(), "{script}");
    let folder = sandbox.store().join("strata/listing");
    let read = |name: String| (name.clone(), fs::read(folder.join(name)).unwrap());
    listed(sandbox).into_iter().map(read).collect()
}

#[test]
fn every_program_that_reads_layers_whole_leaves_the_same_listings() {
    let registry = Registry::start();
    registry.add("base:1", demo());
    let sandbox = Sandbox::new();
    sandbox.write("stream.tar", Producer::Strata.write(&[Named::new(NAME, demo())]));
    let [one, two, three] = demo_layers();
    for (name, layer) in [("one", one), ("two", two), ("three", three)] {
        sandbox.write(name, layer.tar());
    }
    let expected = left(&sandbox, "load --verify < stream.tar");
    let files: Vec<_> = expected.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(files, files_of(demo().diff_ids()));
    // In a store that has the image already, and nothing else of it.
    let forget = |sandbox: &Sandbox| {
        for folder in ["listing", "pairs", "layers"] {
            fs::remove_dir_all(sandbox.store().join("strata").join(folder)).ok();
        }
    };
    for script in [
        "load --verify < stream.tar",
        "load --verify stream.tar",
        "cat stream.tar | unpack from-pipe",
        "unpack --from ./stream.tar from-file",
        "unpack --from base:1 from-store",
        "images verify",
        "flatten base:1 > flat.tar",
        "snapshot --list from-pipe --base base:1",
        "commit -t a --base scratch one && commit -t a --base a two --compress none && \
         commit -t a --base a three --compress zstd",
    ] {
        forget(&sandbox);
        assert!(left(&sandbox, script) == expected, "{script}");
    }
    let sandbox = Sandbox::new();
    let script = format!("pull --no-stream --verify {}/base:1", registry.host());
    assert!(left(&sandbox, &script) == expected);
}

#[test]
fn load_lists_the_layers_of_any_archive() {
    let images = [demo(), docker_demo()];
    for producer in Producer::ALL {
        for image in &images {
            let sandbox = Sandbox::new();
            sandbox.write("image.tar", producer.write(&[Named::new(NAME, image.clone())]));
            left(&sandbox, "cat image.tar | load --verify");
            assert_eq!(listed(&sandbox), files_of(image.diff_ids()), "{producer:?}");
        }
    }
    let sandbox = Sandbox::new();
    archive::layout(sandbox.path("layout"), &[Named::new(NAME, demo())]);
    left(&sandbox, "load --verify ./layout");
    assert_eq!(listed(&sandbox), files_of(demo().diff_ids()));
}

#[test]
fn what_a_program_need_not_read_it_does_not_list() {
    let registry = Registry::start();
    registry.add("base:1", demo());
    let sandbox = Sandbox::new();
    let script = format!("pull {}/base:1 > stream.tar", registry.host());
    assert_eq!(left(&sandbox, &script), []);
    // A compressed layer that a digest names is only hashed, as it is stored; and so is one whose diff id is known.
    assert_eq!(left(&sandbox, "load < stream.tar").len(), 1);
    sh(&sandbox, "load --verify < stream.tar").success();
    fs::remove_dir_all(sandbox.store().join("strata/listing")).unwrap();
    assert_eq!(left(&sandbox, "load --verify < stream.tar").len(), 1);
    fs::remove_dir_all(sandbox.store().join("strata/listing")).unwrap();
    assert_eq!(left(&sandbox, "load < stream.tar").len(), 1);
}

#[test]
fn what_a_commit_lists_is_all_that_the_next_snapshot_reads() {
    let sandbox = Sandbox::new();
    let layer = Layer::new().dir("etc", 0o755).file("etc/motd", "old\n");
    sandbox.write("layer.tar", layer.tar());
    sh(&sandbox, "commit -t one --base scratch layer.tar && unpack --from one root").success();
    fs::write(sandbox.path("root/etc/motd"), "new and longer\n").unwrap();
    sh(&sandbox, "snapshot root --ignore mtime | commit -t two && unpack --from two again")
        .success();
    let blobs = sandbox.store().join("blobs/sha256");
    for name in names(&blobs) {
        if fs::read(blobs.join(&name)).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::write(blobs.join(&name), "gone").unwrap();
        }
    }
    let listed = sh(&sandbox, "snapshot --list again");
    assert_eq!(listed.success().out(), "");
    fs::remove_file(sandbox.path("again/etc/motd")).unwrap();
    let listed = sh(&sandbox, "snapshot --list again --ignore mtime --base two");
    assert_eq!(listed.success().out(), "D etc/motd\n");
}

#[test]
fn a_layer_that_is_refused_leaves_no_listing() {
    let layer = Layer::new().file("a", "x").file("a/../../b", "");
    let image = Image::new().codec(Codec::None).layer(layer.clone());
    let sandbox = Sandbox::new();
    sandbox.write("layer.tar", layer.tar());
    let refused = |output: &Output| {
        output.fails_with(4);
        assert_eq!(listed(&sandbox), [] as [&str; 0]);
    };
    refused(&sh(&sandbox, "commit -t a --base scratch layer.tar"));
    let wrong = image.set_config("/rootfs/diff_ids/0", format!("sha256:{}", "0".repeat(64)));
    let stream = Producer::Strata.write(&[Named::new(NAME, wrong)]);
    refused(&sandbox.command("unpack").arg("root").input(stream.clone()).run());
    let output = sandbox.command("load").input(stream).run();
    output.fails_with(4);
    // What load has read is no layer of its own.
    assert_eq!(listed(&sandbox), [] as [&str; 0]);
}

#[test]
fn where_no_listing_can_be_written_all_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.write("stream.tar", Producer::Strata.write(&[Named::new(NAME, demo())]));
    let layer = Layer::new().file("new", "new");
    sandbox.write("layer.tar", layer.tar());
    // In the place of each is a directory, which no rename takes away.
    let listings = sandbox.store().join("strata/listing");
    let diff_ids = demo().diff_ids().into_iter().chain([layer.diff_id()]);
    for name in files_of(diff_ids) {
        fs::create_dir_all(listings.join(name).join("in-the-way")).unwrap();
    }
    sh(&sandbox, "load < stream.tar && unpack root < stream.tar").success();
    sh(&sandbox, "commit -t new --base base:1 layer.tar && unpack --from new new").success();
    sh(&sandbox, "snapshot --list new --base base:1 | grep -x 'A new'").success();
    sh(&sandbox, "images verify").success();
    for name in names(&listings) {
        assert!(listings.join(name).join("in-the-way").exists());
    }
}
