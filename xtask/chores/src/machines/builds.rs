//! What is built and checked by a Rust of Debian and by zig: releases for every architecture, and a type check for macOS.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::roots::{COMPILER, Kept};
use crate::needs::{Linking, Needs};
use crate::payload::PROGRAM;
use crate::release::{self, Platform};
use xtask::run::run;
use xtask::workspace::packages;

/// The programs for those who only move images, which need no Linux.
const MOVERS: &[&str] =
    &["pull", "push", "remote", "save", "load", "inspect", "commit", "flatten", "images"];
const MACOS: &str = "aarch64-apple-darwin";

/// What is built to be tried, and not to be packed, is soon built. An emulator is slow enough with a compressor that is
/// optimised.
const QUICK: &[&str] = &["--config", "profile.dev.package.zstd-sys.opt-level=3"];

/// How a program is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effort {
    /// As `cargo xtask dist` packs it.
    Release,
    /// Without optimising.
    Quick,
}

/// The compiler with all that a build needs.
pub(super) struct Builder {
    /// Where programs are looked for: this compiler, cargo-zigbuild and zig come first.
    search: String,
    rustc: PathBuf,
    cache: PathBuf,
    /// Where cargo builds.
    target: PathBuf,
}

impl Builder {
    /// Makes what isn't there yet.
    pub(super) fn prepare(kept: &Kept) -> anyhow::Result<Self> {
        let (root, zig) = (kept.debian(&COMPILER)?, kept.zig()?);
        let bin = kept.path("bin");
        let rustc = bin.join("rustc");
        write_starter(&rustc, &root).with_context(|| rustc.display().to_string())?;
        let mut dirs = vec![bin, zig.join("bin"), zig.join("ziglang")];
        dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let search = env::join_paths(dirs).context("a path with a colon in it")?;
        let search = search.into_string().map_err(|_| anyhow!("PATH is no text"))?;
        Ok(Self { search, rustc, cache: kept.path("cache"), target: kept.path("build") })
    }

    /// Builds the program for an architecture: by `cargo xtask dist` itself, or quickly.
    pub(super) fn program(&self, platform: &Platform, effort: Effort) -> anyhow::Result<PathBuf> {
        if effort == Effort::Release {
            let own = env::current_exe().context("the file of this chore")?.display().to_string();
            self.run(&[&own, "dist", "--arch", platform.arch])?;
            return Ok(release::built(&self.target, platform));
        }
        let what = ["--locked", "--package", PROGRAM, "--target", platform.triple];
        let flags = format!("RUSTFLAGS={}", release::START_FILES);
        let settings = ["env", release::UNSTABLE, &flags, "CARGO_PROFILE_DEV_DEBUG=none"];
        let build = ["cargo-zigbuild", "zigbuild", release::LIBRARY];
        self.run(&[&settings[..], &build, QUICK, &what].concat())?;
        let program = self.target.join(platform.triple).join("debug").join(PROGRAM);
        let checked = Needs::of(&program)?.check(Linking::Static);
        checked.with_context(|| program.display().to_string())?;
        Ok(program)
    }

    /// Type-checks what needs no Linux for macOS.
    pub(super) fn check_macos(&self) -> anyhow::Result<()> {
        let which = packages(MOVERS.iter().copied());
        self.check(MACOS, &which.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Type-checks all programs for an architecture.
    pub(super) fn check_linux(&self, platform: &Platform) -> anyhow::Result<()> {
        self.check(platform.triple, &["--package", PROGRAM])
    }

    fn check(&self, target: &str, which: &[&str]) -> anyhow::Result<()> {
        let check = ["cargo-zigbuild", "check", "--locked", release::LIBRARY, "--target", target];
        self.run(&[&["env", release::UNSTABLE], &check[..], which].concat())
    }

    /// Starts a command for which Rust is this compiler.
    fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        let set = [
            format!("PATH={}", self.search),
            format!("RUSTC={}", self.rustc.display()),
            format!("XDG_CACHE_HOME={}", self.cache.display()),
            format!("CARGO_TARGET_DIR={}", self.target.display()),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        // What was to be done says more than the whole line.
        run(&[&["env"], &set[..], words].concat()).map_err(|_| anyhow!("`{}`", words.join(" ")))
    }
}

/// Writes a script that starts the compiler of a root, with the libraries that stand beside it and no others.
fn write_starter(script: &Path, root: &Path) -> anyhow::Result<()> {
    let libraries = root.join("lib/x86_64-linux-gnu");
    let loader = libraries.join("ld-linux-x86-64.so.2");
    let more = root.join("usr/lib/x86_64-linux-gnu");
    let text = format!(
        "#!/bin/sh\nexec '{}' --library-path '{}:{}' '{}' \"$@\"\n",
        loader.display(),
        libraries.display(),
        more.display(),
        root.join("usr/bin/rustc").display(),
    );
    fs::create_dir_all(script.parent().context("a script stands in a directory")?)?;
    fs::write(script, text)?;
    Ok(fs::set_permissions(script, fs::Permissions::from_mode(0o755))?)
}
