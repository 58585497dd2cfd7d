//! The release build: one static file for every Linux of an architecture, or a file for machines like this one.
//!
//! A static file is linked with musl. Its start files, its C library and the C compiler come with zig; Rust's standard
//! library is built from its source, because few distributions bring it for musl.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::needs::{Linking, Needs};
use crate::payload::{PROGRAM, files};
use xtask::run::{output, run, works};
use xtask::workspace::Workspace;

/// An architecture that releases are made for, by each of its names.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Platform {
    /// Rust's and the tar's.
    pub(crate) arch: &'static str,
    /// Debian's.
    pub(crate) debian: &'static str,
    /// qemu's.
    pub(crate) qemu: &'static str,
    /// The compiler's target.
    pub(crate) triple: &'static str,
}

/// Every architecture.
pub(crate) const PLATFORMS: &[Platform] = &[
    Platform {
        arch: "x86_64",
        debian: "amd64",
        qemu: "x86_64",
        triple: "x86_64-unknown-linux-musl",
    },
    Platform {
        arch: "aarch64",
        debian: "arm64",
        qemu: "aarch64",
        triple: "aarch64-unknown-linux-musl",
    },
    Platform { arch: "i686", debian: "i386", qemu: "i386", triple: "i686-unknown-linux-musl" },
    Platform { arch: "s390x", debian: "s390x", qemu: "s390x", triple: "s390x-unknown-linux-musl" },
];

/// Lets a stable compiler build its own library.
pub(crate) const UNSTABLE: &str = "RUSTC_BOOTSTRAP=1";
/// The parts of the library that are built.
pub(crate) const LIBRARY: &str = "-Zbuild-std=std,panic_abort";
/// A distribution's Rust has no start files for musl; zig has them.
pub(crate) const START_FILES: &str = "-C link-self-contained=no";
/// Below the compiler's directory, where its library's source is installed.
const SOURCES: &str = "lib/rustlib/src/rust";

/// Finds an architecture by its name.
pub(crate) fn platform(arch: &str) -> anyhow::Result<&'static Platform> {
    let named = PLATFORMS.iter().find(|platform| platform.arch == arch);
    let known = || PLATFORMS.iter().map(|platform| platform.arch).collect::<Vec<_>>().join(", ");
    named.with_context(|| format!("known are {}", known()))
}

/// The architecture of this machine.
pub(crate) fn own_platform() -> anyhow::Result<&'static Platform> {
    let arch = if cfg!(target_arch = "x86") { "i686" } else { std::env::consts::ARCH };
    platform(arch)
}

/// Builds for machines like this one, with its own C library.
pub(crate) fn build_here() -> anyhow::Result<PathBuf> {
    run(&["cargo", "build", "--release", "--locked", "--package", PROGRAM])?;
    Ok(Workspace::read()?.target.join("release").join(PROGRAM))
}

/// Builds one file for every Linux of an architecture, and checks that it needs nothing.
pub(crate) fn build_static(platform: &Platform) -> anyhow::Result<PathBuf> {
    if let Some(missing) = missing()? {
        bail!("a static build needs {missing}; `dist --dynamic` packs for machines like this one");
    }
    let what = ["--release", "--locked", "--package", PROGRAM, "--target", platform.triple];
    let flags = format!("RUSTFLAGS={START_FILES} {}", same_paths()?);
    let build = ["env", UNSTABLE, &flags, "cargo-zigbuild", "zigbuild", LIBRARY];
    run(&[&build[..], &what].concat())?;
    let program = built(&Workspace::read()?.target, platform);
    let checked = Needs::of(&program)?.check(Linking::Static);
    checked.with_context(|| program.display().to_string())?;
    Ok(program)
}

/// Flags that give sources the same names in the program, wherever cargo keeps packages and the compiler stands: messages of
/// panics have these names.
fn same_paths() -> anyhow::Result<String> {
    let compiler = PathBuf::from(output(&["rustc", "--print", "sysroot"])?.trim_end());
    let library = compiler.join(SOURCES);
    // Some distributions have a link there, which cargo follows.
    let linked = library.canonicalize().unwrap_or_else(|_| library.clone());
    let mut renamed = vec![(library, "/rust"), (linked, "/rust")];
    // One directory for each registry, and the packages in it: whoever has the lock's has the same ones.
    let packages = cargo_home()?.join("registry/src");
    run(&["cargo", "fetch", "--locked"])?;
    renamed.extend(files(&packages)?.into_iter().map(|registry| (registry, "/cargo")));
    let flags =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(flags.collect::<Vec<_>>().join(" "))
}

/// Where cargo keeps the packages that it has fetched.
fn cargo_home() -> anyhow::Result<PathBuf> {
    let usual = || Some(std::env::home_dir()?.join(".cargo"));
    let dir = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(usual);
    dir.context("no home directory: set CARGO_HOME")
}

/// Where a static build's program is, below the directory where cargo builds.
pub(crate) fn built(target: &Path, platform: &Platform) -> PathBuf {
    target.join(platform.triple).join("release").join(PROGRAM)
}

/// What this machine lacks for a static build, with the package that has it.
fn missing() -> anyhow::Result<Option<&'static str>> {
    let compiler = output(&["rustc", "--print", "sysroot"])?;
    let has_source = Path::new(compiler.trim_end()).join(SOURCES).join("library/std").is_dir();
    let has_zig = works(&["zig", "version"]) || works(&["python3", "-m", "ziglang", "version"]);
    Ok(if !has_source {
        Some(
            "the source of Rust's library (`rustup component add rust-src`, or the package rust-src)",
        )
    } else if !works(&["cargo-zigbuild", "--version"]) {
        Some("cargo-zigbuild (`pip install cargo-zigbuild`)")
    } else if !has_zig {
        Some("zig (`pip install ziglang`)")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_one_name_and_others_are_told() {
        assert_eq!(platform("aarch64").unwrap().debian, "arm64");
        let error = platform("arm64").unwrap_err().to_string();
        assert_eq!(error, "known are x86_64, aarch64, i686, s390x");
    }

    #[test]
    fn every_target_is_of_its_architecture_and_musl() {
        for platform in PLATFORMS {
            assert!(platform.triple.starts_with(platform.arch), "{platform:?}");
            assert!(platform.triple.ends_with("-linux-musl"), "{platform:?}");
        }
    }
}
