//! No circles between the modules of a crate: each can be read, moved and tested with those below it alone.
//!
//! A module uses another if it names something of it outside its tests: in a `use`, or by a path such as `super::view::row`.
//! What a module re-exports belongs to the module that defines it, so `crate::Failure` is an arrow to `error/mod.rs`, not to
//! `lib.rs`. A `mod` line is no arrow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Findings;
use super::tree::Tree;

/// The crates that are checked, each in `crates/NAME/src`.
const CRATES: &[&str] = &[
    "changes", "cli", "commit", "flatten", "image", "images", "inspect", "load", "network", "pull",
    "push", "rebase", "registry", "remote", "report", "rootfs", "save", "snapshot", "store",
    "strata", "union", "unpack",
];

/// A module's path from the crate's root, which is empty.
type Path = Vec<String>;

/// Re-exports that lead to each other end somewhere.
const MOST_STEPS: usize = 16;

/// Checks each of the crates.
pub(super) fn check(tree: &Tree) -> Findings {
    CRATES.iter().flat_map(|name| in_crate(tree, &format!("crates/{name}/src/"))).collect()
}

fn in_crate(tree: &Tree, directory: &str) -> Findings {
    let modules = Modules::of(tree, directory);
    let arrows = modules.arrows();
    let mut findings = Findings::new();
    let mut reported: BTreeSet<&Path> = BTreeSet::new();
    for module in arrows.keys() {
        let circle: BTreeSet<&Path> = reachable(&arrows, module)
            .into_iter()
            .filter(|other| reachable(&arrows, other).contains(module))
            .collect();
        if circle.contains(module) && reported.insert(module) {
            reported.extend(&circle);
            let way: Vec<String> = way_back(&arrows, module).into_iter().map(name).collect();
            findings.push(format!(
                "{directory}: {} modules use each other in a circle, for example {}",
                circle.len(),
                way.join(" -> ")
            ));
        }
    }
    findings
}

/// A module as people call it.
fn name(module: &Path) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("/") }
}

type Arrows = BTreeMap<Path, BTreeSet<Path>>;

/// What a module uses, directly or not; itself only if it is in a circle.
fn reachable<'a>(arrows: &'a Arrows, from: &Path) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&Path> = arrows.get(from).into_iter().flatten().collect();
    while let Some(module) = waiting.pop() {
        if found.insert(module) {
            waiting.extend(arrows.get(module).into_iter().flatten());
        }
    }
    found
}

/// The shortest way from a module in a circle back to itself.
fn way_back<'a>(arrows: &'a Arrows, from: &'a Path) -> Vec<&'a Path> {
    let mut waiting = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = waiting.pop_front() {
        for next in way.last().and_then(|&last| arrows.get(last)).into_iter().flatten() {
            let longer = [&way[..], &[next]].concat();
            if next == from {
                return longer;
            }
            if seen.insert(next) {
                waiting.push_back(longer);
            }
        }
    }
    Vec::new()
}

/// The modules of a crate, without their tests.
struct Modules {
    /// The code of each.
    code: BTreeMap<Path, String>,
    /// The names that each has by `use`, and what they stand for as it is written there.
    names: BTreeMap<Path, BTreeMap<String, Path>>,
}

impl Modules {
    fn of(tree: &Tree, directory: &str) -> Self {
        let mut modules = Self { code: BTreeMap::new(), names: BTreeMap::new() };
        for (path, text) in tree.rust() {
            let Some(module) = path.strip_prefix(directory).and_then(module_of) else { continue };
            let code = code_of(text);
            let names = uses(&code).into_iter().map(|each| (each.name, each.path)).collect();
            modules.code.insert(module.clone(), code);
            modules.names.insert(module, names);
        }
        modules
    }

    fn arrows(&self) -> Arrows {
        let arrows = self.code.iter().map(|(module, code)| {
            let used = uses(code).into_iter().map(|each| each.path);
            let named = used.chain(paths(code));
            let mut to: BTreeSet<Path> =
                named.filter_map(|path| self.resolve(module, &path, MOST_STEPS)).collect();
            to.remove(module);
            (module.clone(), to)
        });
        arrows.collect()
    }

    /// The module that defines what a path means in `module`; none for another crate's.
    fn resolve(&self, module: &Path, path: &[String], steps: usize) -> Option<Path> {
        let mut at = module.clone();
        let mut rest = path;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = others;
        }
        let is_local = rest.len() < path.len();
        let mut is_found = is_local;
        while let [first, others @ ..] = rest {
            let child = [&at[..], std::slice::from_ref(first)].concat();
            if self.code.contains_key(&child) {
                at = child;
                rest = others;
                is_found = true;
                continue;
            }
            let meant = self.names.get(&at)?.get(first).filter(|meant| *meant != rest);
            return match meant {
                Some(meant) if steps > 0 => {
                    self.resolve(&at, &[&meant[..], others].concat(), steps - 1)
                }
                _ => is_found.then_some(at),
            };
        }
        Some(at)
    }
}

