//! Runs the suite once more without privileges, which shows what root's run can't.
//!
//! Root copies the tests and the programs to a place that all users may enter, and runs them there as the user nobody. Tests whose
//! names begin with `as_root_` are left out by that name; `tests/peers` is, too, since most of its tools want root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::run::{self, is_root, root, run, say};
use crate::suite::{self, End, Test};

/// The user and the group.
const NOBODY: u32 = 65534;
/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the tests as a plain user. Whoever isn't root is one already: `cargo xtask test` did it.
///
/// # Errors
/// A test fails.
///
/// # Panics
/// Never: no worker does.
pub fn tests() -> anyhow::Result<()> {
    if !is_root()? {
        say("this is a plain user already");
        return Ok(());
    }
    run(&["cargo", "build", "--workspace", "--bins"])?;
    let listed = suite::list(run::command(&["cargo"]), &["--tests"])?;
    let place = Place::new()?;
    let tests: Vec<Test> = listed
        .into_iter()
        .filter(is_for_plain_users)
        .map(|test| place.moved(test))
        .collect::<anyhow::Result<_>>()?;
    ensure!(!tests.is_empty(), "no tests for a plain user");
    let failed = Mutex::new(vec![]);
    suite::at_once(tests.len(), suite::workers(), |at| {
        if let Some(why) = place.fails(&tests[at], at) {
            say(&format!("{why}: {}", tests[at]));
            failed.lock().expect("no worker panics").push(at);
        }
    });
    let n_failed = failed.into_inner().expect("no worker panics").len();
    say(&format!("{} passed, {n_failed} failed", tests.len() - n_failed));
    ensure!(n_failed == 0, "tests fail as a plain user");
    Ok(())
}

fn is_for_plain_users(test: &Test) -> bool {
    let name = test.name.rsplit("::").next().unwrap_or_default();
    !test.is_of_peers() && !name.starts_with("as_root_")
}

/// A directory that everybody may enter, with the tests and the programs.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("strata-plain-").tempdir().context("a directory")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(dir.path().join("debug/deps"))?;
        for entry in fs::read_dir(target().join("debug")).context("reading the programs")? {
            let path = entry?.path();
            let is_program = path.extension().is_none() && path.is_file();
            if is_program {
                copy(&path, &dir.path().join("debug"))?;
            }
        }
        Ok(Self { dir })
    }

    /// The same test, in the place.
    fn moved(&self, mut test: Test) -> anyhow::Result<Test> {
        test.executable = copy(&test.executable, &self.dir.path().join("debug/deps"))?;
        self.dir.path().clone_into(&mut test.directory);
        Ok(test)
    }

    /// Runs a test; what went wrong, with the end of what it said, if it did.
    fn fails(&self, test: &Test, at: usize) -> Option<String> {
        let temporary = self.dir.path().join(format!("tmp-{at}"));
        let log = self.dir.path().join(format!("log-{at}"));
        let prepared = fs::create_dir(&temporary)
            .and_then(|()| chown(&temporary, Some(NOBODY), Some(NOBODY)))
            .and_then(|()| fs::File::create(&log))
            .and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = match prepared {
            Ok(both) => both,
            Err(error) => return Some(format!("can't be run: {error}")),
        };
        let mut command = test.command();
        command.uid(NOBODY).gid(NOBODY).env("TMPDIR", &temporary).env("HOME", &temporary);
        command.env_remove("STRATA_REQUIRE_PEERS").stdout(out).stderr(err);
        let end = suite::run(command, LIMIT);
        let said = fs::read_to_string(&log).unwrap_or_default();
        // A test may leave directories that only root can enter.
        drop(fs::remove_dir_all(&temporary));
        match end {
            End::Passed => None,
            End::Failed => Some(format!("{said}\nFAILED")),
            End::Hung => Some(format!("{said}\nkilled after {} s", LIMIT.as_secs())),
        }
    }
}

/// Where cargo has built.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Links an executable into a directory, or copies it to another file system, unless it is there.
fn copy(from: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
    let to = dir.join(from.file_name().context("a file without a name")?);
    if !to.exists() && fs::hard_link(from, &to).is_err() {
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(to)
}
