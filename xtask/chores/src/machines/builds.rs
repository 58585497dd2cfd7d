//! What is built and checked in the builder's root: releases for every architecture, and a type check for macOS.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::roots::{BUILDER, Kept};
use crate::release::{self, Platform};
use xtask::run::{root, run};
use xtask::workspace::{Workspace, packages};

/// Starts a command (`$@`) in the root `$ROOT`, in the directory `$PLACE`, where the directories `$SHARED` and the network
/// are this machine's.
const ENTER: &str = r#"
    for dir in $SHARED; do mkdir -p "$ROOT$dir" && mount --rbind "$dir" "$ROOT$dir" || exit; done
    mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" && mount -t tmpfs none "$ROOT/tmp" || exit
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        touch "$ROOT$file" && mount --bind "$file" "$ROOT$file" || exit
    done
    exec unshare --root="$ROOT" --wd="$PLACE" -- "$@""#;

/// The programs for those who only move images, which need no Linux.
const MOVERS: &[&str] =
    &["pull", "push", "remote", "save", "load", "inspect", "commit", "flatten", "images"];
const MACOS: &str = "aarch64-apple-darwin";

/// The builder's root with all that a build needs.
pub(super) struct Builder {
    root: PathBuf,
    zig: PathBuf,
    /// Where cargo builds.
    pub(super) target: PathBuf,
}

impl Builder {
    /// Makes what isn't there yet.
    pub(super) fn prepare(kept: &Kept) -> anyhow::Result<Self> {
        let (root, zig) = (kept.debian(&BUILDER)?, kept.zig()?);
        Ok(Self { root, zig, target: kept.path("build") })
    }

    /// Packs for an architecture, by `cargo xtask dist` itself.
    pub(super) fn dist(&self, platform: &Platform) -> anyhow::Result<()> {
        let own = env::current_exe().context("the file of this chore")?.display().to_string();
        self.enter(&[&own, "dist", "--arch", platform.arch])
    }

    /// Type-checks what needs no Linux for macOS.
    pub(super) fn check_macos(&self) -> anyhow::Result<()> {
        let which = packages(MOVERS.iter().copied());
        let which: Vec<&str> = which.iter().map(String::as_str).collect();
        let check = ["cargo-zigbuild", "check", "--locked", release::LIBRARY, "--target", MACOS];
        self.enter(&[&["env", release::UNSTABLE], &check[..], &which].concat())
    }

    /// Starts a command in the root.
    fn enter(&self, words: &[&str]) -> anyhow::Result<()> {
        let place = root().display().to_string();
        let (own_target, cargo) = (Workspace::read()?.target, cargo_home()?);
        let shared = [place.clone(), own_target.display().to_string(), cargo.clone()].join(" ");
        let zig = self.zig.display();
        let set = [
            format!("PATH={zig}/bin:{zig}/ziglang:/usr/sbin:/usr/bin:/sbin:/bin"),
            format!("ROOT={}", self.root.display()),
            format!("SHARED={shared}"),
            format!("PLACE={place}"),
            format!("CARGO_HOME={cargo}"),
            format!("CARGO_TARGET_DIR={}", self.target.display()),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"];
        let line = [&["env", "-i", "HOME=/root"], &set[..], &alone, words].concat();
        // What was to be done in the root says more than the whole line.
        run(&line).map_err(|_| anyhow!("`{}` in {}", words.join(" "), self.root.display()))
    }
}

/// Where cargo keeps the packages that it has fetched.
fn cargo_home() -> anyhow::Result<String> {
    let usual = || Some(env::home_dir()?.join(".cargo"));
    let dir = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(usual);
    Ok(dir.context("no home directory: set CARGO_HOME")?.display().to_string())
}
