//! Several files together: modules that no `mod` names, tests that a command lacks, files that don't belong.

use std::collections::BTreeSet;

use super::Findings;
use super::edges::is_command;
use super::tree::{Tree, extension};
use xtask::workspace::Workspace;

/// The package `tests` has these integration binaries and no other.
const BINARIES: &[&str] = &["tests/it/", "tests/peers/"];

/// Checks how the files stand together.
pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Findings {
    [forgotten(tree), without_tests(tree, workspace), strays(tree)].concat()
}

/// Rust files that are never compiled: no `mod` in the file above names them.
fn forgotten(tree: &Tree) -> Findings {
    let named: BTreeSet<String> =
        tree.rust().flat_map(|(path, text)| modules(path, text)).collect();
    let paths = tree.rust().map(|(path, _)| path);
    paths
        .filter(|path| !is_crate_root(path) && !named.contains(module_of(path)))
        .map(|path| format!("{path}: no `mod` names it, so it is never compiled"))
        .collect()
}

/// The module paths that a file's `mod NAME;` lines stand for: `crates/a/src/x`.
fn modules(path: &str, text: &str) -> Vec<String> {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    let owns_dir = is_crate_root(path) || file == "mod.rs";
    let dir = if owns_dir { dir } else { module_of(path) };
    let names = text.lines().filter_map(|line| {
        let line = line.trim().strip_suffix(';')?;
        let name = line
            .strip_prefix("mod ")
            .or_else(|| line.rsplit_once(" mod ").map(|(_, name)| name))?;
        (!line.starts_with("//")).then_some(name)
    });
    names.map(|name| format!("{dir}/{name}")).collect()
}

/// A file's own module path: without `.rs`, a `mod.rs` as its directory.
fn module_of(path: &str) -> &str {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path)
}

/// Directories of a crate whose every file, or `NAME/main.rs`, cargo builds by itself.
const TARGETS: &[&str] = &["tests", "benches", "examples", "fuzz_targets"];

/// Files that cargo finds by itself.
fn is_crate_root(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (file, dir, above) = (parts.next(), parts.next(), parts.next());
    let in_crate = path.starts_with("crates/");
    let targets = |dir: Option<&str>| in_crate && dir.is_some_and(|dir| TARGETS.contains(&dir));
    match file {
        Some("build.rs") => !path.contains("/src/"),
        Some("lib.rs" | "main.rs") if dir == Some("src") => true,
        Some("main.rs") => targets(above) || BINARIES.iter().any(|binary| path.starts_with(binary)),
        _ => targets(dir),
    }
}

/// Commands that nothing runs as a process; `tests/cli.rs` also makes cargo build the binary before the pipelines.
fn without_tests(tree: &Tree, workspace: &Workspace) -> Findings {
    let commands = workspace.members.iter().filter(|member| is_command(member));
    let missing = commands.map(|member| format!("{}/tests/cli.rs", member.dir));
    missing
        .filter(|path| tree.text(path).is_none())
        .map(|path| format!("{path}: missing: every command is tested as a process"))
        .collect()
}

/// Files that don't belong in the tree.
fn strays(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, _) in tree.files() {
        if extension(path.trim_end_matches(".new")) == Some("snap") {
            findings.push(format!(
                "{path}: expected values stand in the test: assert_snapshot!(…, @\"…\")"
            ));
        }
        let kit = path.starts_with("tests/src/");
        let test = path.starts_with("tests/") && extension(path) == Some("rs") && !kit;
        if test && BINARIES.iter().all(|binary| !path.starts_with(binary)) {
            findings.push(format!(
                "{path}: tests/it and tests/peers are the only integration binaries"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask::workspace::Member;

    #[track_caller]
    fn check_tree(files: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(check(&Tree::of(files), &Workspace::default()), expected);
    }

    #[test]
    fn named_modules_are_found_wherever_they_stand() {
        check_tree(
            &[
                ("crates/a/benches/codec.rs", ""),
                ("crates/a/fuzz/fuzz_targets/layer.rs", ""),
                ("crates/a/src/lib.rs", "mod error;\npub mod stream;\n"),
                ("crates/a/src/error.rs", ""),
                ("crates/a/src/stream/mod.rs", "pub(crate) mod reader;\n"),
                ("crates/a/src/stream/reader.rs", "#[cfg(test)]\nmod tests;\n"),
                ("crates/a/src/stream/reader/tests.rs", ""),
                ("crates/a/tests/cli.rs", ""),
                ("crates/a/tests/apply/main.rs", "mod hostile;"),
                ("crates/a/tests/apply/hostile.rs", ""),
                ("tests/it/main.rs", "mod pipes;\n"),
                ("tests/it/pipes.rs", ""),
            ],
            &[],
        );
    }

    #[test]
    fn forgotten_files_are_found() {
        check_tree(
            &[
                ("crates/a/src/lib.rs", "// mod error;\nmod errors;\n"),
                ("crates/a/src/error.rs", ""),
                ("tests/it/main.rs", "mod pipe;\n"),
                ("tests/it/pipes.rs", ""),
                ("tests/peers/main.rs", ""),
                ("tests/peers/docker/mod.rs", ""),
                ("xtask/src/main.rs", "mod tidy;\n"),
                ("xtask/src/tidy/mod.rs", ""),
                ("xtask/src/tidy/tree.rs", ""),
            ],
            &[
                "crates/a/src/error.rs: no `mod` names it, so it is never compiled",
                "tests/it/pipes.rs: no `mod` names it, so it is never compiled",
                "tests/peers/docker/mod.rs: no `mod` names it, so it is never compiled",
                "xtask/src/tidy/tree.rs: no `mod` names it, so it is never compiled",
            ],
        );
    }

    #[test]
    fn stray_files_are_found() {
        check_tree(
            &[("tests/it/snapshots/a.snap", ""), ("tests/extra/main.rs", "")],
            &[
                "tests/extra/main.rs: no `mod` names it, so it is never compiled",
                "tests/extra/main.rs: tests/it and tests/peers are the only integration binaries",
                "tests/it/snapshots/a.snap: expected values stand in the test: assert_snapshot!(…, @\"…\")",
            ],
        );
    }

    #[test]
    fn every_command_is_tested_as_a_process() {
        let member = |name: &str| Member {
            name: name.to_owned(),
            dir: format!("crates/{name}"),
            dependencies: Vec::new(),
        };
        let members = ["pull", "push", "store"].map(member).into();
        let workspace = Workspace { members, ..Workspace::default() };
        assert_eq!(
            check(&Tree::of(&[("crates/pull/tests/cli.rs", "")]), &workspace),
            ["crates/push/tests/cli.rs: missing: every command is tested as a process",]
        );
    }
}
