//! `cargo xtask tidy`: what no lint can say about the tree.
//!
//! ```text
//! tree.rs       the files: paths and bytes, from git or from a test
//! circles.rs    no circles between the modules of a crate
//! edges.rs      who may use whom, and which external package belongs where
//! floors.rs     which modules of a crate may name which
//! manifests.rs  what a member's Cargo.toml may not say
//! licences.rs   which licences a dependency may have
//! rust.rs       one Rust file: front page, sizes, forbidden words
//! layout.rs     several files together: forgotten modules, missing tests
//! options.rs    every option of every program has a test that sees it ignored
//! syntax.rs     nothing that the oldest compiler can't parse
//! text.rs       any file: size, binary, trailing blanks, long scripts
//! ```
//!
//! Rust is read line by line, and parsed by `syntax.rs` alone: the tree is rustfmt's, so columns mean something. Each check is a
//! function from the tree, or from what cargo says, to findings; all of them are reported, not the first.

mod circles;
mod edges;
mod floors;
mod layout;
mod licences;
mod manifests;
mod options;
mod rust;
mod syntax;
mod text;
mod tree;

use anyhow::ensure;

use xtask::run::{root, say};
use xtask::workspace::Workspace;

use tree::Tree;

/// One line each: where, and what is wrong.
type Findings = Vec<String>;

/// Runs every check and reports every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let tree = Tree::read(&root())?;
    let workspace = Workspace::read()?;
    let findings = findings(&tree, &workspace);
    for finding in &findings {
        say(finding);
    }
    ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    Ok(())
}

fn findings(tree: &Tree, workspace: &Workspace) -> Findings {
    let mut findings = [
        circles::check(tree),
        edges::check(workspace),
        floors::check(tree),
        manifests::check(tree, workspace),
        licences::check(workspace),
        rust::check(tree),
        syntax::check(tree),
        layout::check(tree, workspace),
        options::check(tree),
        text::check(tree),
    ]
    .concat();
    findings.sort();
    findings
}
