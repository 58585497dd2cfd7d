//! What the pages show is what a terminal shows: the console blocks of README.md and docs, command by command.
//!
//! Digests, sizes, numbers of entries and times depend on the image and on the day; everything else must be the same. With
//! `STRATA_TRANSCRIPTS=DIR`, the pages are written there as they would be right, for whoever edits them.

use std::fs;
use std::path::{Path, PathBuf};

use kit::peers::{peer, root_peer};
use kit::pipeline::{on_terminal, sh};
use kit::terminal::Size;
use kit::{Image, Layer, Registry, Sandbox};

/// The registry of the pages.
const HOST: &str = "localhost:5000";
/// What README.md and the recipes need.
const TOOLS: [&str; 4] = ["jq", "tar2sqfs", "sqfstar", "mke2fs"];
/// Wide enough that no line is broken.
const SIZE: Size = Size { columns: 400, rows: 100 };

/// What the pages take for granted: a Debian at the registry (a small one, of busybox), its successor, and a signature.
const GIVEN: &str = r#"
    mkdir -p base/bin base/etc base/usr/local base/tmp
    cp /bin/busybox base/bin/
    for name in sh cat ls rm; do ln -s busybox base/bin/$name; done
    echo 12.15 > base/etc/debian_version
    echo Debian | tee base/etc/issue.net > base/etc/motd
    pack() { tar -c -C base --owner=0 --group=0 --sort=name --mtime=@0 .; }
    pack | commit -q --base scratch -t base -m minbase -c 'CMD ["/bin/bash"]' -c 'ENV PATH=/bin'
    push -q base HOST/debian:12
    echo '12.16 with mends' > base/etc/debian_version
    pack | commit -q --base scratch -t base2 -m minbase -c 'CMD ["/bin/bash"]' -c 'ENV PATH=/bin'
    push -q base2 HOST/debian:12.1
    images rm base base2; images gc; rm -r base
    mkdir -p tmp/bin
    printf '#!/bin/sh\nhost=$1; shift; STRATA_STORE=%s/tmp/store-of-$host exec sh -c "$*"\n' "$PWD" > tmp/bin/ssh
    chmod 755 tmp/bin/ssh
"#;

/// What a user has: root's PATH, the time of day, and other machines, each with a store of its own.
const USUAL: &str = "PATH=$PWD/tmp/bin:$PATH:/usr/sbin:/sbin; unset SOURCE_DATE_EPOCH
    ";

/// A command, and what is to be seen then.
#[derive(Debug)]
struct Command<'a> {
    line: &'a str,
    shown: String,
}

/// A page: text that stays, and commands.
#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    Command(Command<'a>),
}

fn parts(page: &str) -> Vec<Part<'_>> {
    let mut parts = vec![];
    let mut is_console = false;
    for line in page.lines() {
        is_console = match line {
            "```console" => true,
            "```" => false,
            _ => is_console,
        };
        match (line.strip_prefix("$ "), parts.last_mut()) {
            (Some(line), _) if is_console => {
                parts.push(Part::Command(Command { line, shown: String::new() }));
            }
            (None, Some(Part::Command(command))) if is_console => {
                command.shown += line;
                command.shown.push('\n');
            }
            _ => parts.push(Part::Text(line)),
        }
    }
    parts
}

/// What a command shows, without what may differ. Uploads run at once, and end in any order.
fn in_order(line: &str, shown: &str) -> Vec<String> {
    let mut rows: Vec<_> = shown.lines().map(essence).collect();
    if line.starts_with("push ") {
        rows.sort_unstable();
    }
    rows
}

/// A row without what depends on the image and the day, and with single blanks.
fn essence(row: &str) -> String {
    let words: Vec<_> = row.split_whitespace().collect();
    let is_count = |at: usize| {
        let is_bytes = |next: &str| next.starts_with("sha256:") && words[at].parse::<u64>().is_ok();
        words.get(at + 1).is_some_and(|next| {
            next.starts_with("entr") || next.starts_with("file") || is_bytes(next)
        })
    };
    let words = words.iter().enumerate();
    let words =
        words.map(|(at, word)| if is_count(at) { "N".to_owned() } else { essence_of_word(word) });
    words.collect::<Vec<_>>().join(" ")
}

