//! What only a process shows: help, exit codes, one line for each error.

use insta::assert_snapshot;
use kit::{Image, Layer, Named, Sandbox, usage};

/// A sandbox whose store has `app:1`, of one layer.
fn with_image() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::new().file("f", "x"));
    sandbox.load(&[Named::new("docker.io/library/app:1", image)]);
    sandbox
}

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("union"), @"
      union nginx /mnt
          Look into an image, and take it away again with union --umount /mnt
      union debian --upper changes -- apt-get install -y vim
          Run a command in it, and keep what it changes
      union vim:1 m --upper changes -- sh -c 'snapshot m | commit -t vim:2'
          What docker commit does
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line() {
    usage::refuses(
        "union",
        &[
            &[],
            &["app:1"],
            &["-", "m"],
            &["./image.tar", "m"],
            &["layout:x", "m"],
            &["app:1", "m", "n"],
            &["--list", "app:1"],
            &["--umount", "m", "app:1"],
        ],
    );
}

#[test]
fn before_a_command_has_begun_the_status_is_125() {
    for words in [&["nosuch:1", "--", "true"][..], &["--list", "--", "true"]] {
        let output = usage::run("union", words);
        assert_eq!(output.code(), 125, "{words:?}: {}", output.text());
    }
}

#[test]
fn what_is_not_there_is_status_three_with_a_hint() {
    let sandbox = with_image();
    sandbox.write("m/.keep", "");
    let union = |words: &[&str]| sandbox.command("union").args(words).run();
    let output = union(&["nosuch:1", "m"]);
    // A plain user hears first that it takes root.
    if output.code() != 1 {
        assert_snapshot!(output.fails_with(3).stderr, @"
        union: nosuch:1: not in the store
        hint: pull nosuch:1
        ");
    }
    for dir in ["m", "nosuch"] {
        let output = union(&["--umount", dir]);
        let expected = format!("union: {dir}: no union is mounted there\nhint: union --list\n");
        assert_eq!(output.fails_with(3).stderr, expected);
    }
}

#[test]
fn a_file_is_no_place_to_mount_on() {
    let sandbox = with_image();
    sandbox.write("file", "");
    let output = sandbox.command("union").args(["app:1", "file"]).run();
    assert!([1, 2].contains(&output.code()), "{}", output.text());
}
