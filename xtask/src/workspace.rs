//! What cargo knows about the workspace: members, their dependencies, everyone's licence.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::run::{output, root};

/// The workspace as `cargo metadata` tells it, for this machine's platform.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Where cargo builds.
    pub target: PathBuf,
    /// Our own packages.
    pub members: Vec<Member>,
    /// `name version` and licence expression of every package that is compiled, ours too.
    pub licences: Vec<(String, String)>,
    /// Features that reqwest is compiled with, whichever crate asks for them.
    pub reqwest_features: Vec<String>,
}

/// One of our packages.
#[derive(Debug)]
pub struct Member {
    /// Its name, without what ours begin with.
    pub name: String,
    /// Its directory, from the root: `crates/pull`.
    pub dir: String,
    /// What it depends on, directly.
    pub dependencies: Vec<Dependency>,
}

/// One direct dependency.
#[derive(Debug)]
pub struct Dependency {
    /// The package's own name; of ours, without what they begin with.
    pub name: String,
    /// What it is needed for.
    pub purpose: Purpose,
    /// Who wrote it.
    pub origin: Origin,
}

/// What a dependency is needed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The code itself, or its build script.
    Code,
    /// Its tests.
    Tests,
}

/// Who wrote a dependency.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A member of this workspace.
    Ours,
    /// Anyone else.
    External,
}

/// What the packages' names begin with whose own word is anybody's.
const PREFIX: &str = "strata-";
/// The packages whose names are their own.
const PLAIN: &[&str] = &["layer-format", "strata", "tests", "xtask", "chores"];

/// The name of a package of ours, as cargo wants it, by that of its directory.
pub fn package(name: &str) -> String {
    if PLAIN.contains(&name) { name.to_owned() } else { format!("{PREFIX}{name}") }
}

/// `--package` for each.
pub fn packages<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().flat_map(|name| ["--package".to_owned(), package(name)]).collect()
}

/// The name of a package of ours without what all of them begin with.
fn own_name(value: &Value) -> String {
    let name = text(value, "name");
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

impl Workspace {
    /// Asks cargo.
    pub fn read() -> anyhow::Result<Self> {
        let version = output(&["rustc", "-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("the host's name in `rustc -vV`")?;
        let line = ["cargo", "metadata", "--format-version", "1", "--filter-platform", host];
        let metadata = serde_json::from_str(&output(&line)?).context("cargo's metadata")?;
        Ok(Self::parse(&metadata, &root()))
    }

    fn parse(metadata: &Value, root: &Path) -> Self {
        let members: Vec<&str> =
            list(metadata, "workspace_members").filter_map(Value::as_str).collect();
        let packages = || list(metadata, "packages");
        Self {
            target: PathBuf::from(text(metadata, "target_directory")),
            members: packages()
                .filter(|package| members.contains(&text(package, "id")))
                .map(|package| Member::parse(package, root))
                .collect(),
            licences: packages().map(licence).collect(),
            reqwest_features: list(&metadata["resolve"], "nodes")
                .filter(|node| text(node, "id").contains("#reqwest@"))
                .flat_map(|node| list(node, "features"))
                .filter_map(|feature| Some(feature.as_str()?.to_owned()))
                .collect(),
        }
    }
}

impl Member {
    fn parse(package: &Value, root: &Path) -> Self {
        let manifest = Path::new(text(package, "manifest_path"));
        let dir = manifest.parent().unwrap_or(manifest);
        let dir = dir.strip_prefix(root).unwrap_or(dir);
        Self {
            name: own_name(package),
            dir: dir.to_string_lossy().into_owned(),
            dependencies: list(package, "dependencies").map(Dependency::parse).collect(),
        }
    }
}

impl Dependency {
    fn parse(value: &Value) -> Self {
        let is_ours = !value["path"].is_null();
        Self {
            name: if is_ours { own_name(value) } else { text(value, "name").to_owned() },
            purpose: if text(value, "kind") == "dev" { Purpose::Tests } else { Purpose::Code },
            origin: if is_ours { Origin::Ours } else { Origin::External },
        }
    }
}

fn licence(package: &Value) -> (String, String) {
    let name = format!("{} {}", text(package, "name"), text(package, "version"));
    (name, text(package, "license").to_owned())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_keep_who_wrote_a_dependency_and_what_for() {
        let metadata = json!({
            "target_directory": "/w/target",
            "workspace_members": ["path+file:///w/crates/pull#0.1.0"],
            "packages": [
                { "id": "path+file:///w/crates/pull#0.1.0", "name": "strata-pull", "version": "0.1.0",
                  "license": "MIT", "manifest_path": "/w/crates/pull/Cargo.toml",
                  "dependencies": [
                    { "name": "clap", "kind": null },
                    { "name": "strata-cli", "rename": "cli", "kind": null, "path": "/w/crates/cli" },
                    { "name": "tests", "kind": "dev", "rename": "kit", "path": "/w/tests" } ] },
                { "id": "index#clap@4.6.0", "name": "clap", "version": "4.6.0", "license": "Zlib",
                  "manifest_path": "/elsewhere/Cargo.toml", "dependencies": [] } ],
            "resolve": { "nodes": [ { "id": "index#reqwest@0.13.0", "features": ["blocking"] } ] },
        });
        let workspace = Workspace::parse(&metadata, Path::new("/w"));
        let [pull] = &workspace.members[..] else { panic!("one member") };
        let dependencies: Vec<_> = pull
            .dependencies
            .iter()
            .map(|each| (each.name.as_str(), each.purpose, each.origin))
            .collect();
        assert_eq!((pull.name.as_str(), pull.dir.as_str()), ("pull", "crates/pull"));
        assert_eq!(
            dependencies,
            [
                ("clap", Purpose::Code, Origin::External),
                ("cli", Purpose::Code, Origin::Ours),
                ("tests", Purpose::Tests, Origin::Ours)
            ]
        );
        assert_eq!(
            packages(["cli", "layer-format"]),
            ["--package", "strata-cli", "--package", "layer-format"]
        );
        assert_eq!(workspace.licences[1], ("clap 4.6.0".to_owned(), "Zlib".to_owned()));
        assert_eq!(workspace.reqwest_features, ["blocking"]);
        assert_eq!(workspace.target, Path::new("/w/target"));
    }
}
