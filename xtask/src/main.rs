//! `cargo xtask CMD`: what everybody runs is here, and soon built; the chores of developers are another package.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use xtask::{demo, run, test};

/// Chores of the Strata workspace
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = MORE)]
enum Chore {
    /// Show the main job, on a registry of its own with an image of this machine's files
    Demo,
    /// Run all tests and doctests
    Test(test::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// The other package's chores.
const MORE: &str = "Chores of developers, built when one is first called; each has its own --help:
  install  Build for release and install, or take it away again
  dist     Pack for other machines
  machines Try what is packed on other machines
  ci, tidy, docs, bench, fuzz, mutants
           CONTRIBUTING.md says what they do";

fn main() -> ExitCode {
    match Chore::parse() {
        Chore::Demo => run::exit(demo::demo()),
        Chore::Test(args) => run::exit(test::run(&args)),
        Chore::Other(words) => run::chore(&words),
    }
}
