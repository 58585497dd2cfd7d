//! `cargo xtask machines`: what is slow to try, on machines that aren't this one. A line for each says what held.
//!
//! ```text
//! roots.rs       roots of other Debians, the compiler, and what else is made once, under target/machines
//! builds.rs      releases for every architecture, and the type check for macOS, by a Rust of Debian and by zig
//! place.rs       how a program is started in a root or by an emulator
//! registries.rs  two registries and the name server (names.rs) that the programs speak to
//! scenario.rs    what is done everywhere, and the digest of what each step made
//! lab.rs         the scenario natively, the reference, and beside it on the other machines
//! ```
//!
//! It takes root, for roots and mounts. What fails is told at the end, when everything else has been tried.

mod builds;
mod lab;
mod names;
mod place;
mod registries;
mod roots;
mod scenario;

use std::time::Instant;

use anyhow::{anyhow, ensure};
use clap::builder::PossibleValuesParser;
use kit::image::random::Times;

use builds::Effort;
use lab::Lab;
use roots::DEBIANS;
use xtask::run::{is_root, run, say, works};

/// What `machines` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only these [default: all]
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(MACHINES.iter().map(|(name, _)| *name)))]
    names: Vec<String>,
    /// Build programs to try, without optimising, instead of packing releases
    #[arg(long)]
    quick: bool,
}

/// A machine, or what else is slow to check: its name, and what tries it and tells what held.
type Machine = (&'static str, fn(&Lab) -> anyhow::Result<String>);

/// Lines of /etc/nsswitch.conf by which a static glibc loads modules of another one.
const FEDORA: &str = "hosts: files myhostname resolve [!UNAVAIL=return] dns\n";
const UBUNTU: &str = "hosts: files mdns4_minimal [NOTFOUND=return] dns mymachines\n";

/// Everything that can be tried, the cheap first.
const MACHINES: &[Machine] = &[
    ("native", Lab::native),
    ("empty", |lab| lab.bare("empty", None)),
    ("no-names", Lab::without_names),
    ("fedora-names", |lab| lab.bare("fedora-names", Some(FEDORA))),
    ("ubuntu-names", |lab| lab.bare("ubuntu-names", Some(UBUNTU))),
    ("debian-11", |lab| lab.debian(&DEBIANS[0])),
    ("debian-12", |lab| lab.debian(&DEBIANS[1])),
    ("debian-13", |lab| lab.debian(&DEBIANS[2])),
    ("debian-sid", |lab| lab.debian(&DEBIANS[3])),
    ("arm64", |lab| lab.other("aarch64", Times::Odd)),
    ("i386", |lab| lab.other("i686", Times::Odd)),
    // qemu's fstat tells no fractions of seconds there.
    ("s390x", |lab| lab.other("s390x", Times::Whole)),
    ("macos", Lab::macos),
    ("arm64-check", |lab| lab.arch_check("aarch64")),
    ("rust-version", |_| oldest_compiler()),
    ("apptainer", |_| apptainer()),
];

/// Those that CI has the time for. What both of them need of this machine's is built once.
const IN_CI: &[&str] = &["macos", "arm64-check"];

/// Tries the machines that are named, or all.
pub(crate) fn machines(args: &Args) -> anyhow::Result<()> {
    ensure!(is_root()?, "it makes roots and mounts, for which it must be root");
    let effort = if args.quick { Effort::Quick } else { Effort::Release };
    try_all(&Lab::open(effort)?, |name| {
        args.names.is_empty() || args.names.iter().any(|it| it == name)
    })
}

/// Tries what CI has the time for. Where the tools can't be had, it says so, which is a failure if CI requires them.
pub(crate) fn in_ci() -> anyhow::Result<()> {
    let lab = Lab::open(Effort::Quick)?;
    let has_tools = if is_root()? { lab.prepare() } else { Err(anyhow!("it takes root")) };
    match has_tools {
        Ok(()) => try_all(&lab, |name| IN_CI.contains(&name)),
        Err(error) if kit::peers::are_required() => Err(error),
        Err(error) => {
            say(&format!("skipped: {error:#}"));
            Ok(())
        }
    }
}

fn try_all(lab: &Lab, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, held) in MACHINES.iter().filter(|(name, _)| is_wanted(name)) {
        let begun = Instant::now();
        let text = held(lab).unwrap_or_else(|error| {
            failed.push(*name);
            format!("FAILED: {error:#}")
        });
        say(&format!("=== {name}: {text} ({:.1} s)", begun.elapsed().as_secs_f64()));
    }
    ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
    Ok(())
}

/// The oldest compiler that is promised, where rustup has it.
fn oldest_compiler() -> anyhow::Result<String> {
    let version = concat!("+", env!("CARGO_PKG_RUST_VERSION"));
    if !works(&["env", "RUSTUP_AUTO_INSTALL=0", "cargo", version, "--version"]) {
        return Ok(format!(
            "not tried: no `cargo {version}` here, and no package of Debian has it"
        ));
    }
    let check = ["cargo", version, "check", "--locked", "--workspace", "--all-targets"];
    run(&check)?;
    Ok(format!("`{}`", check.join(" ")))
}

/// The tests of other programs that need a root of another Debian.
fn apptainer() -> anyhow::Result<String> {
    let test = ["cargo", "xtask", "test", "-E", "test(/::machines_/)"];
    run(&[&["env", "STRATA_MACHINES=1", "STRATA_REQUIRE_PEERS=1"], &test[..]].concat())?;
    Ok("the tests `machines_` passed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ci_tries_is_among_the_machines() {
        for name in IN_CI {
            assert!(MACHINES.iter().any(|(machine, _)| machine == name), "{name}");
        }
    }
}
