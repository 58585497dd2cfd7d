//! What only a process shows of `changes`: every pair of sources, every form, exit statuses.

#![cfg(test)]

use insta::assert_snapshot;
use kit::archive::layout;
use kit::{Image, Layer, Named, Output, Producer, Sandbox, pipeline, tree, usage};
use serde_json::Value;

const OLD: &str = r#"
drwxr-xr-x 0:0 ./ @1500000000
drwxr-xr-x 0:0 etc/ @1500000000
-rw-r--r-- 0:0 etc/os "old\n" @1500000001
-rw-r--r-- 0:0 etc/gone "x"
-rw-r--r-- 0:0 etc/quiet "aaaa" @1500000002
drwxr-xr-x 0:0 usr/
drwxr-xr-x 0:0 usr/doc/
-rw-r--r-- 0:0 usr/doc/a "1234567"
-rw-r--r-- 0:0 usr/doc/b = usr/doc/a
lrwxrwxrwx 0:0 rel -> etc/os
prw-r--r-- 0:0 pipe
"#;

const NEW: &str = r#"
drwxr-xr-x 0:0 ./ @1500000000
drwxr-x--- 0:0 etc/ @1500000000
-rwxr-xr-x 0:0 etc/os "newer\n" @1500000001.5
-rw-r--r-- 0:0 etc/quiet "bbbb" @1500000002
-rw-r--r-- 0:0 etc/odd\x1b "" user.x="y"
drwxr-xr-x 0:0 usr/
-rw-r--r-- 0:0 usr/doc "a file"
lrwxrwxrwx 0:0 rel -> etc/quiet
prw-r----- 0:0 pipe
"#;

fn old() -> Image {
    Image::new().layer(Layer::text(OLD)).env(&["A=1", "B=2"]).cmd(&["sh"])
}

fn new() -> Image {
    Image::new().layer(Layer::text(NEW)).env(&["A=1", "B=3"]).set_config("/config/User", "me\x1b")
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let images = [
        Named::new("docker.io/library/old:1", old()),
        Named::new("docker.io/library/new:1", new()),
    ];
    layout(sandbox.store(), &images);
    layout(sandbox.path("layout"), &images[..1]);
    sandbox.write("both.tar", Producer::Strata.write(&images));
    sandbox.write("old.tar", Producer::Docker24.write(&images[..1]));
    sandbox.write("old.layer", Layer::text(OLD).tar());
    sandbox.write("new.layer", Layer::text(NEW).tar());
    sandbox
}

fn changes(sandbox: &Sandbox, line: &str) -> Output {
    pipeline::sh(sandbox, &format!("changes {line}"))
}

