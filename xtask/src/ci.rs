//! `cargo xtask ci`: what CI runs, in order of cost; the same command on a desk.

use std::time::Instant;

use anyhow::Context as _;

use crate::run::{run, say};
use crate::{docs, plain_user, test, tidy};

/// A step's name and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

/// Every step; the first that fails ends the run.
const STEPS: &[Step] = &[
    ("fmt", || run(&["cargo", "fmt", "--all", "--check"])),
    ("tidy", tidy::run),
    ("clippy", || {
        run(&["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    }),
    ("test", test::all),
    ("test --plain-user", plain_user::tests),
    ("doc", || {
        run(&["env", "RUSTDOCFLAGS=-D warnings", "cargo", "doc", "--workspace", "--no-deps"])
    }),
    ("docs --check", docs::check),
];

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
