//! Signals at any moment while a few stored bytes become gigabytes: the program ends by the signal, at once, and nothing is
//! left of what it has written.
//!
//! Scaled by default; `STRATA_LONG=1` is for 4 GiB of zeros and 50 moments.

use std::env;
use std::time::Duration;

use kit::image::random::Random;
use kit::pipeline::Script;
use kit::{Image, Layer, Named, Producer, Sandbox, digest};
use rustix::process::Signal;

use crate::fixtures::{files, names};

const SIGNALS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];
const PIECE: usize = 1 << 20;
/// What may be left, in bytes.
const LEFT: u64 = 1 << 20;

/// How many bytes of zeros there are, and how many moments are tried.
fn scale() -> (u64, u64) {
    if env::var_os("STRATA_LONG").is_some() { (4 << 30, 50) } else { (1 << 30, 6) }
}

/// A layer of one file of zeros, as a gzip of many members; a thousandth of its size.
fn zeros(size: u64) -> Vec<u8> {
    let gzip = kit::Codec::GZIP;
    let whole = Layer::new().file("zeros", "").claim_size(size).end("").tar();
    let mut blob = gzip.encode(&whole);
    let piece = gzip.encode(&vec![0; PIECE]);
    for _ in 0..size / PIECE as u64 {
        blob.extend_from_slice(&piece);
    }
    blob.extend(gzip.encode(&[0; 1024]));
    blob
}

#[test]
fn a_signal_ends_what_writes_gigabytes_of_zeros() {
    let (size, n_moments) = scale();
    let sandbox = Sandbox::new();
    let blob = zeros(size);
    sandbox.write("layer.tar.gz", &blob);
    // What it decompresses to is found to be something else in the end, if ever.
    let image = Image::new().layer_blob(&digest(b"something else"), blob);
    sandbox.write("image.tar", Producer::DockerContainerd.write(&[Named::new("bomb:1", &image)]));
    std::fs::create_dir(sandbox.path("out")).unwrap();
    let before = names(sandbox.path(""));
    let mut dice = Random::new(5);
    let mut n_interrupted = 0;
    for script in [
        "unpack -q out/root < image.tar",
        "unpack -q out/root --from ./image.tar",
        "commit -q --base scratch -t new:1 layer.tar.gz",
        "load -q --verify < image.tar",
        "flatten -q ./image.tar > /dev/null",
        "flatten -q ./image.tar --as-image x:1 > /dev/null",
        "inspect -q --cat zeros ./image.tar",
        "inspect -q --files ./image.tar",
    ] {
        for n in 0..n_moments {
            let running = Script::new(&sandbox, &format!("exec {script}")).start();
            std::thread::sleep(Duration::from_micros(dice.below(600_000)));
            let signal = SIGNALS[usize::try_from(n % 3).unwrap()];
            running.signal(signal);
            let output = running.wait();
            let text = output.text();
            let is_interrupted = output.code() == 128 + signal.as_raw();
            assert!(is_interrupted || output.code() == 4, "{script}: {text}");
            n_interrupted += u64::from(is_interrupted);
            assert_eq!(names(sandbox.path("")), before, "{script}: {text}");
            let out = files(sandbox.path("out")).into_iter();
            let all = out.chain(files(sandbox.store())).chain(files(sandbox.root().join("tmp")));
            let left: u64 = all.map(|path| path.metadata().map_or(0, |it| it.len())).sum();
            assert!(
                left < LEFT + sandbox_blob(&sandbox),
                "{script}: {left} bytes are left: {text}"
            );
        }
    }
    assert!(n_interrupted > n_moments * 4, "only {n_interrupted} were interrupted");
}

/// What a `load` may keep for the next one: as many bytes as were stored.
fn sandbox_blob(sandbox: &Sandbox) -> u64 {
    sandbox.path("layer.tar.gz").metadata().unwrap().len()
}
