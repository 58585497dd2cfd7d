//! `cargo xtask dist`: one tar with all that a packager or a user installs.
//!
//! ```text
//! strata-VERSION-linux-ARCH/
//!   bin/  share/man/man1/ share/man/man7/  share/completions/  LICENSE-*  README.md  CHANGELOG.md  SHA256SUMS
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::commands::COMMANDS;
use crate::docs;
use crate::run::{output, root, run, say};
use crate::workspace::{Workspace, packages};

const TEXTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"];

/// Builds for release and packs.
pub(crate) fn dist() -> anyhow::Result<()> {
    ensure!(!COMMANDS.is_empty(), "there is no command to pack");
    let workspace = Workspace::read()?;
    let name = format!("strata-{}-linux-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let dir = workspace.target.join("dist").join(&name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    build()?;
    fill(&dir, &workspace.target)?;
    checksums(&dir)?;
    let tar = pack(&dir, &name)?;
    say(&tar);
    Ok(())
}

fn build() -> anyhow::Result<()> {
    let mut line = vec!["cargo", "build", "--release", "--locked", "--bins"];
    let packages = packages(COMMANDS.iter().map(|(name, _)| *name));
    line.extend(packages.iter().map(String::as_str));
    run(&line)
}

fn fill(dir: &Path, target: &Path) -> anyhow::Result<()> {
    for (name, _) in COMMANDS {
        copy(&target.join("release").join(name), &dir.join("bin"))?;
    }
    let docs = docs::generate(COMMANDS)?;
    for page in files(&docs.join("man"))? {
        let section = page.extension().and_then(OsStr::to_str).context("a page's section")?;
        copy(&page, &dir.join("share/man").join(format!("man{section}")))?;
    }
    copy_all(&docs.join("completions"), &dir.join("share/completions"))?;
    TEXTS.iter().try_for_each(|text| copy(&root().join(text), dir))
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    files(from)?.iter().try_for_each(|file| copy(file, to))
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn copy(file: &Path, to: &Path) -> anyhow::Result<()> {
    let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    fs::copy(file, to.join(name)).with_context(|| format!("copying {}", file.display()))?;
    Ok(())
}

fn checksums(dir: &Path) -> anyhow::Result<()> {
    let place = format!("--chdir={}", dir.display());
    let script = "find . -type f | LC_ALL=C sort | xargs sha256sum";
    let sums = output(&["env", &place, "sh", "-c", script])?;
    fs::write(dir.join("SHA256SUMS"), sums).context("writing SHA256SUMS")
}

/// Packs the directory. The same files give the same bytes on every machine and at any time.
fn pack(dir: &Path, name: &str) -> anyhow::Result<String> {
    let parent = dir.parent().context("the target directory")?.display();
    let (tar, place) = (format!("{parent}/{name}.tar.gz"), format!("--directory={parent}"));
    let time = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned());
    let (file, time) = (format!("--file={tar}"), format!("--mtime=@{time}"));
    let owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
    let how = ["--create", "--sort=name", "--format=gnu", "--use-compress-program=gzip -9n"];
    run(&[&["tar"], &how[..], &owner[..], &[&file, &place, &time, name]].concat())?;
    Ok(tar)
}