/// The module in a file, if it isn't one of tests: `progress/mod.rs` is `progress`.
fn module_of(path: &str) -> Option<Path> {
    let mut names: Path = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if matches!(names.last()?.as_str(), "mod" | "lib" | "main") {
        names.pop();
    }
    (!names.iter().any(|name| name == "tests")).then_some(names)
}

/// A file without comments, and without the tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A name that a `use` brings in, and the path that it stands for.
struct Use {
    name: String,
    path: Path,
}

/// What the `use` lines of a file bring in.
fn uses(code: &str) -> Vec<Use> {
    let mut found = vec![];
    let mut rest = code;
    while let Some(start) = rest.find("use ") {
        let is_word = rest[..start].ends_with(['\n', ' ']) || start == 0;
        rest = &rest[start + 4..];
        if is_word && let Some((tree, _)) = rest.split_once(';') {
            expand(&[], tree, &mut found);
        }
    }
    found
}

/// Takes the braces of a `use` apart.
fn expand(before: &[String], tree: &str, found: &mut Vec<Use>) {
    if let Some((head, tail)) = tree.split_once('{') {
        let inner = tail.rsplit_once('}').map_or(tail, |(inner, _)| inner);
        let path = [before, &segments(head)[..]].concat();
        for each in split_outside_braces(inner) {
            expand(&path, each, found);
        }
        return;
    }
    let (written, alias) = tree.split_once(" as ").map_or((tree, None), |(a, b)| (a, Some(b)));
    let mut path = [before, &segments(written)[..]].concat();
    if path.len() > 1 {
        path.pop_if(|last| last == "self");
    }
    if let Some(name) = alias.map(|alias| alias.trim().to_owned()).or_else(|| path.last().cloned())
    {
        found.push(Use { name, path });
    }
}

fn split_outside_braces(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    })
    .filter(|each| !each.trim().is_empty())
    .collect()
}

fn segments(path: &str) -> Path {
    path.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Paths of two names or more anywhere in the code.
fn paths(code: &str) -> Vec<Path> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.contains("::")).map(segments).filter(|path| path.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_files(files: &[(&str, &str)], expected: &[&str]) {
        let files: Vec<_> = files.iter().map(|(path, text)| (format!("a/{path}"), *text)).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(in_crate(&Tree::of(&files), "a/"), expected);
    }

    #[test]
    fn arrows_downward_are_no_circle() {
        check_files(
            &[
                ("lib.rs", "mod error;\nmod run;\npub use crate::error::Error;\n"),
                ("error.rs", "use std::io;\n\n#[cfg(test)]\nmod tests {\n    use xtask::run;\n}\n"),
                ("run.rs", "use crate::Error;\n"),
                ("tests.rs", "use super::error;\n"),
            ],
            &[],
        );
    }

    #[test]
    fn a_circle_is_found_whatever_its_arrows_look_like() {
        let circle = |text: &str, back: &str| {
            let files = [("lib.rs", "pub use self::b::B;\n"), ("a.rs", text), ("b.rs", back)];
            check_files(
                &files,
                &["a/: 2 modules use each other in a circle, for example a -> b -> a"],
            );
        };
        circle("use crate::B;\n", "use crate::a::A;\n");
        circle("use crate::{\n    a::Own, b::{self, C},\n};\n", "use super::a as other;\n");
        circle("fn f() {\n    crate::b::g();\n}\n", "fn g() {\n    super::a::f()\n}\n");
        circle("use crate::b;\n", "use crate::a;\n// use nothing;\n");
    }

    #[test]
    fn a_parent_that_its_child_uses_is_a_circle() {
        let child = ("p/child.rs", "use super::Parent;\n");
        let expected = ["a/: 2 modules use each other in a circle, for example p -> p/child -> p"];
        check_files(&[("p/mod.rs", "mod child;\nuse child::Child;\n"), child], &expected);
        check_files(&[("p/mod.rs", "mod child;\nfn f() { child::g() }\n"), child], &expected);
        check_files(&[("p/mod.rs", "mod child;\n"), child], &[]);
    }

    #[test]
    fn a_front_page_that_is_used_for_its_own_things_is_part_of_a_circle() {
        check_files(
            &[
                ("lib.rs", "mod a;\npub use crate::a::A;\npub struct Own;\n"),
                ("a.rs", "use crate::Own;\n"),
            ],
            &["a/: 2 modules use each other in a circle, for example lib -> a -> lib"],
        );
    }
}
