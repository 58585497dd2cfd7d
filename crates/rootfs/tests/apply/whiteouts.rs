//! Whiteouts act on lower layers only, as if they came first.

use crate::tree::{OPTIONS, check, lines, try_apply};

const LOWER: &str = "d/\nd/a = 1\nd/sub/\nd/sub/x = 2\nd/sub/y = 3\nf = 4";

/// Every order of the layer's lines gives the same tree.
#[track_caller]
fn check_any_order(lower: &str, layer: &str, expected: &str) {
    let all: Vec<_> = lines(layer).collect();
    for order in permutations(&all) {
        check(&[lower, &order.join("\n")], expected);
    }
}

fn permutations<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    if of.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        let rest = [&of[..at], &of[at + 1..]].concat();
        all.extend(permutations(&rest).into_iter().map(|order| [vec![*first], order].concat()));
    }
    all
}

#[test]
fn a_whiteout_removes_what_lower_layers_have() {
    check(&[LOWER, "- f\n- d/sub"], "d/\nd/a = 1");
    check(&[LOWER, "- d"], "f = 4");
    check(&["l -> d\nd/\nd/x = 1", "- l"], "d/\nd/x = 1");
    check(&[LOWER, "! d"], "d/\nf = 4");
    check(&[LOWER, "! /"], "");
}

#[test]
fn a_whiteout_of_a_missing_path_is_ignored() {
    check(
        &[LOWER, "- x\n- x/y/z\n! x\n- f/x\n! f\n- d/sub/nope"],
        "d/\nd/a = 1\nd/sub/\nd/sub/x = 2\nd/sub/y = 3\nf = 4",
    );
    check(&["d/\nd/x = 1\nl -> d", "- l/x\n! l"], "d/\nd/x = 1\nl -> d");
}

#[test]
fn an_entry_and_its_whiteout_leave_the_entry() {
    check_any_order(
        LOWER,
        "- f\nf = new",
        "d/\nd/a = 1\nd/sub/\nd/sub/x = 2\nd/sub/y = 3\nf = new",
    );
    check_any_order(LOWER, "- d\nd = new", "d = new\nf = 4");
    check_any_order("", "- f\nf = new", "f = new");
}

#[test]
fn a_directory_and_its_whiteout_leave_a_new_directory() {
    check_any_order(LOWER, "- d\n[700 @5] d/", "[700 @5] d/\nf = 4");
    check_any_order(LOWER, "- d\n[700 @5] d/\n[711] d/sub/", "[700 @5] d/\n[711] d/sub/\nf = 4");
    check_any_order(LOWER, "- d\nd/sub/\nd/sub/new = 5", "[@0] d/\nd/sub/\nd/sub/new = 5\nf = 4");
}

#[test]
fn a_directory_that_is_only_implied_is_new_all_the_same() {
    let lower = "[700 @5 user.a=1] d/\nd/a = 1\n[700 @6] d/sub/\nd/sub/x = 2";
    check_any_order(lower, "- d\nd/sub/new = 3", "[@0] d/\n[@0] d/sub/\nd/sub/new = 3");
    check_any_order(
        lower,
        "! d\nd/sub/new = 3",
        "[700 @5 user.a=1] d/\n[@0] d/sub/\nd/sub/new = 3",
    );
    check_any_order(lower, "- d\n! d\nd/sub/new = 3", "[@0] d/\n[@0] d/sub/\nd/sub/new = 3");
}

#[test]
fn an_opaque_marker_spares_its_own_layer() {
    check_any_order(LOWER, "! d\nd/new = 5", "d/\nd/new = 5\nf = 4");
    check_any_order(
        LOWER,
        "! d\nd/a = 5\nd/sub/\nd/sub/y = 6",
        "d/\nd/a = 5\nd/sub/\nd/sub/y = 6\nf = 4",
    );
    check_any_order(LOWER, "! /\nd/sub/y = 6", "[@0] d/\n[@0] d/sub/\nd/sub/y = 6");
    check_any_order(LOWER, "! d\n! d/sub\nd/sub/y = 6", "d/\n[@0] d/sub/\nd/sub/y = 6\nf = 4");
    check_any_order(
        LOWER,
        "- d/sub\n- d/sub/x\nd/sub/y = 6",
        "d/\nd/a = 1\n[@0] d/sub/\nd/sub/y = 6\nf = 4",
    );
}

#[test]
fn the_next_layer_sees_all_as_lower() {
    check(&[LOWER, "! d\nd/new = 5", "- d/new\n! d", "d/again = 6"], "d/\nd/again = 6\nf = 4");
    check(&["d/x = 1", "! d", "d/x = 2", "- d"], "");
}

#[test]
fn directories_keep_their_times_when_things_go() {
    check(&["[@5] d/\nd/a = 1\n[@6] d/e/\nd/e/b = 2", "- d/a\n- d/e/b"], "[@5] d/\n[@6] d/e/");
}

#[test]
fn a_hard_link_to_what_a_whiteout_removes_is_refused_whatever_came_in_its_place() {
    let reason = "a whiteout of what a hard link of the same layer names";
    let lower = "d/\nd/f = x\nf = y";
    for layer in [
        "h => f\n- f",
        "h => f\nf = new\n- f",
        "h => f\n! /",
        "h => d/f\n- d/f",
        "h => d/f\n- d",
        "h => d/f\n! d",
        "h => d/f\n! /",
        "h => d/f\nd = a file now\n- d",
        "h => d/f\nd = a file now\n! d",
        "h => d/f\nd = a file now\n! /",
        "h => d/f\nd -> /\n- d/f",
        "h => d/f\nd -> elsewhere\n- d\nd/",
    ] {
        let root = tempfile::tempdir().unwrap();
        let error = try_apply(root.path(), OPTIONS, &[lower, layer]).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{layer}: {error}");
    }
    check(&[lower, "h => d/f\n- d/g\n- f\n! d/e"], "d/\nd/f = x\nh => d/f");
    check(&["d/\nd/f = x", "- d\nd/\nd/f = new\nh => d/f\n- d\n! /"], "d/\nd/f = new\nh => d/f");
}
