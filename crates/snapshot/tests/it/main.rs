//! Snapshots of real trees, written and applied again.

#![cfg(test)]

mod cases;
mod properties;
mod restricted;
mod steps;

use std::fs;
use std::path::Path;

use clap::Parser as _;
use kit::tree::{self, Show};
use layer_format::layer::Reader;
use rootfs::{Applier, Options, Owner, Root, SpecialBits, SymlinkedDirs};

/// Whether this is the machine's root, with every capability that files know of.
fn is_root() -> bool {
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SYS_ADMIN, MKNOD, SETFCAP.
    let needed = [0, 1, 3, 4, 21, 27, 31].iter().fold(0_u64, |all, bit| all | 1 << bit);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let effective = u64::from_str_radix(effective, 16).unwrap();
    is_uid_0() && effective & needed == needed && is_first_namespace()
}

fn is_uid_0() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t")
}

fn is_first_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]
}

/// A directory in memory where there is such a thing.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn try_snapshot(dir: &Path, base: &str, words: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut io = cli::Io::memory("");
    let dir = dir.to_str().unwrap();
    let args = ["snapshot", dir, "--base", base, "--store", "/nowhere/store"];
    let args = snapshot::Args::parse_from(args.iter().chain(words));
    snapshot::run(&args, &mut io)?;
    Ok(io.written())
}

fn snapshot(dir: &Path, base: &str, words: &[&str]) -> Vec<u8> {
    try_snapshot(dir, base, words).unwrap_or_else(|error| panic!("{error:?}"))
}

fn apply(dir: &Path, layers: &[&[u8]]) {
    let options = Options {
        owner: Owner::Keep,
        special_bits: SpecialBits::WithOwner,
        symlinked_dirs: SymlinkedDirs::Replace,
        reserved: None,
    };
    let mut applier = Applier::new(Root::open(dir).unwrap(), options).unwrap();
    for layer in layers {
        applier.begin_layer();
        let mut reader = Reader::new(*layer);
        while let Some(change) = reader.read_change().unwrap() {
            applier.apply(&change, &mut reader).unwrap();
        }
        applier.end_layer().unwrap();
    }
    applier.finish().unwrap();
}

fn show(dir: &Path) -> String {
    tree::show_with(dir, Show::ALL)
}
