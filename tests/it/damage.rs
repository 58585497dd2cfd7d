//! A damaged stream never becomes a directory: cut anywhere, one bit flipped anywhere.
//!
//! Every single case runs in this process, thousands of them; a sample runs as real programs in real pipes.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kit::{Codec, Image, Index, Layer, Sandbox, pipeline};

use crate::fixtures::{
    assert_demo, assert_one_line, demo, names, stream_of, stream_of_index, unpack,
};

/// `unpack` in this process: from a pipe when there is input, otherwise from the file named by the words.
fn run(words: &[&str], input: &[u8]) -> anyhow::Result<()> {
    fn parse<A: cli::Command>(words: &[&str]) -> A {
        A::parse_from([&["unpack"], words].concat())
    }
    unpack::run(&parse(words), &mut cli::Io::memory(input))
}

/// One place to unpack into, and the way there.
struct Bench {
    sandbox: Sandbox,
    words: [String; 3],
    file: File,
}

impl Bench {
    fn new(sound: &[u8]) -> Self {
        let sandbox = Sandbox::new();
        let words = [sandbox.path("root"), sandbox.store(), sandbox.path("in")];
        let words = words.map(|path| path.to_string_lossy().into_owned());
        fs::write(&words[2], sound).unwrap();
        let file = File::options().write(true).open(&words[2]).unwrap();
        Self { sandbox, words, file }
    }

    #[track_caller]
    fn refuses(&self, what: &str, result: &anyhow::Result<()>) {
        assert!(result.is_err(), "{what} was accepted");
        assert_eq!(names(self.sandbox.path("")), ["in"], "{what}");
    }

    fn pipe(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let [root, store, _] = self.words.each_ref().map(String::as_str);
        run(&["--store", store, root], bytes)
    }

    fn file(&self) -> anyhow::Result<()> {
        let [root, store, file] = self.words.each_ref().map(String::as_str);
        let run = |jobs| run(&["--store", store, "--jobs", jobs, "--from", file, root], b"");
        let told =
            |result: &anyhow::Result<()>| result.as_ref().map_err(|it| format!("{it:#}")).copied();
        let in_turn = run("1");
        if in_turn.is_ok() {
            fs::remove_dir_all(root)?;
        }
        let at_once = run("2");
        assert_eq!(told(&in_turn), told(&at_once));
        at_once
    }

    #[track_caller]
    fn accepts(&self, bytes: &[u8]) {
        self.pipe(bytes).expect("the sound stream unpacks from a pipe");
        fs::remove_dir_all(&self.words[0]).unwrap();
        self.file().expect("the sound stream unpacks from a file");
        fs::remove_dir_all(&self.words[0]).unwrap();
    }
}

/// Runs `case` for every number below `n` on two threads, each with a bench of its own.
fn for_each(sound: &[u8], n: usize, case: impl Fn(&Bench, usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let bench = Bench::new(sound);
                bench.accepts(sound);
                let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                mine.take_while(|i| *i < n).for_each(|i| case(&bench, i));
            });
        }
    });
}

/// As small as it goes with a compressed layer and a plain one.
fn tiny() -> Image {
    let gzip = Image::new().layer(Layer::new().file("gzip", "x"));
    gzip.codec(Codec::None).layer(Layer::new().file("none", "x"))
}

/// Every length at which a stream is cut: each block's edge, and odd ones about it.
fn cuts(length: usize) -> Vec<usize> {
    let edges = (0..length).step_by(512);
    edges
        .flat_map(|edge| [edge, edge + 1, edge + 211, edge + 511])
        .filter(|n| *n < length)
        .collect()
}

#[test]
fn a_cut_stream_is_never_a_directory() {
    let bytes = stream_of(&tiny());
    let cuts = cuts(bytes.len());
    for_each(&bytes, cuts.len(), |bench, i| {
        let cut = &bytes[..cuts[i]];
        bench.refuses(&format!("pipe cut at {}", cuts[i]), &bench.pipe(cut));
        bench.file.set_len(cut.len() as u64).unwrap();
        bench.refuses(&format!("file cut at {}", cuts[i]), &bench.file());
        bench.file.write_all_at(&bytes, 0).unwrap();
    });
}

