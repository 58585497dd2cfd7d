//! What an entry does to what is there already.

use crate::tree::{FOLLOW, OPTIONS, check, check_with, file, path, show, try_apply};
use report::{ErrorKind, HasKind};
use rootfs::Options;

#[test]
fn a_layer_becomes_a_tree() {
    check(
        &[
            "[@1.5] etc/\n[600] etc/passwd = root\nbin -> usr/bin\netc/copy => etc/passwd\n[622] pipe |\nempty = ",
        ],
        "bin -> usr/bin\nempty = \n[@1.5] etc/\n[600] etc/copy = root\netc/passwd => etc/copy\n[622] pipe |",
    );
}

#[test]
fn missing_parents_are_made() {
    check(&["a/b/c = x"], "[@0] a/\n[@0] a/b/\na/b/c = x");
    // A later entry describes one all the same, and an earlier one is not undone.
    check(&["a/b = x\n[700 @7] a/"], "[700 @7] a/\na/b = x");
    check(&["[700 @7] a/", "a/b = x"], "[700 @7] a/\na/b = x");
}

#[test]
fn a_directory_over_a_directory_keeps_its_children_and_takes_the_attributes() {
    check(
        &["[700 @5 user.a=1 user.b=2] d/\nd/f = x", "[711 @6 user.b=3 user.c=] d/"],
        "[711 @6 user.b=3 user.c=] d/\nd/f = x",
    );
    check(&["d/\nd/f = x\n[711 @6] d/"], "[711 @6] d/\nd/f = x");
}

#[test]
fn anything_else_replaces() {
    let all = ["p/\np/q/\np/q/r = x", "p = file", "p -> nowhere", "p |", "p -> ."];
    let shown = ["p/\np/q/\np/q/r = x", "p = file", "p -> nowhere", "p |", "p -> ."];
    for lower in all {
        for (upper, expected) in all.iter().zip(shown) {
            if lower != *upper || !lower.starts_with("p/") {
                check(&[lower, upper], expected);
                check(&[&format!("{lower}\n{upper}")], expected);
            }
        }
    }
}

#[test]
fn a_link_over_itself_loses_nothing() {
    check(&["a = x\na => a"], "a = x");
    check(&["a = x\nb => a", "b => a\na => b"], "a = x\nb => a");
    check(&["a = x\nb => a\nb => a"], "a = x\nb => a");
}

#[test]
fn the_last_of_duplicates_wins() {
    check(&["a = 1\n[600 @2] a = 22"], "[600 @2] a = 22");
    check(&["a/\na/b = 1\na = 2"], "a = 2");
    check(&["a = 2\na/b = 1"], "[@0] a/\na/b = 1");
    check(&["a/\na/b = 1\na = 2\na/\na/c = 3"], "a/\na/c = 3");
}

#[test]
fn a_file_is_replaced_not_overwritten() {
    check(&["a = 1\nb => a", "a = 2"], "a = 2\nb = 1");
}

#[test]
fn hard_links_join_inodes_of_this_layer_and_of_lower_ones() {
    check(&["a = x", "d/\nd/b => a\nc => d/b"], "a = x\nc => a\nd/\nd/b => a");
    check(&["[600 @5] a = x\n[755 @6] b => a"], "[600 @5] a = x\nb => a");
    check(&["l -> target\nm => l"], "l -> target\nm => l");
    check(&["p |\nq => p"], "p |\nq => p");
    check(&["a = x\nd/\nd/f = y\nd => a"], "a = x\nd => a");
}

#[track_caller]
fn refused(layers: &[&str], message: &str) {
    let root = tempfile::tempdir().unwrap();
    let error = try_apply(root.path(), OPTIONS, layers).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), (message, ErrorKind::Untrusted));
}

