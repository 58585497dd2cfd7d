//! What only a process shows of `flatten`: help and wrong usage. What it writes is tested in tests/it.

#![cfg(test)]

use insta::assert_snapshot;
use kit::{Output, Sandbox};

fn run(words: &[&str]) -> Output {
    Sandbox::new().command("flatten").args(words).run()
}

#[test]
fn the_help_ends_with_examples() {
    let help = run(&["--help"]).success().out();
    let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
    assert_snapshot!(examples, @"
      flatten nginx | tar2sqfs nginx.squashfs
          A root disk, without root
      pull alpine | flatten - | docker import - alpine:flat
          One layer, without the image's config
      flatten nginx --as-image nginx:flat | load
          One layer, with the image's config
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    assert_snapshot!(run(&[]).text(), @"
    status: 2
    --- stderr
    flatten: the following required arguments were not provided: <IMAGE>
    hint: flatten --help
    ");
    for words in [
        &["a", "b"][..],
        &["--as-image", "A B", "a"],
        &["--platform", "x", "a"],
        &["--compress", "zstd", "a"],
    ] {
        assert_eq!(run(words).code(), 2, "{words:?}");
    }
}