#[test]
fn a_flipped_bit_is_never_a_directory() {
    let bytes = stream_of(&tiny());
    for_each(&bytes, bytes.len(), |bench, i| {
        let mut wrong = bytes.clone();
        wrong[i] ^= 1 << (i % 8);
        // layer-format's own tests leave out none; here a few of the many zeros between zeros do.
        if i % 5 != 0 && bytes[i.saturating_sub(2)..bytes.len().min(i + 3)] == [0; 5] {
            return;
        }
        bench.refuses(&format!("pipe, byte {i}"), &bench.pipe(&wrong));
        // In place, the same reader is at work.
        if i % 7 != 0 {
            return;
        }
        bench.file.write_all_at(&wrong[i..=i], i as u64).unwrap();
        bench.refuses(&format!("file, byte {i}"), &bench.file());
        bench.file.write_all_at(&bytes[i..=i], i as u64).unwrap();
    });
}

#[test]
fn a_flipped_bit_in_a_stream_of_several_platforms_is_never_a_directory() {
    let arm = tiny().platform("linux/arm64");
    let index = Index::new().image(&tiny()).image(&arm).attestation(&arm);
    let bytes = stream_of_index(&index);
    let step = 13;
    for_each(&bytes, bytes.len() / step, |bench, i| {
        let at = i * step + i % step;
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (i % 8);
        bench.refuses(&format!("pipe, byte {at}"), &bench.pipe(&wrong));
    });
}

#[test]
fn a_compressed_stream_that_is_cut_is_never_a_directory() {
    for codec in [Codec::GZIP, Codec::ZSTD] {
        let bytes = codec.encode(&stream_of(&tiny()));
        let cuts: Vec<usize> = (0..bytes.len()).step_by(13).collect();
        for_each(&bytes, cuts.len(), |bench, i| {
            bench.refuses(&format!("{codec:?} cut at {}", cuts[i]), &bench.pipe(&bytes[..cuts[i]]));
        });
    }
}

#[test]
fn real_pipes_refuse_a_cut_stream() {
    let bytes = stream_of(&demo());
    let sandbox = Sandbox::new();
    for n in (0..bytes.len()).step_by(bytes.len() / 17) {
        let output = unpack(&sandbox, &bytes[..n]);
        assert_one_line(output.fails_with(4), "unpack");
        assert!(names(sandbox.path("")).is_empty(), "cut at {n}");
    }
    for n in [513, bytes.len() - 1024, bytes.len() - 512, bytes.len() - 1] {
        sandbox.write("in", &bytes[..n]);
        for script in ["cat in | unpack root", "unpack root < in", "unpack --from ./in root"] {
            let output = pipeline::sh(&sandbox, script);
            assert_one_line(output.fails_with(4), "unpack");
            assert_eq!(names(sandbox.path("")), ["in"], "cut at {n}");
        }
    }
    sandbox.write("in", &bytes);
    pipeline::sh(&sandbox, "cat in | unpack root").success();
    assert_demo(sandbox.path("root"));
}

#[test]
fn real_pipes_refuse_a_flipped_bit() {
    let bytes = stream_of(&demo());
    let sandbox = Sandbox::new();
    let mut file = File::create(sandbox.path("in")).unwrap();
    file.write_all(&bytes).unwrap();
    for at in (7..bytes.len()).step_by(bytes.len() / 19) {
        file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
        for script in ["cat in | unpack root", "unpack root < in"] {
            let output = pipeline::sh(&sandbox, script);
            assert_one_line(output.fails_with(4), "unpack");
            assert_eq!(names(sandbox.path("")), ["in"], "byte {at}");
        }
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
}

#[test]
fn what_follows_the_end_of_our_own_stream_is_damage_unless_it_is_zeros() {
    let bytes = stream_of(&tiny());
    let sandbox = Sandbox::new();
    unpack(&sandbox, [&bytes[..], &[0; 10_240]].concat()).success();
    fs::remove_dir_all(sandbox.path("root")).unwrap();
    let output = unpack(&sandbox, [&bytes[..], b"more"].concat());
    assert_one_line(output.fails_with(4), "unpack");
    assert!(names(sandbox.path("")).is_empty());
}

#[test]
fn a_failing_writer_makes_the_pipeline_fail() {
    let bytes = stream_of(&demo());
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes);
    let output = pipeline::sh(&sandbox, "(head -c 3000 in; exit 5) | unpack root");
    assert_eq!(output.fails_with(4).pipe, [5, 4]);
    assert_eq!(names(sandbox.path("")), ["in"]);
}
