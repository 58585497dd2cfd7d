//! Syntax that the oldest compiler doesn't know: `rust-version` in Cargo.toml names that one, and no lint looks for syntax.
//!
//! What the standard library lacks there is found by clippy's `incompatible_msrv`.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Arm, Expr, Macro};

use super::Findings;
use super::tree::Tree;

/// Macros of the standard library that are younger than `rust-version`.
const YOUNG_MACROS: &[&str] = &["cfg_select", "assert_matches", "debug_assert_matches"];

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Findings {
    tree.rust().flat_map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: &str) -> Findings {
    let mut finder = Finder { path, findings: Findings::new() };
    match syn::parse_file(text) {
        Ok(file) => finder.visit_file(&file),
        Err(error) => finder.add(error.span().start().line, "can't be parsed"),
    }
    finder.findings
}

struct Finder<'a> {
    path: &'a str,
    findings: Findings,
}

impl Finder<'_> {
    fn add(&mut self, line: usize, what: &str) {
        self.findings.push(format!("{}:{line}: {what}", self.path));
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Some((_, guard)) = &arm.guard
            && has_let(guard)
        {
            self.add(guard.span().start().line, "`if let` in a guard needs Rust 1.95");
        }
        visit::visit_arm(self, arm);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        if let Some(name) = item.path.segments.last()
            && YOUNG_MACROS.contains(&name.ident.to_string().as_str())
        {
            self.add(name.span().start().line, "this macro is younger than rust-version");
        }
        visit::visit_macro(self, item);
    }
}

/// Whether a guard binds something, by itself or in a chain.
fn has_let(guard: &Expr) -> bool {
    match guard {
        Expr::Let(_) => true,
        Expr::Binary(chain) => has_let(&chain.left) || has_let(&chain.right),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_oldest_compiler_cannot_parse_is_found() {
        let text = "fn f() {\n match a {\n  A if b && let C = d => 1,\n  A if b => { if let C = d && e { 2 } },\n }\n \
                    cfg_select! {}\n}\n";
        assert_eq!(
            file("a.rs", text),
            [
                "a.rs:3: `if let` in a guard needs Rust 1.95",
                "a.rs:6: this macro is younger than rust-version"
            ]
        );
    }
}
