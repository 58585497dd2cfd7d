//! What only a process shows of `flatten`: help and wrong usage. What it writes is tested in tests/it.

#![cfg(test)]

use insta::assert_snapshot;
use kit::usage;

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("flatten"), @"
      flatten nginx | tar2sqfs nginx.squashfs
          A root disk, without root
      pull alpine | flatten - | docker import - alpine:flat
          One layer, without the image's config
      flatten nginx --only /etc/nginx --only /usr/share/nginx | tar x
          Some of it
      flatten nginx --as-image nginx:flat | load
          One layer, with the image's config
      flatten app --onto debian --as-image app:1 | load
          One layer on top of the base's, which stay
    ");
}

#[test]
fn wrong_usage_is_status_two_with_one_line_and_a_hint() {
    assert_snapshot!(usage::run("flatten", &[]).text(), @"
    status: 2
    --- stderr
    flatten: the following required arguments were not provided: <IMAGE>
    hint: flatten --help
    ");
    usage::refuses(
        "flatten",
        &[
            &["a", "b"],
            &["--as-image", "A B", "a"],
            &["--platform", "x", "a"],
            &["--compress", "zstd", "a"],
            &["--onto", "b", "a"],
            &["--onto", "b", "--as-image", "c", "--no-store", "a"],
            &["--exclude", "/", "a"],
            &["--only", "/", "a"],
            &["--only", "x", "--onto", "b", "--as-image", "c", "a"],
            &["--max-size", "x", "a"],
            &["--max-entries", "-1", "a"],
        ],
    );
}
