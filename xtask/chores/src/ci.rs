//! `cargo xtask ci`: what CI runs, in order of cost; the same command on a desk.

use std::time::Instant;

use anyhow::Context as _;

use xtask::run::{run, say};
use xtask::{plain_user, test};

use crate::{docs, guard, machines, tidy};

/// A step's name and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

/// Every step; the first that fails ends the run.
const STEPS: &[Step] = &[
    ("fmt", || run(&["cargo", "fmt", "--all", "--check"])),
    ("tidy", tidy::run),
    ("clippy", || {
        run(&["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    }),
    ("doc", || {
        run(&["env", "RUSTDOCFLAGS=-D warnings", "cargo", "doc", "--workspace", "--no-deps"])
    }),
    ("docs --check", docs::check),
    ("features", each_feature),
    ("package", || run(&["cargo", "package", "--package", LIBRARY, "--offline", "--allow-dirty"])),
    ("test", test::all),
    ("guard", || guard::guard(&guard::Args { write: false })),
    ("test --plain-user", plain_user::tests),
    ("machines", machines::in_ci),
];

/// The one crate that could be published by itself.
const LIBRARY: &str = "layer-format";

/// Tries the codecs of the library without its features, and with each of them alone.
fn each_feature() -> anyhow::Result<()> {
    for features in ["", "parallel", "zstd"] {
        let package = ["cargo", "test", "--package", LIBRARY, "--lib"];
        let chosen = ["--no-default-features", "--features", features, "codec"];
        run(&[&package[..], &chosen[..]].concat())?;
    }
    Ok(())
}

/// Runs the steps, each with its name before and its time after.
pub(crate) fn run_steps() -> anyhow::Result<()> {
    let begun = Instant::now();
    for (name, step) in STEPS {
        say(&format!("=== {name}"));
        let begun = Instant::now();
        step().with_context(|| format!("ci stopped at `{name}`"))?;
        say(&format!("=== {name}: {:.1} s", begun.elapsed().as_secs_f64()));
    }
    say(&format!("=== ci passed: {} steps, {:.1} s", STEPS.len(), begun.elapsed().as_secs_f64()));
    Ok(())
}
