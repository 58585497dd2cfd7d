//! Chores of developers: `cargo xtask CMD`. One file each; this one only tells them apart.

mod bench;
mod chart;
mod ci;
mod commands;
mod completions;
mod dist;
mod docs;
mod fuzz;
mod guard;
mod install;
mod machines;
mod man;
mod messages;
mod mutants;
mod needs;
mod payload;
mod release;
mod tidy;

use std::process::ExitCode;

use clap::Parser;
use xtask::run;

/// Chores of those who develop, install or pack Strata; `cargo xtask demo` and `cargo xtask test` are there too
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Chore {
    /// Run every check that must pass before a change goes in, the cheap ones first
    Ci,
    /// Check what no lint can say about the tree
    Tidy,
    /// Generate man pages, completions and docs/cli.md
    Docs(docs::Args),
    /// Measure beside other tools doing the same, in one run
    Bench(bench::Args),
    /// Feed a reader of untrusted bytes with noise
    Fuzz(fuzz::Args),
    /// Count the instructions that the programs execute for small images, and compare with what was written down
    Guard(guard::Args),
    /// Put small faults into the code and tell which of them no test sees
    Mutants(mutants::Args),
    /// Build for release and install: the programs, their man pages and completions
    Install(install::Args),
    /// Pack what is installed, with checksums, into one tar, and where dpkg-deb is there into a Debian package
    Dist(dist::Args),
    /// Try releases on other machines: roots of other Debians, other architectures, macOS by a type check
    Machines(machines::Args),
}

fn main() -> ExitCode {
    run::exit(carry_out(Chore::parse()))
}

fn carry_out(chore: Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Ci => ci::run_steps(),
        Chore::Tidy => tidy::run(),
        Chore::Docs(args) => docs::run(&args),
        Chore::Bench(args) => bench::bench(&args),
        Chore::Fuzz(args) => fuzz::fuzz(&args),
        Chore::Guard(args) => guard::guard(&args),
        Chore::Mutants(args) => mutants::mutants(&args),
        Chore::Install(args) => install::install(&args),
        Chore::Dist(args) => dist::dist(&args),
        Chore::Machines(args) => machines::machines(&args),
    }
}
