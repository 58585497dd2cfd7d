//! `cargo xtask fuzz`: cargo-fuzz on a reader of untrusted bytes, with the nightly compiler it needs.

use xtask::run::run;

/// What `fuzz` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Target: a file's name in `crates/stream/fuzz/fuzz_targets`
    target: String,
    /// Seconds after which to stop; without it, the first crash or Ctrl-C ends the run
    #[arg(long)]
    seconds: Option<u32>,
}

/// Runs one fuzz target.
pub(crate) fn fuzz(args: &Args) -> anyhow::Result<()> {
    let limit = format!("-max_total_time={}", args.seconds.unwrap_or(0));
    let place = ["env", "--chdir=crates/stream"];
    let fuzz = ["cargo", "+nightly", "fuzz", "run", &args.target, "--", &limit];
    run(&[&place[..], &fuzz[..]].concat())
}
