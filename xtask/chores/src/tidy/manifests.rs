//! What a member's Cargo.toml says: nothing that the root says already, and no package that the member doesn't use.

use super::Findings;
use super::tree::Tree;
use xtask::workspace::Workspace;

/// Packages that no line names: they are there for a feature that another package needs.
const FOR_A_FEATURE: &[&str] = &["proc-macro2"];

/// The manifest of the one crate that others may use, each with what it wants of it.
const WITH_FEATURES: &str = "crates/layer-format/Cargo.toml";

/// Checks every member's manifest.
pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for member in &workspace.members {
        let path = format!("{}/Cargo.toml", member.dir);
        if let Some(text) = tree.text(&path) {
            findings.extend(manifest(&path, text));
            findings.extend(unused(tree, &path, text));
        }
    }
    findings
}

/// Dependencies that no Rust file of the member names in a path, as cargo-machete finds them.
fn unused(tree: &Tree, path: &str, text: &str) -> Findings {
    let directory = path.trim_end_matches("Cargo.toml");
    let code: Vec<&str> =
        tree.rust().filter(|(path, _)| path.starts_with(directory)).map(|(_, text)| text).collect();
    let names = text.lines().filter_map(|line| line.split_once(".workspace = true"));
    let names = names.map(|(name, _)| name).filter(|name| !PACKAGE_KEYS.contains(name));
    names
        .filter(|name| !FOR_A_FEATURE.contains(name))
        .filter(|name| {
            let path = format!("{}::", name.replace('-', "_"));
            !code.iter().any(|text| text.contains(&path))
        })
        .map(|name| format!("{path}: {name} is used by no Rust file beside it"))
        .collect()
}

/// What a `[package]` has from the root.
const PACKAGE_KEYS: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

fn manifest(path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    let mut section = "";
    let mut lints = false;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']);
        }
        lints |= section == "lints" && line == "workspace = true";
        if let Some(why) = repeats(section, line).filter(|_| !is_feature(path, section, line)) {
            findings.push(format!("{path}:{number}: {why}"));
        }
    }
    if !lints {
        findings
            .push(format!("{path}: the workspace's lints are missing: [lints] workspace = true"));
    }
    findings
}

/// Whether a line is about features, in the one manifest that has some.
fn is_feature(path: &str, section: &str, line: &str) -> bool {
    let is_optional = line.ends_with(" = { workspace = true, optional = true }");
    path == WITH_FEATURES && (section == "features" || (section == "dependencies" && is_optional))
}

/// Why a line of a section belongs in the root's manifest.
fn repeats(section: &str, line: &str) -> Option<&'static str> {
    let (table, of) = section.rsplit_once('.').unwrap_or(("", section));
    if table.ends_with("dependencies") && line.starts_with('[') {
        return Some("write NAME.workspace = true, not a table of its own");
    }
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    // A header may have a target's condition in it.
    if line.starts_with(['#', '[']) {
        None
    } else if of.ends_with("dependencies") {
        let plain = key.strip_suffix(".workspace").is_some_and(|name| !name.contains('.'));
        (!plain || value != "true")
            .then_some("write NAME.workspace = true: the root says version and features")
    } else if section == "package" && PACKAGE_KEYS.contains(&key) {
        Some("write KEY.workspace = true: the root says it")
    } else if section.starts_with("features") {
        Some("a feature needs two users who want different things")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, expected: &[&str]) {
        assert_eq!(manifest("Cargo.toml", &format!("{text}[lints]\nworkspace = true\n")), expected);
    }

    const PLAIN: &str = "write NAME.workspace = true: the root says version and features";

    #[test]
    fn inherited_dependencies_pass() {
        let of_one_system =
            "[target.'cfg(target_os = \"linux\")'.dependencies]\nrootfs.workspace = true\n";
        check_text(of_one_system, &[]);
        check_text(
            "[package]\nversion.workspace = true\n[dependencies]\n# why\nanyhow.workspace = true\n",
            &[],
        );
    }

    #[test]
    fn versions_and_features_stay_at_the_root() {
        check_text("[dependencies]\nanyhow = \"1\"\n", &[&format!("Cargo.toml:2: {PLAIN}")]);
        check_text(
            "[dev-dependencies]\na = { workspace = true, features = [] }\n",
            &[&format!("Cargo.toml:2: {PLAIN}")],
        );
        check_text(
            "[target.'cfg(unix)'.dependencies]\na.version = \"1\"\n",
            &[&format!("Cargo.toml:2: {PLAIN}")],
        );
        check_text(
            "[dependencies.anyhow]\nworkspace = true\n",
            &["Cargo.toml:1: write NAME.workspace = true, not a table of its own"],
        );
        check_text(
            "[package]\nversion = \"1.0.0\"\n",
            &["Cargo.toml:2: write KEY.workspace = true: the root says it"],
        );
    }

    #[test]
    fn one_crate_has_features() {
        let optional = "zstd = { workspace = true, optional = true }";
        let text =
            format!("[dependencies]\n{optional}\n[features]\na = []\n[lints]\nworkspace = true\n");
        assert_eq!(manifest(WITH_FEATURES, &text), [""; 0]);
        assert_eq!(
            manifest("Cargo.toml", &text),
            [
                format!("Cargo.toml:2: {PLAIN}"),
                "Cargo.toml:4: a feature needs two users who want different things".to_owned()
            ]
        );
    }

    #[test]
    fn a_dependency_that_no_file_names_is_found() {
        let text = "[package]\nversion.workspace = true\n[dependencies]\nanyhow.workspace = true\n\
                    serde_json.workspace = true\ntar-core.workspace = true\n";
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "use anyhow::Context;\n"),
            ("crates/a/tests/it.rs", "tar_core::read();\n"),
            ("crates/ab/src/lib.rs", "use serde_json::Value;\n"),
        ]);
        assert_eq!(
            unused(&tree, "crates/a/Cargo.toml", text),
            ["crates/a/Cargo.toml: serde_json is used by no Rust file beside it"]
        );
    }

    #[test]
    fn a_member_without_the_lints_is_found() {
        assert_eq!(
            manifest("Cargo.toml", "[package]\n"),
            ["Cargo.toml: the workspace's lints are missing: [lints] workspace = true"]
        );
    }
}
