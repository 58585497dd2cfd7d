//! Layers in a few words, and the tree that they make.

use super::*;
use crate::error::Error;
use crate::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

/// One line of a layer: `d a` a directory, `f a` a file, `a > b` a link, `a = b` a hard link, `- a` and `! a` whiteouts.
fn change(line: &str) -> Change {
    let add = |name: &str, kind| {
        let mode = if kind == EntryKind::Directory { 0o700 } else { 0o600 };
        let (mtime, xattrs) = (Timestamp::default(), vec![]);
        Change::Add(Entry { path: path(name), kind, mode, uid: 1, gid: 1, mtime, xattrs })
    };
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["d", name] => add(name, EntryKind::Directory),
        ["f", name] => add(name, EntryKind::File { size: 7, data: None }),
        ["-", name] => Change::Remove(path(name)),
        ["!", name] => Change::Opaque(path(name)),
        [name, ">", target] => add(name, EntryKind::Symlink { target: target.into() }),
        [name, "=", target] => add(name, EntryKind::Hardlink { target: path(target) }),
        _ => panic!("{line}"),
    }
}

fn tree(layers: &[&[&str]]) -> Result<Tree, Error> {
    filled(Tree::new(), layers)
}

fn filled(mut tree: Tree, layers: &[&[&str]]) -> Result<Tree, Error> {
    for layer in layers {
        tree.begin_layer();
        layer.iter().try_for_each(|line| tree.apply(&change(line)))?;
    }
    Ok(tree)
}

/// Each name with the layer it comes from; `*` stands for attributes that no layer gave.
fn shown(tree: &Tree) -> String {
    let show = |item: Item<'_>| {
        let layer = item.place.layer().map(|layer| layer.to_string()).unwrap_or_default();
        let implied = if item.place.origin().is_none() { "*" } else { "" };
        let slash = if item.place.is_directory() { "/" } else { "" };
        format!("{}{slash}{implied}{layer}", item.path)
    };
    tree.items().skip(1).map(show).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(layers: &[&[&str]], expected: &str) {
    assert_eq!(shown(&tree(layers).unwrap()), expected);
}

