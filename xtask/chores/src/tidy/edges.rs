//! Who may use whom: HOUSE's drawing and its table of packages, as they are checked.

use super::Findings;
use xtask::workspace::{Dependency, Member, Origin, Purpose, Workspace};

/// A shared crate and who may use it. `COMMANDS` stands for every command.
const SHARED: &[(&str, &[&str])] = &[
    // `cli` asks it how a stranger's text is shown; nothing else.
    (
        "layer-format",
        &[COMMANDS, "report", "stream", "image", "network", "registry", "rootfs", "store", "cli"],
    ),
    // How far the work is, and what an error means.
    ("report", &[COMMANDS, "image", "network", "registry", "rootfs", "store", "cli"]),
    // What our programs pass to each other, and what other tools save.
    ("stream", &[COMMANDS, "image", "store"]),
    ("image", &[COMMANDS]),
    ("store", &[COMMANDS, "image"]),
    // Where the network and the terminal meet.
    ("network", &["pull", "push", "remote"]),
    ("registry", &["network", "pull", "push", "remote"]),
    ("rootfs", &["image", "unpack", "snapshot", "union", "changes", "images"]),
    ("cli", &[COMMANDS, "network"]),
];

/// An external package and who may use it, in the code or in its tests. The kit in `tests` has its own tar and
/// hashing on purpose: a mistake in our writer cannot hide in our reader's test.
const EXTERNAL: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "network", COMMANDS, "xtask", "chores", "tests"]),
    // In the tree anyway, under reqwest; two decoders of our own were compared.
    ("base64", &["layer-format", "registry"]),
    ("clap", &["cli", "network", COMMANDS, "xtask", "chores"]),
    ("clap_complete", &["chores"]),
    ("clap_mangen", &["chores"]),
    ("flate2", &["layer-format", "stream", "tests"]),
    // In the tree anyway, under reqwest's url.
    ("form_urlencoded", &["registry"]),
    // Names of methods, statuses and headers without the HTTP client; in the tree anyway, under reqwest.
    ("http", &["registry"]),
    // Names the type of bytes that reqwest takes; its feature `stream` would bring two more packages for the same.
    ("http-body", &["registry"]),
    // No dependencies, kept by hyper's authors; 30 lines of our own were compared.
    ("httpdate", &["registry"]),
    ("indicatif", &["cli"]),
    ("insta", TESTS_ONLY),
    // Draws the chart of docs/performance.md, with its SVG half alone: three packages. charming was compared: it brings a
    // JavaScript engine.
    ("plotters", &["chores"]),
    // syn's places in a file are bytes only with proc-macro2's feature span-locations.
    ("proc-macro2", &["chores"]),
    ("proptest", TESTS_ONLY),
    // For `ustat` alone, which rustix hasn't; it is compiled anyway, under signal-hook and tempfile.
    ("libc", &["store"]),
    ("rcgen", TESTS_ONLY),
    ("reqwest", &["registry"]),
    ("ring", &["layer-format"]),
    (
        "rustix",
        &["rootfs", "store", "image", "images", "cli", "remote", "union", "unpack", "tests"],
    ),
    ("rustls", &["registry"]),
    ("rustls-native-certs", &["registry"]),
    ("serde", &["layer-format", "stream", "store", "image", "registry", COMMANDS]),
    (
        "serde_json",
        &[
            "layer-format",
            "stream",
            "store",
            "image",
            "network",
            "registry",
            "cli",
            COMMANDS,
            "xtask",
            "chores",
            "tests",
        ],
    ),
    ("sha2", &["layer-format", "tests"]),
    ("signal-hook", &["cli"]),
    ("tar", &["layer-format", "stream", "tests"]),
    ("tempfile", &["store", "image", "snapshot", "unpack", "xtask", "chores", "tests"]),
    // For podman's registries.conf; toml_edit and basic-toml were compared: the one keeps layouts that nobody here writes,
    // the other knows TOML 0.5 only.
    ("toml", &["registry"]),
    ("thiserror", &["layer-format", "store", "registry", "rootfs"]),
    // cargo-mutants was compared: it builds the workspace once for each mutant, 600 of them would take a working day.
    ("syn", &["chores"]),
    // How many cells of a terminal a text takes; no dependencies, kept by the unicode-rs group.
    // console was compared: it measures, but brings its own terminal.
    ("unicode-width", &["cli"]),
    // What reqwest runs on; its blocking client was compared (docs/decisions/0010-transport.md).
    ("tokio", &["registry"]),
    // Addresses without the HTTP client; in the tree anyway, under reqwest.
    ("url", &["registry"]),
    // The ends of the bench's far line: an open device that packets are read from takes an ioctl.
    ("tun-rs", &["chores"]),
    // Shows what a terminal shows, for tests of two programs on one; alacritty_terminal was compared: it brings a terminal's
    // windows and threads, and 30 packages.
    ("vt100", &["tests"]),
    // Tells where a deflate block ends, which flate2 doesn't; it is in the tree anyway, under flate2.
    ("zlib-rs", &["layer-format"]),
    ("zstd", &["layer-format", "tests"]),
];

