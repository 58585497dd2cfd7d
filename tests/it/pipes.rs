//! The manners of programs in pipes: data on standard output, talk on standard error, no broken pipe taken for another.

use std::fs;

use kit::image::random::Random;
use kit::{Image, Layer, Registry, Sandbox, pipeline};

use crate::fixtures::{
    assert_demo, assert_one_line, demo, lacks_root, names, small, stream_of, unpack,
};

/// A registry with an image that no pipe holds.
fn large() -> (Registry, Sandbox, String) {
    let registry = Registry::start();
    let noise = Random::new(1).bytes(6 << 20);
    registry.add("app:1", Image::new().layer(Layer::new().file("noise", noise)));
    let name = registry.name("app:1");
    (registry, Sandbox::new(), name)
}

fn with_demo() -> (Registry, Sandbox, String) {
    let registry = Registry::start();
    registry.add("app:1", demo());
    let name = registry.name("app:1");
    (registry, Sandbox::new(), name)
}

#[test]
fn a_closed_pipe_ends_a_program_quietly() {
    let (_registry, sandbox, name) = large();
    for script in ["pull -q NAME | true", "pull -q --no-store NAME | head -c 5000 > x"] {
        let output = pipeline::sh(&sandbox, &script.replace("NAME", &name));
        assert_eq!(output.pipe[0], 141, "{}", output.text());
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn what_was_downloaded_when_the_pipe_closed_is_kept() {
    let (registry, sandbox, name) = large();
    let output = pipeline::sh(&sandbox, &format!("pull -q {name} | head -c 2000000 > x"));
    assert_eq!(output.pipe[0], 141);
    pipeline::sh(&sandbox, &format!("pull {name} | unpack root")).success();
    kit::check::layout(sandbox.store()).unwrap();
    assert!(registry.bytes_sent("/blobs/") < 10 << 20, "{}", registry.log());
}

#[test]
fn a_name_that_is_given_twice_is_pulled_once() {
    let (_registry, sandbox, name) = with_demo();
    let script =
        format!("pull -q --no-store {name} > one; pull -q --no-store {name} {name} | cmp - one");
    pipeline::sh(&sandbox, &script).success();
}

#[test]
fn who_has_data_for_a_closed_standard_output_fails() {
    let (_registry, sandbox, name) = with_demo();
    for script in ["pull -q NAME >&-", "pull -q --no-stream NAME >&-", "pull --help >&-"] {
        let output = pipeline::sh(&sandbox, &script.replace("NAME", &name));
        assert_one_line(output.fails_with(1), "pull");
        assert!(output.stderr.contains("writing standard output: bad file descriptor"));
    }
    pipeline::sh(&sandbox, &format!("unpack -q --from {name} root >&-")).success();
}

#[test]
fn a_full_disk_is_an_error_and_no_closed_pipe() {
    let (_registry, sandbox, name) = with_demo();
    for script in [
        "pull -q NAME > full",
        "pull -q --no-store NAME > full",
        "pull -q --no-stream NAME > full",
        "pull --help > full",
    ] {
        std::os::unix::fs::symlink("/dev/full", sandbox.path("full")).ok();
        let output = pipeline::sh(&sandbox, &script.replace("NAME", &name));
        // A character device gets the digest; it is full all the same.
        assert_one_line(output.fails_with(1), "pull");
        assert!(output.stderr.contains("no space left"), "{}", output.stderr);
    }
}

#[test]
fn as_root_a_full_disk_is_emptied_again() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox
        .write("in", stream_of(&Image::new().layer(Layer::new().file("noise", vec![1; 1 << 20]))));
    fs::create_dir(sandbox.path("root")).unwrap();
    let script = "unshare -m sh -c 'mount -t tmpfs -o size=256k none root && \
                  { unpack root < in; code=$?; ls -A root > left; exit $code; }'";
    let output = pipeline::sh(&sandbox, script);
    if output.stderr.contains("unshare") || output.stderr.contains("mount:") {
        return kit::peers::skip("a small disk", "it can't be mounted");
    }
    assert_one_line(output.fails_with(1), "unpack");
    assert!(output.stderr.contains("no space left"), "{}", output.stderr);
    assert_eq!(sandbox.read("left"), b"");
}

#[test]
fn a_reader_drains_its_pipe_so_that_the_writer_succeeds() {
    let (_registry, sandbox, name) = large();
    let output = pipeline::sh(&sandbox, &format!("pull {name} | unpack root"));
    assert_eq!(output.success().pipe, [0, 0]);
    let more = "(pull NAME; head -c 9000000 /dev/zero) | unpack again";
    let output = pipeline::sh(&sandbox, &more.replace("NAME", &name));
    assert_eq!(output.success().pipe, [0, 0]);
}

#[test]
fn talk_never_gets_into_the_data() {
    let (_registry, sandbox, name) = with_demo();
    let stream = pipeline::sh(&sandbox, &format!("pull {name} 2> talk")).stdout;
    assert!(!sandbox.read("talk").is_empty());
    for progress in ["plain", "json", "bars", "none", "auto"] {
        let script = format!("pull --progress {progress} {name} 2> talk");
        let output = pipeline::sh(&sandbox, &script);
        assert!(output.success().stdout == stream, "{progress}");
        let talk = String::from_utf8(sandbox.read("talk")).unwrap();
        if progress == "json" {
            assert!(!talk.is_empty());
            for line in talk.lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(value.is_object(), "{line}");
            }
        }
    }
}

