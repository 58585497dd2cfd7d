//! Memory for images that are made to take it: a million entries, and paths that are very deep. An image of N entries takes
//! at most 128 bytes for each, over what a program takes anyway.
//!
//! A scaled image by default; `STRATA_LONG=1` makes it a million entries.

use std::{env, thread};

use kit::image::random::Random;
use kit::pipeline::{Script, sh};
use kit::{Codec, Image, Layer, Named, Producer, Sandbox};

use crate::fixtures::{assert_one_line, lacks, lacks_root, stream_of};

/// What an entry may take, in bytes.
const BYTES_AN_ENTRY: u64 = 128;
/// What a directory may take as long as something below it is looked at, in bytes. A path for each of the deepest would be
/// 16 MB.
const BYTES_A_LEVEL: u64 = 512;
/// By how much two runs of the same may differ, in bytes: of a program that reads layers, through buffers and threads, and of
/// one that reads what the store remembers of them.
const NOISE: u64 = 3 << 19;
const LITTLE_NOISE: u64 = 1 << 19;
/// What any program may take, in kB.
const MOST_MEMORY: u64 = 64 << 10;
/// The longest path, in names.
const MOST_NAMES: usize = 4096;

/// What fills every buffer on its way, so that only what is kept for each entry differs.
const BALLAST: usize = 32 << 20;

/// Directories of ten names each: files, symbolic and hard links.
fn wide(n_entries: usize) -> Layer {
    let ballast = Layer::new().file("ballast", Random::new(1).bytes(BALLAST));
    (0..n_entries / 10).fold(ballast, |layer, n| {
        let dir = format!("dir{n:06}");
        let layer = layer.dir(&dir, 0o755);
        let layer = (0..6).fold(layer, |layer, k| layer.file(format!("{dir}/file{k}"), ""));
        let layer = (0..2).fold(layer, |layer, k| layer.symlink(format!("{dir}/link{k}"), "file0"));
        layer.hardlink(format!("{dir}/hard"), format!("{dir}/file0"))
    })
}

/// A file below so many directories that its path has as many names.
fn deep(n_names: usize) -> Layer {
    Layer::new().file("d/".repeat(n_names - 1) + "f", "x")
}

/// The programs that read an image. `snapshot` and `changes` read a directory besides, which is as in the image.
const PROGRAMS: [&str; 10] = [
    "commit -q --base scratch -t big:1 layer.tar",
    "load -q image.tar --store other",
    "unpack -q --no-sync --from big:1 root",
    "inspect -q --files big:1",
    "flatten -q big:1",
    "snapshot -q root",
    "changes -q big:1 ./root",
    "changes -q ./root big:1",
    "commit -q --base big:1 -t top:1 top.tar",
    "union -q big:1 -- /none",
];

/// By how much two runs of a program may differ.
fn noise(script: &str) -> u64 {
    let compares = script.starts_with("snapshot") || script.starts_with("changes");
    if compares { LITTLE_NOISE } else { NOISE }
}

/// The peaks of two images, taken at once: most of the time is waiting for the disk.
fn both_peaks(small: (&Layer, &str), large: (&Layer, &str)) -> (Vec<u64>, Vec<u64>) {
    thread::scope(|scope| {
        let small = scope.spawn(|| peaks(small.0, small.1));
        let large = peaks(large.0, large.1);
        (small.join().unwrap(), large)
    })
}

/// The peak of each program, in bytes.
fn peaks(layer: &Layer, link: &str) -> Vec<u64> {
    let sandbox = Sandbox::new();
    sandbox.write("layer.tar", layer.tar());
    sandbox.write("top.tar", Layer::new().hardlink("top", link).tar());
    let peak = |script: &str| {
        if script.starts_with("load") {
            sh(&sandbox, "save -q big:1 > image.tar").success();
        }
        // By a seek index several parts of a layer are decompressed at once, which is noise of its own.
        let script = format!(
            "rm -rf $STRATA_STORE/strata/seek; /usr/bin/time -o peak -f %M {script} > /dev/null"
        );
        let output = Script::new(&sandbox, &script).run();
        let is_done = matches!(output.code(), 0) || script.contains(" changes ");
        assert!(is_done || script.contains("/none"), "{script}: {}", output.text());
        let peak = String::from_utf8(sandbox.read("peak")).unwrap();
        // The status of a program that failed stands above it.
        peak.lines().last().unwrap().parse::<u64>().unwrap() * 1024
    };
    PROGRAMS.map(peak).to_vec()
}