/// Packages that any crate's tests may use.
const FOR_ANY_TEST: &[&str] = &["insta", "proptest", "rcgen", "tempfile"];
const TESTS_ONLY: &[&str] = &[];
const COMMANDS: &str = "the commands";

/// Features that would decode a blob under our digest.
const DECODING: &[&str] = &["gzip", "zstd", "brotli", "deflate"];

/// Checks every edge between packages.
pub(super) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for member in &workspace.members {
        findings.extend(member.dependencies.iter().filter_map(|each| edge(member, each)));
    }
    for feature in
        workspace.reqwest_features.iter().filter(|each| DECODING.contains(&each.as_str()))
    {
        findings.push(format!(
            "Cargo.toml: reqwest's feature {feature} would decode a blob under our digest"
        ));
    }
    findings
}

/// Whether a package in `crates` is a command: it is if it isn't one of the shared ones.
pub(super) fn is_command(member: &Member) -> bool {
    member.dir.starts_with("crates/") && SHARED.iter().all(|(name, _)| *name != member.name)
}

fn edge(member: &Member, dependency: &Dependency) -> Option<String> {
    let why = match dependency.origin {
        Origin::Ours => our_edge(member, dependency),
        Origin::External => external_edge(member, dependency),
    }?;
    Some(format!("{}/Cargo.toml: {} {why}", member.dir, dependency.name))
}

fn our_edge(member: &Member, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let for_tests = dependency.purpose == Purpose::Tests;
    match (member.name.as_str(), name) {
        ("chores", "xtask") | ("chores" | "xtask", "tests") => None,
        (_, "xtask" | "chores") => Some("is for chores: nothing uses it".to_owned()),
        (_, "tests") if for_tests => None,
        (_, "tests") => Some("is the kit: only tests use it".to_owned()),
        ("tests", _) if for_tests => None,
        ("tests", _) => Some("is ours: the kit's library uses none of our crates".to_owned()),
        // The one that is all of them.
        ("chores" | "strata", _) if shared(name).is_none() => None,
        _ => match shared(name) {
            Some(users) if allowed(member, users) => None,
            Some(users) => Some(format!("is only for {}", users.join(", "))),
            None => Some("is a command: only chores use one, for its Args".to_owned()),
        },
    }
}

fn external_edge(member: &Member, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    if dependency.purpose == Purpose::Tests && FOR_ANY_TEST.contains(&name) {
        return None;
    }
    match EXTERNAL.iter().find(|(package, _)| *package == name) {
        None => Some(
            "is not agreed: a line in xtask/chores/src/tidy/edges.rs says where it belongs"
                .to_owned(),
        ),
        Some((_, users)) if allowed(member, users) => None,
        Some((_, [])) => Some("is for tests only".to_owned()),
        Some((_, users)) => Some(format!("is only for {}", users.join(", "))),
    }
}

fn shared(name: &str) -> Option<&'static [&'static str]> {
    SHARED.iter().find(|(shared, _)| *shared == name).map(|(_, users)| *users)
}

