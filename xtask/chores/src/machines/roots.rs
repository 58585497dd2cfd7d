//! Roots of other Debians, and the tools that Debian lacks: made once, and kept under target/machines.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use xtask::run::{run, works};
use xtask::workspace::Workspace;

/// A root that mmdebstrap makes.
pub(super) struct Debian {
    /// What it's called here.
    pub(super) name: &'static str,
    suite: &'static str,
    variant: &'static str,
    packages: &'static str,
}

/// A package that every root has.
const SMALLEST: &str = "base-files";

/// Roots in which the programs run.
pub(super) const DEBIANS: &[Debian] = &[
    Debian { name: "debian-11", suite: "bullseye", variant: "minbase", packages: SMALLEST },
    Debian { name: "debian-12", suite: "bookworm", variant: "minbase", packages: SMALLEST },
    Debian { name: "debian-13", suite: "trixie", variant: "minbase", packages: SMALLEST },
    Debian { name: "debian-sid", suite: "sid", variant: "minbase", packages: SMALLEST },
];
/// A Rust that Debian 12 keeps up to date for browsers, with the source of its library. It is started from here: nothing is
/// configured.
pub(super) const COMPILER: Debian = Debian {
    name: "compiler",
    suite: "bookworm",
    variant: "extract",
    packages: "rustc-web,rust-web-src",
};
/// Emulators of other architectures; they are static.
pub(super) const EMULATORS: Debian = Debian {
    name: "emulators",
    suite: "bookworm",
    variant: "extract",
    packages: "qemu-user-static",
};

/// What pip installs: a C compiler and linker for every target, and what makes cargo use it.
const PYTHON_PACKAGES: &[&str] = &["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

/// What is kept, and where.
#[derive(Debug)]
pub(super) struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// The directory, made if need be.
    pub(super) fn open() -> anyhow::Result<Self> {
        let dir = Workspace::read()?.target.join("machines");
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A root. What a mirror of the past has is as good as new.
    pub(super) fn debian(&self, debian: &Debian) -> anyhow::Result<PathBuf> {
        self.once(debian.name, |part| {
            ensure!(
                works(&["mmdebstrap", "--version"]),
                "no mmdebstrap: the package of this name has it"
            );
            let (variant, include) =
                (format!("--variant={}", debian.variant), format!("--include={}", debian.packages));
            let how = ["--aptopt=Acquire::Check-Valid-Until \"false\"", &variant, &include];
            // What it mounts is gone with it, however it ends.
            let alone = ["unshare", "--mount", "--propagation", "private", "mmdebstrap"];
            run(&[&alone, &how[..], &[debian.suite, part]].concat())
        })
    }

    /// Zig, and cargo's way to it: `bin` and `ziglang` in it are for PATH.
    pub(super) fn zig(&self) -> anyhow::Result<PathBuf> {
        self.once("zig", |part| {
            let install = ["python3", "-m", "pip", "install", "--quiet", "--target", part];
            run(&[&install[..], PYTHON_PACKAGES].concat())
        })
    }

    /// A directory that is filled once; an end in between leaves nothing that could be taken for it.
    fn once(
        &self,
        name: &str,
        fill: impl FnOnce(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let dir = self.path(name);
        if !dir.is_dir() {
            let part = self.path(&format!("{name}.part"));
            if part.exists() {
                fs::remove_dir_all(&part)
                    .with_context(|| format!("removing {}", part.display()))?;
            }
            fill(&part.display().to_string()).with_context(|| format!("making {name}"))?;
            fs::rename(&part, &dir).with_context(|| dir.display().to_string())?;
        }
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn what_was_made_by_half_is_made_again_and_what_is_whole_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept { dir: dir.path().to_owned() };
        let half = kept.once("thing", |part| {
            fs::create_dir(part)?;
            fs::write(format!("{part}/half"), "")?;
            bail!("no network")
        });
        assert_eq!(format!("{:#}", half.unwrap_err()), "making thing: no network");
        let whole = kept.once("thing", |part| Ok(fs::create_dir(part)?)).unwrap();
        assert_eq!(fs::read_dir(&whole).unwrap().count(), 0);
        assert_eq!(kept.once("thing", |_| bail!("not again")).unwrap(), whole);
    }
}
