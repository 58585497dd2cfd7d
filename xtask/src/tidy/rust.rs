//! One Rust file: its front page, its sizes, and words it must not hold.

use super::Findings;
use super::tree::Tree;

/// Lines of a file without its tests; those of an inline test module; public items; code lines of a `main.rs`.
const MOST_LINES: usize = 400;
const MOST_TEST_LINES: usize = 250;
const MOST_PUBLIC: usize = 20;
const MOST_MAIN: usize = 10;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

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

/// Whether the path alone says that a file is nothing but tests.
fn is_test(path: &str) -> bool {
    let in_crate = path.starts_with("crates/") && path.contains("/tests/");
    in_crate
        || path.starts_with("tests/it/")
        || path.starts_with("tests/peers/")
        || path.ends_with("/tests.rs")
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
    findings.extend(sizes(path, text));
    findings.extend((1..).zip(text.lines()).filter_map(|(number, line)| {
        forbidden(path, line).map(|why| format!("{path}:{number}: {why}"))
    }));
    findings
}

fn sizes(path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    let mut at_most = |what: &str, found: usize, most: usize| {
        if found > most {
            findings.push(format!("{path}: {found} {what}, at most {most}"));
        }
    };
    let (code, tests) = split(text);
    if !is_test(path) && LONG_FILES.iter().all(|(long, _)| *long != path) {
        at_most("lines without the tests", code.len(), MOST_LINES);
    }
    at_most("lines in `mod tests`: move them to a file", tests.len(), MOST_TEST_LINES);
    at_most("public items", code.iter().filter(|line| is_public_item(line)).count(), MOST_PUBLIC);
    if path.starts_with("crates/") && path.ends_with("/src/main.rs") {
        at_most(
            "lines of code in a main.rs",
            code.iter().filter(|line| is_code(line)).count(),
            MOST_MAIN,
        );
    }
    findings
}

/// Cuts a file before its inline test module, which stands last.
fn split(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut code: Vec<&str> = text.lines().collect();
    let start =
        code.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1] == "mod tests {");
    let tests = code.split_off(start.unwrap_or(code.len()));
    (code, tests)
}

fn is_public_item(line: &str) -> bool {
    line.starts_with("pub ") && !line.starts_with("pub use ")
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
    fn inline_tests_do_not_count_towards_a_file() {
        let code = "//\n".repeat(399);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    //\n".repeat(247));
        check_file("a/src/x.rs", &format!("{PAGE}{code}{tests}"), &[]);
        check_file(
            "a/src/x.rs",
            &format!("{PAGE}//\n{code}\n"),
            &["a/src/x.rs: 402 lines without the tests, at most 400"],
        );
        check_file("a/src/x/tests.rs", &format!("{PAGE}{code}{code}"), &[]);
        check_file(
            "a/src/x.rs",
            &format!("{PAGE}{}", tests.replace("}\n", "\n\n}\n")),
            &["a/src/x.rs: 252 lines in `mod tests`: move them to a file, at most 250"],
        );
    }

    #[test]
    fn a_module_offers_at_most_twenty_items() {
        let twenty = "pub struct A;\n".repeat(20);
        check_file(
            "a/src/lib.rs",
            &format!("{PAGE}{twenty}pub use a::B;\npub(crate) fn c() {{}}\n"),
            &[],
        );
        check_file(
            "a/src/lib.rs",
            &format!("{PAGE}{twenty}pub fn d() {{}}\n"),
            &["a/src/lib.rs: 21 public items, at most 20"],
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