fn allowed(member: &Member, users: &[&str]) -> bool {
    users.contains(&member.name.as_str()) || (users.contains(&COMMANDS) && is_command(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dir: &str, dependencies: &[(&str, Purpose, Origin)]) -> Workspace {
        let dependencies = dependencies
            .iter()
            .map(|&(name, purpose, origin)| Dependency { name: name.to_owned(), purpose, origin })
            .collect();
        let member = Member { name: name.to_owned(), dir: dir.to_owned(), dependencies };
        Workspace { members: vec![member], ..Workspace::default() }
    }

    #[track_caller]
    fn check_edge(from: &str, dependency: (&str, Purpose, Origin), expected: &[&str]) {
        let dir = if ["tests", "xtask", "chores"].contains(&from) {
            from.to_owned()
        } else {
            format!("crates/{from}")
        };
        assert_eq!(check(&member(from, &dir, &[dependency])), expected);
    }

    use Origin::{External, Ours};
    use Purpose::{Code, Tests};

    #[test]
    fn commands_join_the_shared_crates() {
        check_edge("pull", ("registry", Code, Ours), &[]);
        check_edge("save", ("store", Code, Ours), &[]);
        check_edge(
            "save",
            ("registry", Code, Ours),
            &["crates/save/Cargo.toml: registry is only for network, pull, push, remote"],
        );
        check_edge(
            "save",
            ("pull", Code, Ours),
            &["crates/save/Cargo.toml: pull is a command: only chores use one, for its Args"],
        );
    }

    #[test]
    fn shared_crates_do_not_know_each_other() {
        check_edge("rootfs", ("layer-format", Code, Ours), &[]);
        check_edge("cli", ("layer-format", Code, Ours), &[]);
        check_edge(
            "rootfs",
            ("store", Code, Ours),
            &["crates/rootfs/Cargo.toml: store is only for the commands, image"],
        );
        check_edge(
            "rootfs",
            ("store", Tests, Ours),
            &["crates/rootfs/Cargo.toml: store is only for the commands, image"],
        );
    }

    #[test]
    fn the_kit_stands_apart() {
        check_edge("tests", ("layer-format", Tests, Ours), &[]);
        check_edge(
            "tests",
            ("layer-format", Code, Ours),
            &["tests/Cargo.toml: layer-format is ours: the kit's library uses none of our crates"],
        );
        check_edge("pull", ("tests", Tests, Ours), &[]);
        check_edge(
            "pull",
            ("tests", Code, Ours),
            &["crates/pull/Cargo.toml: tests is the kit: only tests use it"],
        );
        check_edge("xtask", ("tests", Code, Ours), &[]);
        check_edge("chores", ("xtask", Code, Ours), &[]);
        check_edge("chores", ("pull", Code, Ours), &[]);
        check_edge(
            "chores",
            ("store", Code, Ours),
            &["chores/Cargo.toml: store is only for the commands, image"],
        );
    }

    #[test]
    fn external_packages_have_their_places() {
        check_edge("registry", ("reqwest", Code, External), &[]);
        check_edge(
            "pull",
            ("reqwest", Code, External),
            &["crates/pull/Cargo.toml: reqwest is only for registry"],
        );
        check_edge("pull", ("anyhow", Code, External), &[]);
        check_edge("pull", ("proptest", Tests, External), &[]);
        check_edge(
            "pull",
            ("proptest", Code, External),
            &["crates/pull/Cargo.toml: proptest is for tests only"],
        );
        check_edge(
            "pull",
            ("regex", Code, External),
            &[
                "crates/pull/Cargo.toml: regex is not agreed: a line in xtask/chores/src/tidy/edges.rs says where it belongs",
            ],
        );
    }

    #[test]
    fn reqwest_never_decodes() {
        let workspace = Workspace {
            reqwest_features: vec!["http2".to_owned(), "gzip".to_owned()],
            ..Workspace::default()
        };
        assert_eq!(
            check(&workspace),
            ["Cargo.toml: reqwest's feature gzip would decode a blob under our digest"]
        );
    }
}