#[test]
fn hard_links_to_nothing_are_refused() {
    refused(&["b => a"], "entry b: hard link to a: it isn't there");
    refused(&["b => d/a"], "entry b: hard link to d/a: it isn't there");
    refused(&["d/\nb => d"], "entry b: hard link to d: it is a directory");
    refused(&["b => /"], "entry b: hard link to .: it is the root");
    let makes_way = "entry d: hard link to d/f: the link replaces it";
    refused(&["d/f = x\nd => d/f"], makes_way);
    refused(&["d/f = x\ng => d/f\nd => d/f"], makes_way);
    refused(&["d/f = x\ng => d/f", "d => d/f"], makes_way);
    refused(
        &["d/e/f = x\ng => d/e/f", "l -> .\nl/d => l/d/e/f"],
        "entry l/d: hard link to l/d/e/f: the link replaces it",
    );
    check(&["d/f = x\ng => d/f", "d => g"], "d = x\ng => d");
    check(&["df/f = x", "d => df/f"], "d = x\n[@0] df/\ndf/f => d");
    refused(&["a = x\na/b => a"], "entry a/b: hard link to a: it is a directory");
    refused(&["a = x", "- a\nb => a"], "entry b: hard link to a: it isn't there");
    refused(
        &["a = x", "b => a\n- a"],
        "entry a: a whiteout of what a hard link of the same layer names",
    );
    refused(
        &["d/\nd/a = x", "b => d/a\n! d"],
        "entry d: a whiteout of what a hard link of the same layer names",
    );
    refused(
        &["d/\nd/a = x", "b => d/a\n- d"],
        "entry d: a whiteout of what a hard link of the same layer names",
    );
    check(&["a = x\nd/", "b => a\n- d\n- c"], "a = x\nb => a");
    check(&["a = x", "a = y\nb => a\n- a"], "a = y\nb => a");
}

#[test]
fn only_a_directory_can_be_the_root() {
    for line in [". = x", ". -> etc", ". |", "a = x\n. => a"] {
        refused(&[line], "entry .: the root can only be a directory");
    }
}

