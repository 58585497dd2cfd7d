//! `cargo xtask install`: builds for release and installs below a prefix; `--uninstall` takes just that away again.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::payload::{self, Content, Item, PROGRAM};
use crate::release;
use xtask::run::say;

/// What `install` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where to: bin/, share/man/ and the places of completions come below it [default: /usr/local as root, else
    /// ~/.local]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Remove what an installation has put there, and nothing else
    #[arg(long)]
    uninstall: bool,
}

/// Installs, or takes it away.
pub(crate) fn install(args: &Args) -> anyhow::Result<()> {
    let prefix = match &args.prefix {
        Some(prefix) => std::path::absolute(prefix).context("the prefix")?,
        None => usual_prefix()?,
    };
    if args.uninstall { uninstall(&prefix) } else { build(&prefix) }
}

fn build(prefix: &Path) -> anyhow::Result<()> {
    put(&payload::with_program(release::build_here()?)?, prefix)
}

fn usual_prefix() -> anyhow::Result<PathBuf> {
    // A process owns its directory there.
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Ok(PathBuf::from("/usr/local"));
    }
    let home = env::home_dir().context("no home directory: give --prefix")?;
    Ok(home.join(".local"))
}

/// Puts everything in its place, unless somebody else's file stands in one.
fn put(items: &[Item], prefix: &Path) -> anyhow::Result<()> {
    if let Some(strange) =
        items.iter().map(|item| prefix.join(&item.place)).find(|path| is_strange(path))
    {
        bail!("{} is there and not ours: remove it, or give another --prefix", strange.display());
    }
    items.iter().try_for_each(|item| item.put(prefix))?;
    let bin = prefix.join("bin");
    say(&format!("installed {} files below {}", items.len(), prefix.display()));
    let path = env::var_os("PATH").unwrap_or_default();
    for item in items.iter().filter(|item| matches!(item.content, Content::Link(_))) {
        let name = item.place.file_name().context("a link has a name")?;
        match env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists()) {
            Some(first) if first != bin.join(name) => say(&format!(
                "{}: PATH has another one first, {}; `strata {0}` is ours",
                name.display(),
                first.display()
            )),
            _ => {}
        }
    }
    if !env::split_paths(&path).any(|dir| dir == bin) {
        say(&format!("PATH lacks {0}: export PATH={0}:$PATH", bin.display()));
    }
    say(&format!("to remove it: cargo xtask install --uninstall --prefix {}", prefix.display()));
    Ok(())
}

/// Removes what is ours. What isn't there is no error, so that a half of an installation goes too.
fn uninstall(prefix: &Path) -> anyhow::Result<()> {
    let mut n_removed = 0;
    for place in payload::places()? {
        let path = prefix.join(place);
        if is_strange(&path) {
            say(&format!("left: {} is not ours", path.display()));
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => n_removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
        }
    }
    say(&format!("removed {n_removed} files below {}", prefix.display()));
    Ok(())
}

/// Whether something stands there that no installation of ours made: a program that isn't a link to `strata`, or a
/// directory. A text of the same name can only be that of such a program.
fn is_strange(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let is_program = path.parent().is_some_and(|parent| parent.ends_with("bin"));
    if found.is_dir() {
        return true;
    }
    is_program
        && !path.ends_with(PROGRAM)
        && !fs::read_link(path).is_ok_and(|target| target == Path::new(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(dir: &Path) -> Vec<Item> {
        let program = dir.join("built");
        fs::write(&program, "program").unwrap();
        let item = |place: &str, content| Item { place: PathBuf::from(place), content };
        vec![
            item("bin/strata", Content::File(program.clone())),
            item("bin/pull", Content::Link(PROGRAM)),
            item("share/man/man1/pull.1", Content::File(program)),
        ]
    }

    #[test]
    fn what_is_there_is_replaced_if_it_is_ours_and_else_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let items = items(dir.path());
        let prefix = dir.path().join("prefix");
        put(&items, &prefix).unwrap();
        put(&items, &prefix).unwrap();
        assert_eq!(fs::read_to_string(prefix.join("bin/pull")).unwrap(), "program");
        let names: Vec<_> = payload::files(&prefix.join("bin")).unwrap();
        assert_eq!(names, [prefix.join("bin/pull"), prefix.join("bin/strata")]);

        let other = dir.path().join("other");
        fs::create_dir_all(other.join("bin")).unwrap();
        fs::write(other.join("bin/pull"), "mine").unwrap();
        let error = put(&items, &other).unwrap_err();
        assert!(error.to_string().contains("bin/pull is there and not ours"), "{error}");
        assert_eq!(fs::read_to_string(other.join("bin/pull")).unwrap(), "mine");
        assert!(!other.join("bin/strata").exists());
        uninstall(&other).unwrap();
        assert_eq!(fs::read_to_string(other.join("bin/pull")).unwrap(), "mine");
    }

    #[test]
    fn uninstalling_leaves_nothing_but_directories() {
        let dir = tempfile::tempdir().unwrap();
        let file = xtask::run::root().join("Cargo.toml");
        for item in payload::places().unwrap() {
            let content = if item.starts_with("bin") && !item.ends_with(PROGRAM) {
                Content::Link(PROGRAM)
            } else {
                Content::File(file.clone())
            };
            Item { place: item, content }.put(dir.path()).unwrap();
        }
        uninstall(dir.path()).unwrap();
        let mut dirs = vec![dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                assert!(path.is_dir(), "{}", path.display());
                dirs.push(path);
            }
        }
    }
}