#[track_caller]
fn refuse(layers: &[&[&str]], expected: &str) {
    let error = tree(layers).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn upper_layers_go_over_lower_ones() {
    check(&[&["d a", "f a/b", "f c"], &["f a/b"]], "a/0 a/b1 c0");
    check(&[&["d a", "f a/b"], &["d a"]], "a/1 a/b0");
    check(&[&["d a", "f a/b"], &["f a"]], "a1");
    check(&[&["f a"], &["f a/b/c"]], "a/*1 a/b/*1 a/b/c1");
    check(&[&["f a", "d a", "f a/b"]], "a/0 a/b0");
}

#[test]
fn a_tree_that_seeks_a_path_leaves_out_other_files() {
    let check = |sought: &str, layers: &[&[&str]], expected: &str| {
        let tree = filled(Tree::seeking(sought.as_bytes()), layers).unwrap();
        assert_eq!(shown(&tree), expected);
        tree.find(sought.as_bytes()).is_some()
    };
    let layers: &[&[&str]] = &[&["d a", "f a/x", "f a/y", "z = a/x", "l > a"], &["f a/y/w", "f v"]];
    assert!(check("a/x", layers, "a/0 a/x0 a/y/*1 l0 z0"));
    assert!(check("l/y/w", layers, "a/0 a/y/*1 a/y/w1 l0"));
    assert!(!check("v/w", layers, "a/0 a/y/*1 a/y/w1 l0 v1"));
    // A file in the place of a directory, a link's target of another name, and a whiteout.
    assert!(check("a/x", &[&["f a/x/w", "a/x/l > w"], &["f a/x"]], "a/*0 a/x1"));
    assert!(!check("b", &[&["d c", "f c/w"], &["f c"]], "c1"));
    assert!(!check("l", &[&["f a", "l > a"]], "l0"));
    assert!(check("x", &[&["f x", "f a/y"], &["f a/z", "- a"]], "a/*1 x0"));
    let refused = |sought: &str, layers| filled(Tree::seeking(sought.as_bytes()), layers).is_err();
    assert!(refused("z", &[&["f x", "z = x"]]), "its target was left out");
    assert!(refused("l/w", &[&["f x", "l > x", "f l/w"]]), "x may be a file");
}

#[test]
fn whiteouts_act_on_lower_layers_wherever_they_stand() {
    check(&[&["f a/x", "f a/y"], &["- a/x"]], "a/*0 a/y0");
    check(&[&["d a", "f a/x"], &["d a", "f a/z", "- a"]], "a/1 a/z1");
    check(&[&["d a", "f a/x"], &["f a/z", "- a"]], "a/*1 a/z1");
    check(&[&["d a", "f a/x"], &["f a/z", "! a"]], "a/0 a/z1");
    check(&[&["f x"], &["! .", "f y"]], "y1");
    check(&[&["f x"], &["f x", "- x"]], "x1");
    check(&[&["f a/b/c", "f a/d/e"], &["f a/b/f", "! a"]], "a/*0 a/b/*1 a/b/f1");
    check(&[&["f x"], &["- a/b", "! nothing"]], "x0");
    check(&[&["f x/y", "l > x"], &["- l/y"]], "l0 x/*0 x/y0");
}

#[test]
fn links_of_the_same_layer_are_followed_and_others_give_way() {
    check(&[&["d usr/lib", "lib > usr/lib", "f lib/x"]], "lib0 usr/*0 usr/lib/0 usr/lib/x0");
    check(&[&["d usr/lib", "lib > /usr/lib"], &["f lib/x"]], "lib/*1 lib/x1 usr/*0 usr/lib/0");
    check(&[&["d a", "b > ../../a", "f b/x"]], "a/0 a/x0 b0");
    check(&[&["a > b", "b > a", "f a/x"]], "a/*0 a/x0 b0");
}

#[test]
fn the_way_to_a_directory_is_that_of_the_moment() {
    // The directory that was written to last has gone, by a file of the same layer, by a whiteout, or with what is above it.
    check(&[&["f a/b/x", "f a", "f a/b/y"]], "a/*0 a/b/*0 a/b/y0");
    check(&[&["f a/x"], &["- a", "f a/y"]], "a/*1 a/y1");
    check(&[&["f a/x"], &["! .", "f a/y"]], "a/*1 a/y1");
    check(&[&["f a/b/x"], &["- a/b", "f a/b/y"]], "a/*0 a/b/*1 a/b/y1");
    check(&[&["f a/b/x"], &["f a", "f a/b/y"]], "a/*1 a/b/*1 a/b/y1");
    // A link's way is closed by what is written by it, or is open in its own layer alone.
    check(&[&["d d/e", "l > d/e/..", "f l/e", "f l/f"]], "d/*0 d/e0 l/*0 l/f0");
    check(&[&["d d", "l > d", "f l/x"], &["f l/y"]], "d/0 d/x0 l/*1 l/y1");
}

#[test]
fn hard_links_are_names_of_one_thing() {
    let tree = tree(&[&["f a"], &["b = a"], &["f a"]]).unwrap();
    assert_eq!(shown(&tree), "a2 b1");
    assert_eq!(tree.find(b"b").unwrap().origin(), Origin::new(0, 0));
    check(&[&["f a", "b = a", "b = a", "a = a"]], "a0 b0");
    refuse(&[&["b = a"]], "isn't there");
    refuse(&[&["d a", "b = a"]], "to a directory");
    refuse(&[&["f a/b", "a = a/b"]], "replaces the file");
    refuse(&[&["f a/b", "c = a/b", "a = a/b"]], "replaces the file");
    refuse(&[&["f a/b", "c = a/b"], &["l > .", "l/a = l/a/b"]], "replaces the file");
    refuse(&[&["f d/a/b/c"], &["d/a = d/a/b/c"]], "replaces the file");
    check(&[&["f a/b", "c = a/b", "a = c"]], "a0 c0");
    check(&[&["f ab/c", "d a"], &["a = ab/c"]], "a1 ab/*0 ab/c0");
    refuse(&[&["f a"], &["b = a", "- a"]], "a whiteout of what a hard link");
    refuse(&[&["f d/a"], &["b = d/a", "! d"]], "a whiteout of what a hard link");
}

#[test]
fn what_no_system_has_is_refused() {
    refuse(&[&["f ."]], "the root can only be a directory");
    let mut tree = Tree::new();
    tree.begin_layer();
    let Change::Add(mut entry) = change("f a") else { panic!() };
    entry.uid = u32::MAX;
    assert!(tree.apply(&Change::Add(entry)).is_err());
}

#[test]
fn finding_follows_links_beneath_the_root() {
    let tree =
        tree(&[&["f usr/lib/x", "lib > usr/lib", "up > ../../lib/./x", "a > a", "to > up/y"]]);
    let tree = tree.unwrap();
    let x = tree.find(b"usr/lib/x").unwrap().id();
    for path in ["lib/x", "/lib//x", "up", "../lib/../../up", "./up"] {
        assert_eq!(tree.find(path.as_bytes()).unwrap().id(), x, "{path}");
    }
    for path in ["a", "to", "usr/lib/x/y", "none", "usr/lib/x/.."] {
        assert!(tree.find(path.as_bytes()).is_none(), "{path}");
    }
}

/// `n` links, each to the next one, and the last to `target`.
fn chain(n: usize, target: &str) -> Vec<String> {
    let link = |at: usize| format!("l{at} > l{}", at + 1);
    (0..n - 1).map(link).chain([format!("l{} > {target}", n - 1)]).collect()
}

#[test]
fn as_many_links_are_followed_as_the_kernel_follows() {
    for (n, is_found) in [(40, true), (41, false)] {
        let links = chain(n, "d/f");
        let lines: Vec<&str> =
            ["f d/f"].into_iter().chain(links.iter().map(String::as_str)).collect();
        assert_eq!(tree(&[&lines]).unwrap().find(b"l0").is_some(), is_found, "{n}");
        // To a place that isn't there yet, too.
        let links = chain(n, "new");
        let lines: Vec<&str> = links.iter().map(String::as_str).chain(["f l0/f"]).collect();
        assert_eq!(tree(&[&lines]).unwrap().find(b"new/f").is_some(), is_found, "{n}");
    }
}

#[test]
fn names_go_and_come_in_linear_time() {
    let mut tree = Tree::new();
    for _ in 0..50 {
        tree.begin_layer();
        for n in 0..500 {
            tree.apply(&change(&format!("f d{}/{n}", n % 10))).unwrap();
        }
        for n in 0..10 {
            tree.apply(&change(&format!("- d{n}"))).unwrap();
        }
    }
    tree.begin_layer();
    (0..10).for_each(|n| tree.apply(&change(&format!("- d{n}"))).unwrap());
    assert_eq!(shown(&tree), "");
}

#[test]
fn a_huge_directory_is_filled_and_emptied_in_any_order() {
    const N: usize = 20_000;
    let mut tree = Tree::new();
    let names = |factor: usize| (0..N).map(move |n| format!("d/{}", n * factor % N));
    for factor in [1, 7919] {
        tree.begin_layer();
        names(factor).for_each(|name| tree.apply(&change(&format!("f {name}"))).unwrap());
        assert_eq!(tree.n_names(), N + 2);
    }
    tree.begin_layer();
    names(7919).for_each(|name| tree.apply(&change(&format!("- {name}"))).unwrap());
    assert_eq!(shown(&tree), "d/*0");
}

#[test]
fn twenty_thousand_layers_that_replace_each_other_take_no_more_than_one() {
    let mut tree = Tree::new();
    for n in 0..20_000 {
        tree.begin_layer();
        for line in ["d d", "f d/a", "d/b > somewhere", "d/c = d/a", "! e", &format!("f e/{n}")] {
            tree.apply(&change(line)).unwrap();
        }
        tree.end_layer();
    }
    assert_eq!(shown(&tree), "d/19999 d/a19999 d/b19999 d/c19999 e/*0 e/1999919999");
    assert!(tree.weight() < 2_000, "{}", tree.weight());
}

/// Two trees of 200,000 entries are to fit into 64 MiB, with all else that a program needs.
#[test]
fn an_entry_takes_128_bytes_at_most() {
    let mut tree = Tree::new();
    tree.begin_layer();
    for n in 0..20_000 {
        let line = match n % 10 {
            0 => format!("d usr/share/package-{n}"),
            1 => format!("usr/share/package-{0}/liblink{n}.so > liblink{n}.so.1.2", n - 1),
            m => format!("f usr/share/package-{}/a-name-of-a-file-{n}.html", n - m),
        };
        tree.apply(&change(&line)).unwrap();
    }
    tree.end_layer();
    assert!(tree.weight() < 20_000 * 128, "{}", tree.weight());
}

#[test]
fn a_hard_link_to_what_a_whiteout_removes_is_refused_whatever_came_in_its_place() {
    for layer in [
        &["h = d/f", "- d/f"][..],
        &["h = d/f", "- d"],
        &["h = d/f", "! d"],
        &["h = d/f", "! ."],
        &["h = d/f", "f d", "- d"],
        &["h = d/f", "f d", "! d"],
        &["h = d/f", "d > /", "- d/f"],
    ] {
        refuse(&[&["d d", "f d/f"], layer], "a whiteout of what a hard link");
    }
    check(&[&["d d", "f d/f"], &["h = d/f", "- d/g", "! d/e"]], "d/0 d/f0 h1");
}

#[test]
fn no_link_leads_deeper_than_a_path_can() {
    let (first, below) = ("a/".repeat(2000), "b/".repeat(2096));
    let layer = |n: usize| {
        [format!("d {first}"), format!("l > {first}"), format!("d l/{}", &below[..2 * n])]
    };
    let tree = |n: usize| {
        let lines = layer(n);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        tree(&[&lines])
    };
    assert_eq!(tree(2096).unwrap().n_names(), 4098);
    let deepest = tree(2096).unwrap().items().map(|item| item.path.components().count()).max();
    assert_eq!(deepest, Some(4096));
    let below =
        [format!("d {first}"), format!("l > {first}"), format!("d l/{}", "b/".repeat(2097))];
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    refuse(&[&below], "more than 4096 directories deep");
}

/// A megabyte and a half of a layer were 644 MB in memory.
#[test]
fn attributes_have_a_limit_that_grows_with_the_number_of_files() {
    let heavy = |n: u64| {
        let Change::Add(mut entry) = change(&format!("f f{n}")) else { unreachable!() };
        entry.xattrs = vec![(b"user.v".to_vec(), vec![0; 65_000])];
        Change::Add(entry)
    };
    let mut tree = Tree::new();
    tree.begin_layer();
    let taken = (0..10_000).take_while(|&n| tree.apply(&heavy(n)).is_ok()).count();
    assert!((1_000..1_100).contains(&taken), "{taken}");
    assert_eq!(
        [allowance(0), allowance(1024), allowance(u64::MAX)],
        [64 << 20, 65 << 20, WEIGHT_LIMIT]
    );
}
