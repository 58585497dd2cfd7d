//! `cargo xtask bench`: release builds and real images, beside other tools doing the same bytes in the same run.
//!
//! ```text
//! image.rs     the images, made once and kept under the target directory
//! ground.rs    the registry and the places of a run
//! measure.rs   one run: wall and CPU time of all its processes, peak memory of ours
//! stages.rs    what the stages cost by themselves, and the floor that follows
//! disk.rs      what a run has on the disk for a while
//! contest.rs   who runs against whom, in turns
//! registry.rs  the same for pull, unpack and push
//! offline.rs   the same for save, load and images
//! compress.rs  the same for commit
//! snapshot.rs  the same for snapshot
//! container.rs the same for snapshot and commit together, of a container's changes or a new tree
//! union.rs     the same for union and flatten
//! sync.rs      what it costs to be on the disk
//! latency.rs   small layers over a slow line
//! scale.rs     more and more files, and layers
//! relay.rs     the slow line
//! far.rs       a line of 500 Mbit/s and 100 ms, with the kernel's own connections
//! messages.rs  what it counts
//! report.rs    Markdown
//! ```
//!
//! Runs are interleaved, and what counts is ratios of one round's runs: seconds say more about the machine than about the
//! programs. Trees are made on tmpfs and removed after each run: what a disk does after a large removal then can't be
//! seen, and memory that a virtual machine touches for the first time, which costs more than any program, is touched in
//! the first round, which doesn't count.

mod compress;
mod container;
mod contest;
mod disk;
mod far;
mod ground;
mod image;
mod latency;
mod measure;
mod messages;
mod offline;
mod registry;
mod relay;
mod report;
mod scale;
mod snapshot;
mod stages;
mod sync;
mod union;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use xtask::run::{run, say};
use xtask::workspace::{Workspace, packages};

use contest::Contest;
use ground::Ground;
use image::{Kind, Prepared};
use latency::LATENCY;
use scale::SCALE;

/// Which of our programs run.
const PROGRAMS: [&str; 12] = [
    "pull", "push", "unpack", "snapshot", "commit", "save", "load", "images", "inspect", "union",
    "flatten", "remote",
];

/// What `--quick` runs: what people do most.
const QUICK: [&str; 7] =
    ["pull-unpack", "unpack", "known", "pull", "save-file", "load", "snapshot"];

/// What `bench` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which contests; without any all of an image's. `latency` and `scale` stand alone: tables of their own, with images of their own
    #[arg(value_parser = names())]
    name: Vec<String>,
    /// How many rounds count; one more warms up. Another tool that has taken 20 seconds sits the rest out
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// One round of what people do most, in about three minutes once the programs are built and the image is made: a look, no
    /// measurement
    #[arg(long, conflicts_with_all = ["write", "pairs", "name"])]
    quick: bool,
    /// Which image
    #[arg(long, value_enum, default_value = "debian")]
    image: Kind,
    /// Other tools are taken from DIR before those of the machine
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Programs of another build, which do the same jobs beside ours: what has a change brought?
    #[arg(long, value_name = "DIR", conflicts_with = "write")]
    beside: Option<PathBuf>,
    /// Put the table into docs/performance.md as well, with --peers beside the one without; not with single contests of an image
    #[arg(long)]
    write: bool,
}

fn names() -> Vec<&'static str> {
    [Contest::names(), vec![LATENCY, SCALE]].concat()
}

/// Measures, prints, and writes down.
pub(crate) fn bench(args: &Args) -> anyhow::Result<()> {
    let alone = args.name.iter().find(|name| [LATENCY, SCALE].contains(&name.as_str()));
    if let Some(name) = alone {
        ensure!(args.name.len() == 1, "{name} is a table of its own: name nothing else");
    }
    ensure!(
        !args.write || args.name.is_empty() || alone.is_some(),
        "--write takes the place of a whole table: leave NAME out"
    );
    let programs = packages(PROGRAMS.iter().copied());
    let programs = programs.iter().map(String::as_str);
    let build = ["cargo", "build", "--release", "--bins"].into_iter().chain(programs);
    run(&build.collect::<Vec<_>>())?;
    let target = Workspace::read()?.target;
    let peers = args.peers.as_deref().map(std::path::absolute).transpose()?;
    let (name, report) = match alone.map(String::as_str) {
        Some(SCALE) => (SCALE, scale::run(&target, peers.as_deref(), args.pairs)?),
        alone => {
            let kind = if alone.is_some() { Kind::Forty } else { args.image };
            let cache = target.join("bench");
            let prepared = image::prepare(kind, &cache).context("making the image")?;
            let ground = Ground::open(&target, &prepared, peers)?;
            match alone {
                Some(_) => (LATENCY, latency::run(&ground, &prepared, args.pairs)?),
                None => (kind.name(), contests(args, &prepared, &ground)?),
            }
        }
    };
    say(&report);
    if !args.write {
        return Ok(());
    }
    // A table beside other tools stands beside the one of the machine's.
    let name = if args.peers.is_some() { format!("{name}-peers") } else { name.to_owned() };
    report::write(&name, &report)
}

/// The contests that were asked for, and the stages they are made of.
fn contests(args: &Args, prepared: &Prepared, ground: &Ground) -> anyhow::Result<String> {
    let n_rounds = if args.quick { 1 } else { args.pairs };
    let stages = stages::measure(&stages::build()?, ground, prepared, n_rounds)?;
    let is_wanted = |name: &str| {
        if args.quick {
            QUICK.contains(&name)
        } else {
            args.name.is_empty() || args.name.iter().any(|it| it == name)
        }
    };
    let mut results = Vec::new();
    let beside = args.beside.as_deref().map(std::path::absolute).transpose()?;
    for contest in Contest::all(prepared.codec) {
        let contest = match &beside {
            Some(dir) => contest.beside(dir),
            None => contest,
        };
        if is_wanted(contest.name) {
            results.push(contest.run(ground, n_rounds)?);
        }
    }
    report::markdown((args.image, ground.peers()), prepared, &stages, &results)
}