#[test]
fn quiet_means_errors_alone() {
    let (registry, sandbox, name) = with_demo();
    let output = pipeline::sh(&sandbox, &format!("pull -q {name} | unpack -q root"));
    assert_eq!(output.success().stderr, "");
    assert_demo(sandbox.path("root"));
    let missing = registry.name("missing:1");
    let output = pipeline::sh(&sandbox, &format!("pull -q {missing} | unpack -q other"));
    assert_eq!(output.fails_with(4).pipe, [3, 4]);
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let sandbox = Sandbox::new();
    for program in ["pull", "unpack"] {
        let help = sandbox.command(program).arg("--help").run();
        assert!(help.success().stderr.is_empty());
        let text = help.out();
        assert!(text.contains("\nExamples:\n"), "{text}");
        assert!(text.lines().rev().take(6).any(|line| line.contains(program)), "{text}");
        let version = sandbox.command(program).arg("--version").run().success().out();
        // All programs are of one package, and say so.
        assert!(version.starts_with(&format!("{program} (strata) 0.")), "{version}");
        // A help that nobody reads to its end is no failure worth a word.
        let output = pipeline::sh(&sandbox, &format!("{program} --help | true"));
        assert!([0, 141].contains(&output.pipe[0]) && output.stderr.is_empty());
    }
}

#[test]
fn an_empty_or_foreign_input_is_told_in_one_line() {
    let sandbox = Sandbox::new();
    for script in ["unpack root < /dev/null", "true | unpack root", "echo hello | unpack root"] {
        let output = pipeline::sh(&sandbox, script);
        assert_one_line(output.fails_with(4), "unpack");
        assert!(names(sandbox.path("")).is_empty());
    }
    let output = pipeline::sh(&sandbox, "unpack root <&-");
    assert_one_line(&output, "unpack");
    assert_ne!(output.code(), 0);
    let output = pipeline::sh(&sandbox, "mkdir d; unpack root < d");
    assert_one_line(&output, "unpack");
    assert_eq!(names(sandbox.path("")), ["d"]);
}

#[test]
fn compression_on_the_way_is_undone() {
    let (_registry, sandbox, name) = with_demo();
    pipeline::sh(&sandbox, &format!("pull {name} | gzip -1 | unpack root")).success();
    assert_demo(sandbox.path("root"));
    let bytes = kit::Codec::ZSTD.encode(&stream_of(&small("x")));
    let sandbox = Sandbox::new();
    unpack(&sandbox, bytes).success();
    assert_eq!(sandbox.read("root/etc/motd"), b"x");
}

#[test]
fn a_slow_writer_is_waited_for_byte_by_byte() {
    let sandbox = Sandbox::new();
    sandbox.write("in", stream_of(&small("x")));
    let script = "dd if=in bs=97 status=none | dd bs=1 status=none | unpack root";
    pipeline::sh(&sandbox, script).success();
    assert_eq!(sandbox.read("root/etc/motd"), b"x");
}