/// A word without digests, sizes and times.
fn essence_of_word(word: &str) -> String {
    let mut text = String::new();
    for piece in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
        let end =
            piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(piece.len());
        let (core, rest) = piece.split_at(end);
        let is_id =
            [12, 64].contains(&core.len()) && core.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = core.trim_end_matches(['B', 'k', 'M', 'G']);
        let is_size = core.ends_with('B') && number.parse::<f64>().is_ok();
        let is_of_date = core.len() >= 4 && core.starts_with("20") && core.parse::<u32>().is_ok();
        text += match () {
            () if is_id => "ID",
            () if is_size => "SIZE",
            () if is_of_date => return text + "DATE",
            () => core,
        };
        text += rest;
    }
    text
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Runs the commands of a page, and tells where it is wrong. The page needs the tools; `before` is a script that sets their variables.
pub(crate) fn check(name: &str, tools: &[&str], before: &str) {
    let are_here = tools.iter().all(|tool| peer(tool).is_some());
    let (Some(_), true) = (root_peer("busybox"), are_here) else { return };
    let registry = Registry::with_referrers();
    let sandbox = Sandbox::new();
    kit::peers::prepare(&sandbox, &[]);
    // As the pages name it: `images` sorts by it.
    let host = registry.host().replace("127.0.0.1", "localhost");
    sh(&sandbox, &GIVEN.replace("HOST", &host)).success();
    sign(&registry, "debian:12");
    let text = fs::read_to_string(page(name)).expect("it is there");
    let (mut seen, mut wrong, mut status) = (String::new(), String::new(), 0);
    for part in parts(&text) {
        match part {
            Part::Text(line) => seen.extend([line, "\n"]),
            Part::Command(Command { line, shown }) => {
                let script = line.replace(HOST, &host);
                let script = format!("{USUAL}{before}(exit {status}); {script}");
                let found = on_terminal(&sandbox, SIZE, &script).wait();
                status = found.code;
                let mut found = found.screen.replace(&host, HOST);
                if !found.is_empty() {
                    found.push('\n');
                }
                seen.extend(["$ ", line, "\n", &found]);
                if in_order(line, &found) != in_order(line, &shown) {
                    wrong.extend(["$ ", line, "\n", &found, "instead of\n", &shown, "\n"]);
                }
            }
        }
    }
    if let Some(dir) = std::env::var_os("STRATA_TRANSCRIPTS") {
        let file = name.rsplit('/').next().unwrap_or(name);
        fs::write(Path::new(&dir).join(file), seen).expect("the directory can be written");
    }
    assert!(wrong.is_empty(), "{name}:\n{wrong}");
}

/// Puts something into the registry that refers to an image, as a signature does.
fn sign(registry: &Registry, name: &str) {
    let manifest = registry.manifest(name).expect("it is there");
    let subject = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": kit::digest(&manifest),
        "size": manifest.len(),
    });
    let signature = Image::new().layer(Layer::new().file("signature", "of somebody"));
    let signature = signature
        .set_manifest("/subject", subject)
        .set_manifest("/artifactType", "application/vnd.example.signature");
    registry.add("debian:signature", signature);
}

#[test]
fn as_root_the_readme_shows_what_a_terminal_shows() {
    check("README.md", &TOOLS, "");
}

#[test]
fn as_root_the_recipes_show_what_a_terminal_shows() {
    check("docs/recipes.md", &TOOLS, "");
}

#[test]
fn what_depends_on_the_image_and_the_day_is_left_out_and_nothing_else() {
    let row = "unpacked localhost:5000/debian:12 (28a6bec12e47): 1 layer, 8743 entries, 164MB";
    assert_eq!(essence(row), "unpacked localhost:5000/debian:12 (ID): 1 layer, N entries, SIZE");
    assert_eq!(essence("a   2026-11-21T08:40:38Z  310B"), "a DATE SIZE");
    assert_eq!(essence("mine:1  2"), "mine:1 2");
    assert_eq!(essence("fetch   310   sha256:28a6bec12e47"), "fetch N sha256:ID");
    assert_eq!(essence("layer   2   sha   3"), "layer 2 sha 3");
}
