//! What people type who come from elsewhere, and what they are told to type: one table, all programs.

use kit::pipeline::sh;
use kit::{Image, Layer, Named, Producer, Sandbox};

use crate::fixtures::lacks_root;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::new().file("x", "y"));
    let named = [Named::new("docker.io/library/app:1", image)];
    sandbox.load(&named);
    sandbox.write("debian.tar", Producer::Strata.write(&named));
    sandbox
}

#[track_caller]
fn hinted(sandbox: &Sandbox, command: &str, code: i32, hint: &str) {
    let output = sh(sandbox, command);
    let lines: Vec<_> = output.fails_with(code).stderr.lines().collect();
    assert!(lines.contains(&&*format!("hint: {hint}")), "{command}: {}", output.text());
    assert!(output.out().is_empty(), "{command}");
}

/// Programs that take archives and layouts, and those that take only images of the store.
const ANY: [&str; 4] =
    ["inspect IMAGE", "unpack --from IMAGE r", "flatten IMAGE", "changes IMAGE app:1"];
const STORED: [&str; 8] = [
    "rebase IMAGE --onto app:1 -t x:1",
    "save IMAGE",
    "push IMAGE r.test/x",
    "push --to r.test app:1 IMAGE",
    "images IMAGE",
    "images rm IMAGE",
    "images tag IMAGE x:1",
    "commit --no-layer -t x:1 --base IMAGE",
];

#[test]
fn another_tools_word_for_an_image_is_told_in_ours() {
    let sandbox = sandbox();
    let elsewhere = [
        ("docker://nginx:1", "pull nginx:1 brings it into the store, where it is nginx:1"),
        ("https://r.test/a/b", "pull r.test/a/b brings it into the store, where it is r.test/a/b"),
        ("docker-daemon:app:2", "docker save app:2 | load"),
        ("containers-storage:app:2", "podman save app:2 | load"),
    ];
    for command in ANY.into_iter().chain(STORED) {
        for (word, hint) in elsewhere {
            hinted(&sandbox, &command.replace("IMAGE", word), 3, hint);
        }
    }
    for command in ANY {
        let of = |word: &str| command.replace("IMAGE", word);
        hinted(&sandbox, &of("docker-archive:d/a.tar:x:1"), 3, "archive:d/a.tar --image x:1");
        hinted(&sandbox, &of("oci-archive:a.tar"), 3, "archive:a.tar");
        hinted(&sandbox, &of("oci:dir:1"), 3, "layout:dir --image 1");
    }
    for command in STORED {
        let of = |word: &str| command.replace("IMAGE", word);
        hinted(&sandbox, &of("oci-archive:a.tar"), 3, "load a.tar brings it into the store");
        hinted(&sandbox, &of("oci:dir:1"), 3, "load dir --image 1 brings it into the store");
    }
}

#[test]
fn the_image_of_a_hint_is_the_one_that_was_meant() {
    let sandbox = sandbox();
    sh(&sandbox, "save -q app:1 -o some.tar && mkdir l && tar -C l -xf some.tar").success();
    let output = sh(&sandbox, "inspect oci-archive:some.tar:docker.io/library/app:1");
    let hint = output.fails_with(3).stderr.lines().find_map(|it| it.strip_prefix("hint: "));
    let hint = hint.expect("there is one").to_owned();
    assert_eq!(hint, "archive:some.tar --image docker.io/library/app:1");
    sh(&sandbox, &format!("inspect {hint}")).success();
    sh(&sandbox, "inspect layout:l --image app:1").success();
}

#[test]
fn what_other_tools_call_a_verb_is_told_in_ours() {
    // crane ls, skopeo list-tags, crane catalog, regctl repo ls, skopeo delete, crane cp, oras discover
    let sandbox = sandbox();
    for (words, hint) in [
        ("ls r.test/a", "remote tags REPO lists the tags"),
        ("list-tags docker://r.test/a", "remote tags REPO lists the tags"),
        ("catalog r.test", "remote repositories HOST lists the repositories"),
        ("repo ls r.test", "remote repositories HOST lists the repositories"),
        ("delete r.test/a:1", "remote rm NAME removes a tag, or an image by its digest"),
        ("cp r.test/a r.test/b", "remote copy IMAGE NAME copies an image"),
        ("discover r.test/a", "remote referrers NAME lists signatures, SBOMs and the like"),
    ] {
        hinted(&sandbox, &format!("remote {words}"), 2, hint);
    }
    let output = sh(&sandbox, "remote list r.test/a");
    assert!(!output.fails_with(2).stderr.contains("similar"), "{}", output.stderr);
}

