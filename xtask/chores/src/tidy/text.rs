//! Any file at all: its size, whether it is text, blanks at the ends of its lines, scripts that grew.

use super::Findings;
use super::tree::{Tree, extension};

const MOST_BYTES: usize = 200_000;
const MOST_SCRIPT_LINES: usize = 40;

/// Files that may be larger.
const LARGE: &[&str] = &["Cargo.lock", "crates/stream/fuzz/Cargo.lock"];

/// Checks every file.
pub(super) fn check(tree: &Tree) -> Findings {
    tree.files().flat_map(|(path, bytes)| file(path, bytes)).collect()
}

fn file(path: &str, bytes: &[u8]) -> Findings {
    let mut findings = Findings::new();
    if bytes.len() > MOST_BYTES && !LARGE.contains(&path) {
        findings.push(format!("{path}: {} bytes, at most {MOST_BYTES}", bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => findings.extend(lines(path, text)),
        _ => findings.push(format!("{path}: not text: fixtures are built in code")),
    }
    findings
}

fn lines(path: &str, text: &str) -> Findings {
    let blanks = (1..).zip(text.split('\n')).filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
    let mut findings: Findings = blanks
        .map(|(number, _)| format!("{path}:{number}: blanks at the end of the line"))
        .collect();
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        findings.push(format!("{path}: a file ends with one line end"));
    }
    let n_lines = text.lines().count();
    if is_script(path, text) && n_lines > MOST_SCRIPT_LINES {
        findings.push(format!(
            "{path}: a script of {n_lines} lines, at most {MOST_SCRIPT_LINES}: make it a chore"
        ));
    }
    findings
}

fn is_script(path: &str, text: &str) -> bool {
    let shell =
        text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh"));
    extension(path) == Some("sh") || shell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(check(&Tree::of(&[(path, text)])), expected);
    }

    #[test]
    fn plain_text_passes() {
        check_file("README.md", "one\n\ntwo\n", &[]);
        check_file("empty", "", &[]);
    }

    #[test]
    fn blanks_at_line_ends_are_found_with_their_lines() {
        check_file(
            "a.md",
            "one \ntwo\nthree\t\n",
            &["a.md:1: blanks at the end of the line", "a.md:3: blanks at the end of the line"],
        );
        check_file("a.md", "one\r\n", &["a.md:1: blanks at the end of the line"]);
        check_file("a.md", "one", &["a.md: a file ends with one line end"]);
        check_file("a.md", "one\n\n", &["a.md: a file ends with one line end"]);
    }

    #[test]
    fn large_and_binary_files_are_found() {
        let large = "123456789\n".repeat(20_001);
        check_file("docs/a.md", &large, &["docs/a.md: 200010 bytes, at most 200000"]);
        check_file("Cargo.lock", &large, &[]);
        check_file("a.tar", "ustar\0", &["a.tar: not text: fixtures are built in code"]);
        assert_eq!(file("a.gz", b"\x1f\x8b"), ["a.gz: not text: fixtures are built in code"]);
    }

    #[test]
    fn a_long_script_is_found() {
        let script = format!("#!/bin/sh\n{}", ":\n".repeat(40));
        check_file("run", &script, &["run: a script of 41 lines, at most 40: make it a chore"]);
        check_file("run", &script.replacen(":\n", "", 1), &[]);
    }
}