#[test]
fn what_no_file_system_holds_is_refused() {
    let long = "n".repeat(256);
    for line in [
        format!("{long} = x"),
        format!("{long}/a = x"),
        format!("{long}/"),
        format!("{long} -> x"),
        format!("d/{long} |"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let error = try_apply(root.path(), OPTIONS, &[&line]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains(&long), "{error}");
    }
    check(&["a = x", &format!("- {long}\n! {long}\n- {long}/a")], "a = x");
    refused(&["a -> "], "entry a: a symbolic link to nothing, or to more than a path can be");
    refused(&["[4294967295:0] a = x"], "entry a: its owner is 4294967295, which no system takes");
    refused(&["a %c 4096:0"], "entry a: a device number that no system has");
    assert_eq!(file(0).content_size(), 0);
    assert!(path("").is_root());
}

#[test]
fn a_parent_that_a_lower_layer_has_as_a_link_becomes_a_directory() {
    check(&["usr/\nusr/lib/\nlib -> usr/lib", "lib/a = x"], "[@0] lib/\nlib/a = x\nusr/\nusr/lib/");
    check(&["f = x", "f/a = x"], "[@0] f/\nf/a = x");
    check(&["usr/\nlib -> usr", "lib/\nlib/a = x"], "lib/\nlib/a = x\nusr/");
}

#[test]
fn or_is_followed_if_the_user_says_so() {
    let lower = "usr/\nusr/lib/\nusr/lib/old = x\nlib -> usr/lib\nabs -> /usr/lib\nup -> usr/../../../usr/lib\ndead -> nowhere\nf -> usr/lib/old";
    let rest = |usr: &str, dead: &str, f: &str| {
        format!("abs -> /usr/lib\n{dead}\n{f}\nlib -> usr/lib\nup -> usr/../../../usr/lib\n{usr}")
    };
    let (dead, f) = ("dead -> nowhere", "f -> usr/lib/old");
    let old = "usr/\nusr/lib/";
    check_with(
        FOLLOW,
        &[lower, "lib/a = 1\nabs/b = 2\nup/c = 3"],
        &rest(
            &format!("{old}\nusr/lib/a = 1\nusr/lib/b = 2\nusr/lib/c = 3\nusr/lib/old = x"),
            dead,
            f,
        ),
    );
    check_with(
        FOLLOW,
        &[lower, "[700 @3] lib/\nlib/a = 1"],
        &rest("usr/\n[700 @3] usr/lib/\nusr/lib/a = 1\nusr/lib/old = x", dead, f),
    );
    check_with(FOLLOW, &[lower, "- lib/old"], &rest(old, dead, f));
    check_with(
        FOLLOW,
        &[lower, "lib/a = 1\n! lib"],
        &rest(&format!("{old}\nusr/lib/a = 1"), dead, f),
    );
    check_with(
        FOLLOW,
        &[lower, "dead/a = 1\nf/a = 2"],
        &rest("usr/\nusr/lib/\nusr/lib/old = x", "[@0] dead/\ndead/a = 1", "[@0] f/\nf/a = 2"),
    );
    check_with(
        FOLLOW,
        &[lower, "lib -> usr\nlib/\n- abs/old"],
        "abs -> /usr/lib\ndead -> nowhere\nf -> usr/lib/old\nlib/\nup -> usr/../../../usr/lib\nusr/\nusr/lib/",
    );
    check_with(FOLLOW, &["d/\nd/f = x\nl -> d", "h => l/f"], "d/\nd/f = x\nh => d/f\nl -> d");
    check_with(
        FOLLOW,
        &["a -> b\nb -> a\nc -> c", "a/x = 1\nc/x = 2"],
        "[@0] a/\na/x = 1\nb -> a\n[@0] c/\nc/x = 2",
    );
}

#[test]
fn a_link_of_the_same_layer_is_followed_beneath_the_root() {
    check(&["usr/\nlib -> usr\nlib/a = x"], "lib -> usr\nusr/\nusr/a = x");
    check(&["usr/\nlib -> /usr\nlib/a = x\nb => lib/a"], "b = x\nlib -> /usr\nusr/\nusr/a => b");
    check(
        &["usr/\nusr/x/\nlib -> ../../usr/x/..\nlib/a = x"],
        "lib -> ../../usr/x/..\nusr/\nusr/a = x\nusr/x/",
    );
    // If nothing is where it leads, a directory is made there, as containerd does; anything else makes it like anything else
    // in the way.
    check(&["lib -> usr\nlib/a = x"], "lib -> usr\n[@0] usr/\nusr/a = x");
    check(&["usr = file\nlib -> usr\nlib/a = x"], "[@0] lib/\nlib/a = x\nusr = file");
    // Its own whiteout sees the lower layers, where there is nothing below it.
    check(&["usr/\nusr/a = x", "lib -> usr\n- lib/a\n! lib"], "lib -> usr\nusr/\nusr/a = x");
}

#[test]
fn a_reserved_name_in_the_root_is_not_the_layers() {
    let options = Options { reserved: Some("mark"), ..OPTIONS };
    let apply = |layers: &[&str]| {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("mark"), "ours").unwrap();
        let result = try_apply(root.path(), options, layers);
        assert_eq!(std::fs::read(root.path().join("mark")).unwrap(), b"ours");
        (result, root)
    };
    for layer in ["f = x\n! .", "! .\nf = x", "- mark\nf = x", "f = x\n! .\n- mark/x\n! mark"] {
        let (result, root) = apply(&["g = y", "- g", layer]);
        result.unwrap();
        std::fs::remove_file(root.path().join("mark")).unwrap();
        assert_eq!(show(root.path()), "f = x\n", "{layer}");
    }
    for layer in [
        "mark = x",
        "mark/",
        "mark -> x",
        "mark |",
        "f = x\nmark => f",
        "mark/x = x",
        "f => mark",
        "l -> .\nl/mark = x",
        "d/\nl -> d/..\nl/mark/x/",
        "l -> .\nf => l/mark",
    ] {
        let error = apply(&[layer]).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{layer}");
    }
    for layer in ["d/mark = x", "mark2 = x", "l -> mark"] {
        apply(&[layer]).0.unwrap();
    }
}