#[test]
fn a_variable_that_is_wrong_is_named_and_not_its_option() {
    let sandbox = sandbox();
    for (command, option) in [
        (
            "commit --no-layer --base app:1 -t x",
            "timestamp: Moment of the commit, in seconds since 1970, instead of now",
        ),
        (
            "snapshot . --base scratch --list",
            "clamp-mtime: Latest time that a file of the layer has, in seconds since 1970",
        ),
    ] {
        let command = format!("SOURCE_DATE_EPOCH=yesterday {command}");
        let output = sh(&sandbox, &command);
        let expected = "invalid value 'yesterday' for SOURCE_DATE_EPOCH: ";
        assert!(output.fails_with(2).stderr.contains(expected), "{}", output.stderr);
        hinted(&sandbox, &command, 2, &format!("the variable stands for --{option}"));
    }
    let output =
        sh(&sandbox, "SOURCE_DATE_EPOCH=x commit --no-layer --base app:1 -t x --timestamp=x");
    assert!(
        output.fails_with(2).stderr.contains("for '--timestamp <SECONDS>'"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_file_that_lies_in_sight_is_told_by_its_path() {
    let sandbox = sandbox();
    for command in ANY {
        hinted(&sandbox, &command.replace("IMAGE", "debian.tar"), 3, "./debian.tar");
    }
    let hint = "load ./debian.tar brings an archive or a layout into the store";
    for command in STORED {
        hinted(&sandbox, &command.replace("IMAGE", "debian.tar"), 3, hint);
    }
}

/// Without a command only root can mount, and that is said first.
#[test]
fn as_root_union_tells_what_the_others_tell() {
    if lacks_root() {
        return;
    }
    let sandbox = sandbox();
    let hint = "load ./debian.tar brings an archive or a layout into the store";
    hinted(&sandbox, "union debian.tar mnt", 3, hint);
    hinted(&sandbox, "union oci:dir:1 mnt", 3, "load dir --image 1 brings it into the store");
    hinted(&sandbox, "union docker-daemon:app:2 mnt", 3, "docker save app:2 | load");
}

#[test]
fn too_few_digits_are_told_and_a_word_that_is_no_name() {
    let sandbox = sandbox();
    let digits = "a digest takes 6 digits at least; for a name, pull 8327";
    for command in ANY.into_iter().chain(STORED) {
        hinted(&sandbox, &command.replace("IMAGE", "8327"), 3, digits);
    }
    let digest = kit::digest(b"");
    let hint = format!("pull NAME@{digest}, with the name of a repository that has it");
    hinted(&sandbox, &format!("inspect {digest}"), 3, &hint);
    hinted(&sandbox, "inspect NoName", 3, "images lists what is there");
    hinted(&sandbox, "inspect beef", 3, "pull beef");
}

#[test]
fn a_name_for_a_registry_is_told_without_its_scheme() {
    let sandbox = sandbox();
    for command in [
        "pull NAME",
        "remote manifest NAME",
        "remote tags NAME",
        "remote copy NAME r.test/x",
        "push app:1 NAME",
        "push --to NAME app:1",
        "commit --no-layer --base app:1 -t NAME",
        "images tag app:1 NAME",
        "load -t NAME debian.tar",
    ] {
        let of = |word: &str| command.replace("NAME", word);
        hinted(&sandbox, &of("docker://r.test/nginx"), 2, "without the scheme: r.test/nginx");
        hinted(&sandbox, &of("https://r.test/nginx"), 2, "without the scheme: r.test/nginx");
        let archive = "load /a.tar reads it, save IMAGE > /a.tar writes it";
        hinted(&sandbox, &of("docker-archive:/a.tar"), 2, archive);
        let layout = "load /d reads it, save IMAGE | load --store /d writes it";
        hinted(&sandbox, &of("oci:/d:1"), 2, layout);
    }
    // Where the word is a name by chance, its owner is told once it was not found.
    let output = sh(&sandbox, "pull docker-archive:a.tar");
    assert!(output.stderr.contains("hint: load a.tar reads it"), "{}", output.text());
    hinted(&sandbox, "load oci:d:1", 3, "layout:d --image 1");
    hinted(&sandbox, "load layer:x", 2, "commit makes an image of it");
}

#[test]
fn a_pattern_that_ends_in_the_middle_is_told() {
    let sandbox = sandbox();
    for pattern in ["[", "app[1", "app:[!"] {
        let output = sh(&sandbox, &format!("images '{pattern}'"));
        let said = output.fails_with(2).stderr.contains("a pattern's [ has no ]");
        assert!(said, "{pattern}: {}", output.text());
    }
    for pattern in ["app:[12]", "app:[!2]", "[a-z]*", "[]a]pp*"] {
        let output = sh(&sandbox, &format!("images -q '{pattern}'"));
        assert_eq!(output.success().out().lines().count(), 1, "{pattern}");
    }
}

/// `archive:`, `layout:`, `dir:` and `layer:` stand wherever an IMAGE, or what it is compared with, may be a file.
#[test]
fn help_names_the_prefixes_wherever_they_may_stand() {
    let sandbox = Sandbox::new();
    for (program, prefixes) in [
        ("inspect", &["archive:", "layout:", "dir:"][..]),
        ("flatten", &["archive:", "layout:", "dir:"]),
        ("unpack", &["archive:", "layout:", "dir:"]),
        ("load", &["archive:", "layout:", "dir:"]),
        ("commit", &["archive:", "layout:"]),
        ("snapshot", &["archive:", "layout:", "dir:"]),
        ("changes", &["archive:", "layout:", "dir:", "layer:"]),
    ] {
        let help = sh(&sandbox, &format!("{program} --help")).success().out();
        for prefix in prefixes {
            assert!(help.contains(prefix), "{program}: {prefix}");
        }
    }
}

#[test]
fn a_place_of_another_tool_is_no_name_to_be_given_or_pushed() {
    let sandbox = sandbox();
    let at = "load x.tar reads it, save IMAGE > x.tar writes it";
    for command in [
        "push app:1 docker-archive:x.tar",
        "images tag app:1 docker-archive:x.tar",
        "commit --no-layer --base app:1 -t docker-archive:x.tar",
        "rebase app:1 --from app:1 --onto app:1 -t oci-archive:x.tar",
        "load --tag docker-archive:x.tar ./debian.tar",
    ] {
        hinted(&sandbox, command, 2, at);
    }
    // A registry of that name is one.
    sh(&sandbox, "images tag app:1 dir:5000/app:1").success();
}
