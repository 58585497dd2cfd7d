//! `cargo xtask test`: the tests that the README names.

use crate::{plain_user, run, suite};

/// What `test` takes.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run the suite as nobody, from root: without tests for root and without other tools
    #[arg(long)]
    plain_user: bool,
    /// Passed on to cargo-nextest, or to cargo test where that isn't installed; doctests are left out then
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs all tests and doctests, or the tests that the arguments choose.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match args {
        Args { plain_user: true, .. } => plain_user::tests(),
        Args { args, .. } if args.is_empty() => all(),
        Args { args, .. } => chosen(args),
    }
}

/// Runs all tests, then the doctests.
pub fn all() -> anyhow::Result<()> {
    chosen(&[])?;
    run::run(&["cargo", "test", "--workspace", "--exclude", "tests", "--doc"])
}

/// Builds the binaries that the pipelines start, then runs the tests.
fn chosen(args: &[String]) -> anyhow::Result<()> {
    run::run(&["cargo", "build", "--workspace", "--bins"])?;
    let threads = suite::workers().to_string();
    let mut line = if run::works(&["cargo", "nextest", "--version"]) {
        vec!["cargo", "nextest", "run", "--workspace", "--test-threads", &threads]
    } else {
        // `--tests` is every target that has tests, and leaves the doctests to their own step.
        vec!["cargo", "test", "--workspace", "--tests", "--no-fail-fast"]
    };
    line.extend(args.iter().map(String::as_str));
    run::run(&line)
}
