//! What is installed, and where below a prefix: `install`, `dist` and the Debian package go by this list.
//!
//! ```text
//! bin/strata                            the programs, all in one file
//! bin/pull -> strata …                  their own names
//! share/man/man1/… share/man/man7/…
//! share/bash-completion/completions/…   share/zsh/site-functions/…   share/fish/vendor_completions.d/…
//! ```

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::commands::COMMANDS;
use crate::docs;

/// The file that has all programs.
pub(crate) const PROGRAM: &str = "strata";

/// One file or link below a prefix.
#[derive(Debug)]
pub(crate) struct Item {
    /// Where it stands: `bin/pull`.
    pub(crate) place: PathBuf,
    /// What stands there.
    pub(crate) content: Content,
}

/// What an item is made of.
#[derive(Debug)]
pub(crate) enum Content {
    /// The bytes of a file, with mode 0755 in `bin` and 0644 elsewhere.
    File(PathBuf),
    /// A link to a neighbour.
    Link(&'static str),
}

impl Item {
    /// Puts the item below a prefix. A file that is there is replaced in one step, so that a program that runs goes on.
    pub(crate) fn put(&self, prefix: &Path) -> anyhow::Result<()> {
        let path = prefix.join(&self.place);
        let parent = path.parent().context("an item stands in a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        let made = self.make(parent).with_context(|| format!("writing {}", path.display()))?;
        fs::rename(made, &path).with_context(|| format!("writing {}", path.display()))
    }

    fn make(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let made = dir.join(format!(".strata-{}", std::process::id()));
        match &self.content {
            Content::File(source) => {
                fs::copy(source, &made)?;
                let mode = if self.place.starts_with("bin") { 0o755 } else { 0o644 };
                fs::set_permissions(&made, fs::Permissions::from_mode(mode))?;
            }
            Content::Link(target) => std::os::unix::fs::symlink(target, &made)?,
        }
        Ok(made)
    }
}

/// Generates the texts: with the program that was built, all that is to be installed.
pub(crate) fn with_program(program: PathBuf) -> anyhow::Result<Vec<Item>> {
    items(program, &docs::dir()?)
}

/// The places of everything, without a build.
pub(crate) fn places() -> anyhow::Result<Vec<PathBuf>> {
    let texts = tempfile::tempdir().context("making a directory")?;
    let items = items(PathBuf::new(), texts.path())?;
    Ok(items.into_iter().map(|item| item.place).collect())
}

fn items(program: PathBuf, texts: &Path) -> anyhow::Result<Vec<Item>> {
    let bin = |name: &str| Path::new("bin").join(name);
    let mut items = vec![Item { place: bin(PROGRAM), content: Content::File(program) }];
    let names = COMMANDS.iter().map(|(name, _)| *name).filter(|name| *name != PROGRAM);
    items.extend(names.map(|name| Item { place: bin(name), content: Content::Link(PROGRAM) }));
    docs::generate(COMMANDS, texts)?;
    for kind in ["man", "completions"] {
        for file in files(&texts.join(kind))? {
            let name = file.file_name().context("a file has a name")?;
            let dir = directory(&file).with_context(|| file.display().to_string())?;
            items.push(Item { place: Path::new(dir).join(name), content: Content::File(file) });
        }
    }
    Ok(items)
}

/// Where a generated text belongs, by what its name ends with.
fn directory(file: &Path) -> Option<&'static str> {
    Some(match file.extension().and_then(OsStr::to_str) {
        Some("1") => "share/man/man1",
        Some("7") => "share/man/man7",
        Some("bash") => "share/bash-completion/completions",
        Some("fish") => "share/fish/vendor_completions.d",
        // Zsh has the name `_pull` alone.
        None => "share/zsh/site-functions",
        Some(_) => return None,
    })
}

/// A directory that is there, with nothing in it.
pub(crate) fn emptied(dir: PathBuf) -> anyhow::Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// The files of a directory, in the order of their names.
pub(crate) fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort_unstable();
    Ok(files)
}
