//! One Rust file: its front page, a command's `main.rs`, and words it must not hold.

use super::Findings;
use super::tree::Tree;

/// Code lines of a command's `main.rs`: a command is its library's `run`.
const MOST_MAIN: usize = 10;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["common", "core", "helpers", "misc", "types", "util", "utils"];

/// What a line of code must not begin with, after its visibility.
const FORBIDDEN_STARTS: &[(&str, &str)] = &[
    ("#[allow", "use #[expect(…, reason = \"…\")]"),
    ("#![allow", "use #![expect(…, reason = \"…\")]"),
    ("#[ignore", "a test that doesn't run is no test"),
    ("#[should_panic", "assert what goes wrong instead"),
    ("fn test_", "a test's name is a sentence"),
    ("fn get_", "name what is returned, without get_"),
];

/// What a line of code must not hold; written in two parts so that this file passes.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "unfinished code is not committed"),
    (concat!("unimplemented", "!("), "unfinished code is not committed"),
];

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Findings {
    tree.rust().flat_map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    if !text.starts_with("//!") {
        findings.push(format!("{path}:1: a file begins with its front page: //!"));
    }
    if EMPTY_NAMES
        .iter()
        .any(|name| path.ends_with(&format!("/{name}.rs")) || path.contains(&format!("/{name}/")))
    {
        findings.push(format!("{path}: a name that says nothing about what is inside"));
    }
    findings.extend(main_size(path, text));
    findings.extend((1..).zip(text.lines()).filter_map(|(number, line)| {
        forbidden(path, line).map(|why| format!("{path}:{number}: {why}"))
    }));
    findings
}

/// A command's `main.rs` hands over to its library and does nothing else.
fn main_size(path: &str, text: &str) -> Option<String> {
    let is_main = path.starts_with("crates/") && path.ends_with("/src/main.rs");
    let n_lines = text.lines().filter(|line| is_code(line)).count();
    (is_main && n_lines > MOST_MAIN)
        .then(|| format!("{path}: {n_lines} lines of code in a main.rs, at most {MOST_MAIN}"))
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn forbidden(path: &str, line: &str) -> Option<&'static str> {
    let is_front_page = path.ends_with("/lib.rs") || path.ends_with("/mod.rs");
    if line.starts_with("pub use ") && !is_front_page {
        return Some("only a front page re-exports: a lib.rs or a mod.rs");
    }
    let line = line.trim();
    let item = line
        .trim_start_matches("pub(crate) ")
        .trim_start_matches("pub(super) ")
        .trim_start_matches("pub ");
    let starts = FORBIDDEN_STARTS.iter().find(|(word, _)| item.starts_with(word));
    let holds = || FORBIDDEN.iter().find(|(word, _)| is_code(line) && line.contains(word));
    starts.or_else(holds).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "//! A file.\n";

    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(check(&Tree::of(&[(path, text)])), expected);
    }

    #[test]
    fn a_file_begins_with_its_front_page() {
        check_file("crates/a/src/lib.rs", PAGE, &[]);
        check_file(
            "crates/a/src/lib.rs",
            "use std::io;\n",
            &["crates/a/src/lib.rs:1: a file begins with its front page: //!"],
        );
    }

    #[test]
    fn a_main_is_short() {
        let ten = format!("{PAGE}\nfn main() {{\n{}}}\n", "    // why\n    a();\n".repeat(8));
        check_file("crates/pull/src/main.rs", &ten, &[]);
        check_file("xtask/src/main.rs", &format!("{ten}fn b() {{}}\n"), &[]);
        check_file(
            "crates/pull/src/main.rs",
            &format!("{ten}fn b() {{}}\n"),
            &["crates/pull/src/main.rs: 11 lines of code in a main.rs, at most 10"],
        );
    }

    #[test]
    fn forbidden_words_are_found_in_code_alone() {
        let text = format!(
            "{PAGE}    #[{}(dead_code)]\npub(crate) fn {}_it() {{}}\n// {m}\n    {m};\n\"#[{}]\"\n",
            "allow",
            "get",
            "ignore",
            m = concat!("todo", "!()")
        );
        check_file(
            "a/src/x.rs",
            &text,
            &[
                "a/src/x.rs:2: use #[expect(…, reason = \"…\")]",
                "a/src/x.rs:3: name what is returned, without get_",
                "a/src/x.rs:5: unfinished code is not committed",
            ],
        );
    }

    #[test]
    fn only_a_front_page_re_exports() {
        check_file("a/src/lib.rs", &format!("{PAGE}pub use x::Y;\n"), &[]);
        check_file("a/src/x/mod.rs", &format!("{PAGE}pub use y::Z;\n"), &[]);
        check_file(
            "a/src/x/y.rs",
            &format!("{PAGE}pub use z::Z;\n"),
            &["a/src/x/y.rs:2: only a front page re-exports: a lib.rs or a mod.rs"],
        );
    }

    #[test]
    fn an_empty_name_is_found() {
        check_file(
            "a/src/util.rs",
            PAGE,
            &["a/src/util.rs: a name that says nothing about what is inside"],
        );
        check_file("a/src/utility.rs", PAGE, &[]);
    }
}
