//! What somebody reads who typed the wrong thing: what was wrong with what, and what to type.

use kit::pipeline::sh;
use kit::{Image, Layer, Named, Registry, Sandbox};

use crate::fixtures::stream_of;

/// A script, its status, and what it says.
type Row = (&'static str, i32, &'static str);

/// What isn't an archive, an image or a layer.
const INPUTS: &[Row] = &[
    ("unpack d < /dev/null", 4, "unpack: standard input: the image archive: is empty\n"),
    ("unpack d < text", 4, "unpack: standard input: the image archive: isn't a tar archive\n"),
    (
        "gzip -c text | unpack d",
        4,
        "unpack: standard input: the image archive: isn't a tar archive\n",
    ),
    (
        "head -c 9 text | inspect -",
        4,
        "inspect: standard input: the image archive: isn't a tar archive\n",
    ),
    ("inspect ./text", 4, "inspect: ./text: the image archive: isn't a tar archive\n"),
    ("inspect ./empty", 4, "inspect: ./empty: the image archive: is empty\n"),
    ("flatten ./text", 4, "flatten: ./text: the image archive: isn't a tar archive\n"),
    ("changes ./text ./image", 4, "changes: ./text: the image archive: isn't a tar archive\n"),
    ("load < text", 4, "load: standard input: the image archive: isn't a tar archive\n"),
    ("load ./text", 4, "load: ./text: the image archive: isn't a tar archive\n"),
    ("push - r.test/a < text", 4, "push: standard input: the image archive: isn't a tar archive\n"),
    ("load < layer", 4, "hint: a layer alone becomes an image with commit --base scratch\n"),
    (
        "commit -t a < /dev/null",
        4,
        "commit: standard input: the layer: is empty\nhint: a layer comes from ",
    ),
    ("commit -t a < text", 4, "commit: standard input: the layer: isn't a tar archive\n"),
    ("commit -t a dir", 2, "commit: dir: a directory, and no layer\nhint: snapshot dir | commit "),
    ("snapshot dir", 2, "snapshot: dir: the store has no note of what this directory was\nhint: "),
    // On a read-only root: which directory is meant?
    (
        "TMPDIR=/none commit --no-store --stream --base scratch -t a < layer > out",
        1,
        "no such file or directory in /none; TMPDIR names another directory\n",
    ),
    (
        "TMPDIR=/none flatten --no-store --as-image a:1 ./image > out",
        1,
        "no such file or directory in /none; TMPDIR names another directory\n",
    ),
];

/// Names and options.
const WORDS: &[Row] = &[
    ("inspect -a", 2, "inspect: unexpected argument '-a' found\nhint: inspect --help\n"),
    ("inspect 8327", 3, "hint: a digest takes 6 digits at least; for a name, pull 8327\n"),
    ("images rm", 2, "hint: images rm --help\n"),
    ("remote tags", 2, "hint: remote tags --help\n"),
    (
        "remote tags localhost:5000",
        2,
        "a registry, and no repository of it: remote repositories localhost:5000 ",
    ),
    (
        "remote login HOST < /dev/null",
        2,
        "remote: there is no terminal to ask on: username\nhint: -u NAME --password-stdin reads ",
    ),
    (
        "union -e =q app:1 -- true",
        125,
        "invalid value '=q' for '--env <NAME[=VALUE]>': a variable has a name\n",
    ),
    ("save -o /dev/full app:1", 1, ": writing /dev/full: no space left on device\n"),
];

#[track_caller]
fn check(rows: &[Row]) {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    let layer = Layer::new().file("a", "b");
    let image = Image::new().layer(layer.clone());
    sandbox.write("image", stream_of(&image));
    sandbox.write("layer", layer.tar());
    sandbox.write("text", "This is no tar, but a page of text.\n".repeat(40));
    sandbox.write("empty", "");
    std::fs::create_dir(sandbox.path("dir")).unwrap();
    sandbox.load(&[Named::new("app:1", image)]);
    let mut wrong = vec![];
    for (script, status, expected) in rows {
        let line = script.replace("HOST", &registry.host());
        // Without a terminal to ask on.
        let output = sh(&sandbox, &format!("setsid sh -c '{line}'"));
        if output.code() != *status || !output.stderr.contains(expected) {
            wrong.push(format!("{line}: not {expected:?}\n{}", output.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_gives_what_is_no_image_reads_what_it_was_and_what_is_wrong_with_it() {
    check(INPUTS);
}

#[test]
fn who_mistypes_a_word_reads_what_to_type() {
    check(WORDS);
}

// What is asked quickly is answered without progress, on a terminal and elsewhere.
#[test]
fn a_look_up_says_nothing_but_its_answer() {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::new().file("a", "b"));
    registry.add("app:1", &image);
    sandbox.write("image", stream_of(&image));
    sandbox.load(&[Named::new("app:1", image)]);
    for script in [
        "inspect app:1",
        "inspect --cat a app:1",
        "inspect --files ./image",
        "inspect --layers - < image",
        "inspect --history app:1",
        "images",
        "images digests",
        "remote tags HOST/app",
        "remote digest HOST/app:1",
        "remote config HOST/app:1",
        "remote repositories HOST",
        "pull -q --no-stream HOST/app:1 | cat",
    ] {
        let output = sh(&sandbox, &script.replace("HOST", &registry.host()));
        output.success();
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{}", output.text());
    }
}

#[test]
fn what_a_directory_of_skopeo_lacks_is_told_with_its_name() {
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::new().file("f", "x"));
    let config = image.config_blob();
    let write = |name: &str, bytes: &[u8]| sandbox.write(&format!("d/{name}"), bytes);
    std::fs::create_dir(sandbox.path("d")).unwrap();
    write("version", b"Directory Transport Version: 1.1\n");
    write("manifest.json", &image.manifest_blob().bytes);
    let layer = &image.layer_blobs()[0];
    write(layer.hex(), &layer.bytes);
    for program in ["inspect ./d", "inspect layout:d", "unpack --from ./d r", "flatten ./d"] {
        let output = sh(&sandbox, program);
        let expected = format!("d: {}: the blob is missing\n", config.digest);
        assert!(output.fails_with(3).stderr.contains(&expected), "{program}: {}", output.stderr);
    }
    write(config.hex(), &config.bytes);
    sh(&sandbox, "inspect ./d && unpack -q --from ./d r").success();
}
