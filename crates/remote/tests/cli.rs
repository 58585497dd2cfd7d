//! What only a process shows: help, exit codes, closed output.

#![cfg(test)]

use insta::assert_snapshot;
use kit::{Image, Layer, Registry, Sandbox, pipeline, usage};

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("remote"), @"
      remote tags ghcr.io/a/b
          The tags of a repository, 1.9 before 1.10
      remote config nginx:1.27 | jq .config.Env
          An image's environment, without its layers
      remote login ghcr.io -u me --password-stdin < token
          Log in without a terminal
      remote copy a.example/app:1 b.example/app:1
          From registry to registry, all platforms, digests kept
      remote copy nginx b.example/nginx --tags '1.*' --latest 5
          The five latest versions, again every night
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    usage::refuses(
        "remote",
        &[
            &["--no-such-flag", "tags", "nginx"],
            &["no-such-verb"],
            &["tags"],
            &["tags", "nginx:1"],
            &["tags", "app/UPPER"],
            &["digest", "docker://nginx"],
            &["repositories", "https://ghcr.io"],
            &["login"],
            &["login", "ghcr.io", "--password-stdin"],
            &["logout", "https://ghcr.io"],
            &["tag", "nginx"],
            &["copy", "nginx"],
            &["rm"],
            &["tag", "nginx:1", "ghcr.io/a/b:1"],
        ],
    );
}

#[test]
fn a_closed_output_ends_it_quietly() {
    let registry = Registry::start();
    let image = Image::new().layer(Layer::new().file("a", "x"));
    (0..100).for_each(|n| drop(registry.add(&format!("app:{n}"), &image)));
    let line = format!("remote tags {} | true", registry.name("app"));
    let output = pipeline::sh(&Sandbox::new(), &line);
    assert!([0, 141].contains(&output.pipe[0]), "{}", output.text());
    assert_eq!(output.stderr, "");
}
