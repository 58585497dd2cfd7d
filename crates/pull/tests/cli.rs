//! What only a process shows: help, exit codes, closed and full output, the refusal of a terminal.

use insta::assert_snapshot;
use kit::{Image, Layer, Registry, Sandbox, pipeline, usage};

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("pull"), @"
      pull alpine | unpack rootfs
          From a registry to a root file system, in one pass
      pull --no-stream nginx:1.27 ghcr.io/a/b
          Into the store
      pull --no-layers nginx | inspect -
          What an image is, without downloading it
      pull ssh://me@host/mine:1
          From the store of another machine; only what is lacking comes
      pull --dry-run nginx:1.28
          What that would fetch, in bytes
      pull --no-store nginx > nginx.tar
          To an archive that docker, podman and ctr load; nothing else is written
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    assert_snapshot!(usage::run("pull", &[]).text(), @"
    status: 2
    --- stderr
    pull: the following required arguments were not provided: <NAME>...
    hint: pull --help
    ");
    usage::refuses(
        "pull",
        &[
            &["--no-such-flag", "nginx"],
            &["--no-stream", "--no-store", "nginx"],
            &["--platform", "linux/amd64", "--all-platforms", "nginx"],
            &["--platform", "linux", "nginx"],
            &["--jobs", "0", "nginx"],
            &["app/UPPER"],
            &["nginx@sha256:12"],
            &["-"],
            &["./file.tar"],
        ],
    );
}

#[test]
fn a_stream_is_not_written_to_a_terminal() {
    // Refused before the network is asked for anything.
    let script = "script -qec 'pull --no-store localhost:1/app' /dev/null";
    let output = pipeline::sh(&Sandbox::new(), script);
    let shown = output.fails_with(2).out();
    assert!(shown.starts_with("pull: standard output is a terminal"), "{shown}");
    assert!(shown.contains("hint: "), "{shown}");
}

#[test]
fn a_terminal_gets_the_digest() {
    let registry = Registry::start();
    let image = Image::new().layer(Layer::new().file("f", "x"));
    registry.add("app:1", &image);
    let script = format!("script -qec 'pull -q {}' /dev/null", registry.name("app:1"));
    let output = pipeline::sh(&Sandbox::new(), &script);
    assert_eq!(output.success().out().trim_end(), image.digest());
}

#[test]
fn full_and_closed_output_are_two_things() {
    let sandbox = Sandbox::new();
    assert_snapshot!(pipeline::sh(&sandbox, "pull --help > /dev/full").text(), @"
    status: 1
    --- stderr
    pull: writing standard output: no space left on device
    ");
    let registry = Registry::start();
    let noise = kit::image::random::Random::new(1).bytes(4 << 20);
    registry.add("app:1", Image::new().layer(Layer::new().file("noise", noise)));
    let script = format!("pull -q {} | head -c 10 > /dev/null", registry.name("app:1"));
    assert_snapshot!(pipeline::sh(&sandbox, &script).text(), @"status: 141 [141, 0]");
}

#[test]
fn exit_statuses_tell_what_kind_of_trouble_it_is() {
    let registry = Registry::start();
    registry.add("app:1", Image::new());
    let sandbox = Sandbox::new();
    let code = |name: &str| {
        sandbox.command("pull").args(["--no-stream", &registry.name(name)]).run().code()
    };
    assert_eq!(code("app:1"), 0);
    assert_eq!(code("app:2"), 3);
    registry.fault(kit::Fault::on("manifests/").html());
    assert_eq!(code("app:1"), 4);
    registry.heal();
    registry.fault(kit::Fault::on("manifests/").status(403));
    assert_eq!(code("app:1"), 6);
    registry.heal();
    registry.fault(kit::Fault::on("manifests/").status(400));
    assert_eq!(code("app:1"), 5);
}