#[test]
fn as_root_an_entry_of_an_image_takes_little_memory_in_any_program() {
    if lacks_root() || lacks(&["time"]) {
        return;
    }
    let n_entries = if env::var_os("STRATA_LONG").is_some() { 1_000_000 } else { 12_000 };
    let (few, many) = (n_entries / 4, n_entries);
    let link = "dir000001/file0";
    let (small, large) = both_peaks((&wide(few), link), (&wide(many), link));
    let more = (many - few) as u64;
    for ((script, small), large) in PROGRAMS.into_iter().zip(small).zip(large) {
        let taken = large.saturating_sub(small);
        println!("{script}: {} kB, {} bytes an entry", large / 1000, taken / more);
        let most = BYTES_AN_ENTRY * more + noise(script);
        assert!(taken <= most, "{script}: {taken} for {more} entries");
    }
}

#[test]
fn decompressing_by_a_seek_index_stays_within_what_a_program_may_take() {
    if lacks(&["time"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let image = Image::new().layer(wide(10));
    sandbox.load(&[Named::new("docker.io/library/big:1", &image)]);
    let peaks = sh(
        &sandbox,
        "unpack -q --no-sync --from big:1 root && ls $STRATA_STORE/strata/seek | grep -c . && \
         for line in 'unpack -q --no-sync --from big:1 again' 'flatten -q big:1' 'inspect -q --cat ballast big:1'; do \
             /usr/bin/time -a -o peak -f %M $line > flat || exit; \
         done; cat peak",
    );
    let out = peaks.success().out();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("1"), "there is an index: {out}");
    let peaks: Vec<u64> = lines.map(|line| line.parse().unwrap()).collect();
    assert!(peaks.len() == 3 && peaks.iter().all(|&peak| peak < MOST_MEMORY), "{out}");
}

#[test]
fn as_root_a_deep_path_takes_little_memory_in_any_program() {
    if lacks_root() || lacks(&["time"]) {
        return;
    }
    // A deep tree takes time with the square of its depth.
    let n_names =
        if env::var_os("STRATA_LONG").is_some() { MOST_NAMES - 1 } else { MOST_NAMES / 2 };
    let link = |n_names: usize| "d/".repeat(n_names - 1) + "f";
    let (small, large) = both_peaks((&deep(2), &link(2)), (&deep(n_names), &link(n_names)));
    for ((script, small), large) in PROGRAMS.into_iter().zip(small).zip(large) {
        let taken = large.saturating_sub(small);
        println!("{script}: {} kB, {} kB more", large / 1000, taken / 1000);
        assert!(taken <= BYTES_A_LEVEL * n_names as u64 + NOISE, "{script}: {taken} more");
    }
}

#[test]
fn a_path_that_is_deeper_than_any_is_refused_by_every_program() {
    for n_names in [MOST_NAMES + 1, 30_000] {
        let (sandbox, layer) = (Sandbox::new(), deep(n_names));
        let image = Image::new().codec(Codec::None).layer(&layer);
        sandbox.load(&[Named::new("docker.io/library/deep:1", &image)]);
        sandbox.write("image.tar", Producer::Strata.write(&[Named::new("deep:1", &image)]));
        sandbox.write("layer.tar", layer.tar());
        sandbox.write("tree/file", "");
        for script in [
            "unpack -q root < image.tar",
            "unpack -q --from deep:1 root",
            "inspect -q --files deep:1",
            "inspect -q --files ./image.tar",
            "flatten -q deep:1",
            "changes -q deep:1 ./tree",
            "commit -q --base scratch -t x:1 layer.tar",
        ] {
            let output = sh(&sandbox, script);
            assert_one_line(output.fails_with(4), script.split(' ').next().unwrap());
            assert!(output.stderr.contains("more than 4096 directories deep"), "{}", output.stderr);
        }
        let stream = stream_of(&image);
        let output = sandbox.command("flatten").args(["-q", "-"]).input(stream).run();
        assert_one_line(output.fails_with(4), "flatten");
    }
}

#[test]
fn a_path_of_the_most_names_is_an_image_and_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.write("layer.tar", deep(MOST_NAMES).tar());
    let script = "commit -q --base scratch -t deep:1 layer.tar && unpack -q --from deep:1 root";
    sh(&sandbox, script).success();
    assert_eq!(sh(&sandbox, "snapshot --list root").success().out(), "");
    sh(&sandbox, "changes -q deep:1 ./root --ignore mtime").success();
}