#[test]
fn two_images_differ_in_config_and_files() {
    let sandbox = sandbox();
    assert_snapshot!(changes(&sandbox, "old:1 new:1").fails_with(1).out(), @r#"
    config D Cmd  ["sh"]
    config C Env.B  "2" -> "3"
    config A User  "me\u001b"
    C etc  mode
    D etc/gone
    A etc/odd\x1b
    C etc/os  mode size mtime
    C pipe  mode
    C rel  target
    C usr/doc  type
    D usr/doc/a
    D usr/doc/b
    "#);
    // What the layers hold is known now.
    assert_eq!(changes(&sandbox, "old:1 new:1").stderr, "");
}

#[test]
fn turned_round_what_was_added_is_removed() {
    let sandbox = sandbox();
    let there = changes(&sandbox, "old:1 new:1").fails_with(1).out();
    let back = changes(&sandbox, "new:1 old:1").fails_with(1).out();
    let turned = |text: &str| {
        let turn = |line: &str| match line.split_at(2) {
            ("A ", rest) => format!("D {rest}"),
            ("D ", rest) => format!("A {rest}"),
            _ => line.to_owned(),
        };
        text.lines().filter(|line| !line.starts_with("config")).map(turn).collect::<Vec<_>>()
    };
    let plain = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("config"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(turned(&there), plain(&back));
}

#[test]
fn an_image_is_the_same_wherever_it_is() {
    let sandbox = sandbox();
    let expected = changes(&sandbox, "old:1 new:1").fails_with(1).out();
    for line in [
        "./layout new:1",
        "./old.tar new:1",
        "--image old:1 --image new:1 ./both.tar ./both.tar",
        "- new:1 < old.tar",
        "- new:1 < <(cat old.tar)",
        "<(cat old.tar) <(flatten new:1 --as-image new:1)",
    ] {
        assert_eq!(changes(&sandbox, line).fails_with(1).out(), expected, "{line}");
    }
    for line in ["old:1 old:1", "./layout old:1", "./old.tar ./layout", "- old:1 < old.tar"] {
        let output = changes(&sandbox, line);
        assert_eq!(output.success().out(), "", "{line}");
    }
}

#[test]
fn directories_and_layers_are_compared_with_everything() {
    let sandbox = sandbox();
    pipeline::sh(&sandbox, "unpack --from old:1 old && unpack --from new:1 new").success();
    let expected = changes(&sandbox, "--ignore config old:1 new:1").fails_with(1).out();
    for before in ["old:1", "./old", "dir:old", "layer:old.layer", "layer:- < old.layer"] {
        for after in ["new:1", "./new", "layer:new.layer", "layer:<(gzip < new.layer)"] {
            let (before, input) = before.split_once(" < ").unwrap_or((before, "/dev/null"));
            let after = after
                .replace("layer:<(gzip < new.layer)", "layer:/dev/fd/9 9< <(gzip < new.layer)");
            let output = changes(&sandbox, &format!("--ignore config {before} {after} < {input}"));
            assert_eq!(output.fails_with(1).out(), expected, "{before} {after}");
        }
    }
    for same in [
        "old:1 ./old",
        "./old old:1",
        "layer:old.layer ./old",
        "./old ./old",
        "old:1 layer:old.layer",
    ] {
        changes(&sandbox, same).success();
    }
}

#[test]
fn whiteouts_of_layers_are_told_by_their_names() {
    let sandbox = Sandbox::new();
    sandbox.write("a", Layer::new().dir("d", 0o755).whiteout("d/x").tar());
    sandbox.write("b", Layer::new().dir("d", 0o755).opaque("d").tar());
    let output = changes(&sandbox, "layer:a layer:b");
    assert_eq!(output.fails_with(1).out(), "A d/.wh..wh..opq\nD d/.wh.x\n");
    // In a directory they are names like any other.
    tree::build(sandbox.path("one"), "-rw-r--r-- .wh.x \"x\"\n");
    tree::build(sandbox.path("two"), "-rw-r--r-- .wh.x \"xy\"\n");
    let output = changes(&sandbox, "--ignore mtime ./one ./two");
    assert_eq!(output.fails_with(1).out(), "C .wh.x  size\n");
}

#[test]
fn contents_are_compared_where_that_is_asked_for() {
    let sandbox = sandbox();
    pipeline::sh(&sandbox, "unpack --from old:1 old && unpack --from new:1 new").success();
    for [before, after] in [
        ["old:1", "new:1"],
        ["./old", "./new"],
        ["old:1", "./new"],
        ["./old", "layer:new.layer"],
        ["- < old.tar", "new:1"],
        ["- < <(cat old.tar)", "./new"],
    ] {
        let (before, input) = before.split_once(" < ").unwrap_or((before, "/dev/null"));
        let plain = changes(&sandbox, &format!("{before} {after} < {input}")).fails_with(1).out();
        assert!(!plain.contains("quiet"), "{plain}");
        let output = changes(&sandbox, &format!("--checksum {before} {after} < {input}"));
        assert!(output.fails_with(1).out().contains("C etc/quiet  content\n"), "{}", output.text());
    }
    changes(&sandbox, "--checksum old:1 ./old").success();
    changes(&sandbox, "--checksum ./layout - < old.tar").success();
}

#[test]
fn what_is_ignored_is_no_difference() {
    let sandbox = Sandbox::new();
    sandbox.write("a", Layer::text("-rw-r--r-- 0:0 f \"x\" @1").tar());
    sandbox.write("b", Layer::text("-rwxr-xr-x 1:0 f \"x\" @2 user.a=\"b\"").tar());
    assert_eq!(
        changes(&sandbox, "layer:a layer:b").fails_with(1).out(),
        "C f  mode owner mtime xattrs\n"
    );
    let output = changes(&sandbox, "--ignore mtime,xattrs layer:a layer:b");
    assert_eq!(output.fails_with(1).out(), "C f  mode owner\n");
    changes(&sandbox, "--ignore mtime,xattrs --ignore mode,owner layer:a layer:b").success();
    changes(&sandbox, "--ignore size layer:a layer:b").fails_with(2);
}

#[test]
fn groups_of_hard_links_are_compared() {
    let sandbox = Sandbox::new();
    sandbox.write("a", Layer::text("-rw-r--r-- a \"x\"\n-rw-r--r-- b = a\n-rw-r--r-- c = a").tar());
    sandbox
        .write("b", Layer::text("-rw-r--r-- a \"x\"\n-rw-r--r-- b = a\n-rw-r--r-- c \"x\"").tar());
    let output = changes(&sandbox, "layer:a layer:b");
    assert_eq!(output.fails_with(1).out(), "C a  links\nC b  links\nC c  links\n");
    changes(&sandbox, "--ignore links layer:a layer:b").success();
}

#[test]
fn other_forms_say_the_same() {
    let sandbox = sandbox();
    let text = changes(&sandbox, "--ignore config old:1 new:1").fails_with(1).out();
    let null = changes(&sandbox, "-0 --ignore config old:1 new:1").fails_with(1).stdout.clone();
    let paths: Vec<&[u8]> = null.split(|&byte| byte == 0).filter(|it| !it.is_empty()).collect();
    assert_eq!(paths.len(), text.lines().count());
    assert!(paths.contains(&b"A etc/odd\x1b".as_slice()), "{paths:?}");
    let json = changes(&sandbox, "--json old:1 new:1").fails_with(1).out();
    let json: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["config"], "Cmd");
    let os = json.iter().find(|it| it["path"] == "etc/os").unwrap();
    assert_eq!(os["attributes"], serde_json::json!(["mode", "size", "mtime"]));
    assert_eq!(
        (&os["change"], &os["sizeBefore"], &os["sizeAfter"]),
        (&"C".into(), &4.into(), &6.into())
    );
    assert_eq!(changes(&sandbox, "--json old:1 old:1").success().out(), "[]\n");
    assert_snapshot!(changes(&sandbox, "--ignore config --stat old:1 new:1").out(), @"
    ADDED   CHANGED   REMOVED   GROWTH   DIRECTORY
    1       5         3         0B       .
    1       2         1         +1B      etc
    0       1         2         -1B      usr
    ");
    assert_snapshot!(changes(&sandbox, "--ignore config --stat=0 --json old:1 new:1").out(), @r#"
    [
    {"added":1,"changed":5,"directory":".","growth":0,"removed":3}
    ]
    "#);
}

#[test]
fn trouble_is_never_taken_for_a_difference() {
    let sandbox = sandbox();
    let said = |line: &str, code: i32| changes(&sandbox, line).fails_with(code).stderr.clone();
    assert!(said("old:1 nothing", 3).ends_with("hint: pull nothing\n"));
    said("old:1 ./nothing", 3);
    said("old:1 dir:nothing", 3);
    said("old:1 layer:nothing", 3);
    assert!(said("- -", 2).contains("only one of the two"));
    said("old:1", 2);
    said("./both.tar old:1", 2);
    said("old:1 new:1 > /dev/full", 2);
    sandbox.write("cut.tar", &sandbox.read("old.tar")[..700]);
    said("./cut.tar old:1", 4);
    said("- old:1 < <(cat cut.tar)", 4);
    assert!(said("./old.layer old:1", 4).contains("hint: a layer is named with layer:FILE"));
    sandbox.write("bad.layer", vec![b'x'; 2048]);
    said("layer:bad.layer old:1", 4);
    let output = pipeline::sh(&sandbox, "script -qec 'changes - old:1' /dev/null");
    assert_eq!(output.code(), 2);
}

#[test]
fn looking_changes_no_directory() {
    let sandbox = sandbox();
    tree::build(sandbox.path("d"), OLD);
    let before = tree::show_with(sandbox.path("d"), tree::Show::ALL);
    changes(&sandbox, "--checksum ./d new:1").fails_with(1);
    assert_eq!(tree::show_with(sandbox.path("d"), tree::Show::ALL), before);
}

#[test]
fn the_help_ends_with_examples() {
    assert_snapshot!(usage::examples("changes"), @"
      changes nginx:1.27 nginx:1.28
          What an update brings
      pull nginx | changes --stat nginx -
          Where the registry's image has grown, beside the store's
      changes --config <(pull --no-layers nginx:1.27) <(pull --no-layers nginx:1.28)
          What an update changes in the settings, without a layer
      changes --ignore mtime nginx ./rootfs
          What has happened to a directory since it was unpacked
    ");
}
