//! What only a process shows: help, exit codes, closed output.

use insta::assert_snapshot;
use kit::{Image, Layer, Named, Registry, Sandbox, pipeline, usage};

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("push"), @"
      push mine:1 ghcr.io/me/mine:1 ghcr.io/me/mine:latest
          An image of the store, under two names
      pull --all-platforms a.example/app | push - b.example/app
          From registry to registry, without a store between
      save app:1 nginx:1.27 | ssh gate push - --to registry.internal/mirror
          Many images into another registry, each under its path
      push --dry-run mine:1 ghcr.io/me/mine:1
          What would be sent, mounted and skipped, in bytes
      push mine:1 ssh://me@host
          Into the store of another machine; only what it lacks is sent
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    assert_snapshot!(usage::run("push", &[]).text(), @"
    status: 2
    --- stderr
    push: the following required arguments were not provided: <IMAGE>
    hint: push --help
    ");
    usage::refuses(
        "push",
        &[
            &["--no-such-flag", "nginx"],
            &["--jobs", "0", "nginx"],
            &["nginx", "app/UPPER"],
            &["-", "--platform", "linux/amd64", "--all-platforms"],
        ],
    );
}

#[test]
fn what_is_not_in_the_store_is_status_three_with_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/app:1", Image::new())]);
    assert_snapshot!(pipeline::sh(&sandbox, "push nginx:1 localhost:1/x").text(), @"
    status: 3
    --- stderr
    push: nginx:1: not in the store
    hint: pull nginx:1
    ");
}

#[test]
fn a_path_is_no_image_of_the_store() {
    let sandbox = Sandbox::new();
    sandbox.write("image.tar", "");
    let output = pipeline::sh(&sandbox, "push ./image.tar localhost:1/x");
    assert_snapshot!(output.text(), @"
    status: 2
    --- stderr
    push: ./image.tar: only images of the store and - can be pushed
    hint: push - NAME < ./image.tar
    ");
}

#[test]
fn a_full_disk_behind_the_output_is_told() {
    let registry = Registry::start();
    registry.add("app:1", Image::new().layer(Layer::new().file("a", "a")));
    let (sandbox, name) = (Sandbox::new(), registry.name("app:1"));
    let script = format!("pull --no-store {name} | push - {} > /dev/full", registry.name("b"));
    assert_eq!(pipeline::sh(&sandbox, &script).pipe, [0, 1]);
    let script = format!("pull --no-store {name} | push - {} | true", registry.name("b"));
    let status = pipeline::sh(&sandbox, &script).pipe;
    assert!(matches!(status[..], [0, 0 | 141, 0]), "{status:?}");
}
