//! What only a process shows: help, exit codes, the refusal of a terminal, a closed standard error.

use std::fs;

use insta::assert_snapshot;
use kit::{Image, Layer, Named, Producer, Sandbox, pipeline, usage};

fn archive() -> Vec<u8> {
    let image = Image::new().layer(Layer::new().file("f", "x"));
    Producer::Strata.write(&[Named::new("docker.io/library/app:1", image)])
}

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("unpack"), @"
      pull alpine | unpack rootfs
          From a registry to a root file system
      docker save nginx | unpack rootfs
          Every other tool's archive works too
      unpack --from nginx --only /etc/nginx --only '*.conf' some
          Some of an image's files
      unpack --from nginx --env-file nginx.env rootfs && . ./nginx.env
          And how it is run, for a shell
      unpack --from nginx --uid-map 0:100000:65536 rootfs
          For an unprivileged LXC container, or unshare --map-auto
      unpack --from ./images.tar --image nginx:1.27 rootfs
          One image of several in a file
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    assert_snapshot!(usage::run("unpack", &[]).text(), @"
    status: 2
    --- stderr
    unpack: the following required arguments were not provided: <DIR>
    hint: unpack --help
    ");
    usage::refuses(
        "unpack",
        &[
            &["--no-such-flag", "root"],
            &["one", "two"],
            &["--platform", "linux", "root"],
            &["--owner", "me", "root"],
            &["--only", "/", "root"],
            &["--uid-map", "0:1:0", "root"],
            &["--uid-map", "0", "root"],
            &["--uid-map", "0:1:2", "--uid-map", "1:9:1", "root"],
            &["--uid-map", "0:1:2", "--owner", "ignore", "root"],
            &["--only", "x", "--keep-symlinked-dirs", "root"],
            &["--from", "layer:x", "root"],
        ],
    );
}

#[test]
fn a_stream_is_not_read_from_a_terminal() {
    let sandbox = Sandbox::new();
    let output = pipeline::sh(&sandbox, "script -qec 'unpack root' /dev/null");
    let shown = output.fails_with(2).out();
    assert!(shown.starts_with("unpack: standard input is a terminal"), "{shown}");
    assert!(shown.contains("hint: "), "{shown}");
    assert!(!sandbox.path("root").exists());
}

#[test]
fn exit_statuses_tell_what_kind_of_trouble_it_is() {
    let sandbox = Sandbox::new();
    let code =
        |words: &[&str], input: Vec<u8>| sandbox.command("unpack").args(words).input(input).run();
    code(&["root"], archive()).success();
    code(&["root"], archive()).fails_with(2);
    code(&["--image", "other:1", "a"], archive()).fails_with(3);
    code(&["--from", "app", "a"], vec![]).fails_with(3);
    code(&["--from", "./missing", "a"], vec![]).fails_with(3);
    code(&["a"], archive()[..2000].to_vec()).fails_with(4);
    code(&["no/such/parent"], archive()).fails_with(1);
    assert!(!sandbox.path("a").exists());
}

#[test]
fn nobody_has_to_listen() {
    // Standard error full, closed, or a pipe without a reader: the work is done all the same.
    for end in ["2> /dev/full", "2>&-", "2> >(true)"] {
        let sandbox = Sandbox::new();
        sandbox.write("in", archive());
        pipeline::sh(&sandbox, &format!("unpack root < in {end}")).success();
        assert_eq!(fs::read(sandbox.path("root/f")).unwrap(), b"x", "{end}");
    }
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let output =
        sandbox.command("unpack").args(["--from", "app:1", "--store", "file", "root"]).run();
    assert_snapshot!(output.text(), @"
    status: 1
    --- stderr
    unpack: opening the store: opening [SANDBOX]/work/file/oci-layout: not a directory
    ");
}
