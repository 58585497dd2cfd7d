//! Which test of the copy reaches which mutant, and which of them fails with it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::copy::{ACTIVE, Copy, RECORD};
use xtask::run;
use xtask::suite::{self, End, Test};

/// A test, with what the recording run has found.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    test: Test,
    /// How long it takes where nothing is wrong.
    usual: Duration,
    /// A byte for each mutant: whether the test reaches it.
    reached: Vec<u8>,
    /// How many it reaches.
    n_reached: u32,
}

impl Recorded {
    /// What it costs to learn something by it: the more mutants a test reaches, the less it is about this one.
    fn cost(&self) -> Duration {
        self.usual.saturating_mul(self.n_reached)
    }
}

/// Where a mutant stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) package: &'a str,
}

/// How often each test has caught a mutant of a file. What has caught one often catches its neighbours.
pub(super) type Catches = Mutex<BTreeMap<(String, String), usize>>;

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.test.fmt(f)
    }
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// This test failed, or hung.
    Caught(Test),
    /// Tests reach it, and all of them pass.
    Survived,
    /// No test reaches it.
    Unreached,
}

/// Builds the copy's programs and tests.
pub(super) fn build(copy: &Copy) -> anyhow::Result<Vec<Test>> {
    let mut build = copy.cargo();
    let built =
        build.args(["build", "--workspace", "--bins"]).status().context("starting cargo")?;
    ensure!(built.success(), "the copy doesn't build");
    suite::list(copy.cargo(), &["--tests"])
}

/// Runs each test once to see which of so many mutants it reaches.
pub(super) fn record(tests: &[Test], n_mutants: usize) -> Vec<Recorded> {
    let recorded = Mutex::new(vec![]);
    suite::at_once(tests.len(), suite::workers(), |at| {
        match record_one(&tests[at], at, n_mutants) {
            Ok(Some(test)) => recorded.lock().expect("no worker panics").push(test),
            Ok(None) => run::say(&format!("fails without a mutant, left out: {}", tests[at])),
            Err(error) => run::say(&format!("not recorded: {}: {error}", tests[at])),
        }
    });
    recorded.into_inner().expect("no worker panics")
}

fn record_one(test: &Test, at: usize, size: usize) -> std::io::Result<Option<Recorded>> {
    let file = scratch(at);
    fs::write(&file, vec![0; size])?;
    // Some tests run their programs as another user.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    let mut command = test.command();
    command.env(RECORD, &file);
    let begin = Instant::now();
    let end = suite::run(command, Duration::from_secs(300));
    let usual = begin.elapsed();
    let reached = fs::read(&file)?;
    fs::remove_file(&file)?;
    let n_reached = reached.iter().map(|&byte| u32::from(byte != 0)).sum();
    Ok((end == End::Passed).then(|| Recorded { test: test.clone(), usual, reached, n_reached }))
}

/// Tries mutants, several at once, and tells each one's fate as it is known.
pub(super) fn judge(
    tests: &[Recorded],
    copy: &Copy,
    chosen: &[usize],
    told: impl Fn(usize, Fate) + Sync,
) {
    let catches = Catches::default();
    suite::at_once(chosen.len(), 2 * suite::workers(), |at| {
        let number = chosen[at];
        let mutant = &copy.mutants[number];
        told(
            number,
            fate(tests, number, Place { file: &mutant.file, package: mutant.package() }, &catches),
        );
        if let Err(error) = restore_devices() {
            run::say(&format!("a device that a mutant took away is not restored: {error:#}"));
        }
    });
}

/// Makes anew what a mutant has put a file in the place of: as root, whoever takes `-o /dev/null` for a file renames one over it.
fn restore_devices() -> anyhow::Result<()> {
    for (path, minor) in [("/dev/null", "3"), ("/dev/full", "7")] {
        if fs::metadata(path).is_ok_and(|it| it.file_type().is_char_device()) {
            continue;
        }
        run::say(&format!("a mutant has replaced {path}"));
        fs::remove_file(path).ok();
        run::output(&["mknod", "-m", "666", path, "c", "1", minor])?;
    }
    Ok(())
}

/// Runs the tests that reach a mutant until one fails: first those that caught others of its file, then those of its own
/// package, the quick and special ones first.
pub(super) fn fate(tests: &[Recorded], number: usize, place: Place<'_>, catches: &Catches) -> Fate {
    let key = |each: &Recorded| (place.file.to_owned(), each.to_string());
    let reaches = |test: &&Recorded| test.reached.get(number).is_some_and(|&byte| byte != 0);
    let mut reaching: Vec<_> = tests.iter().filter(reaches).collect();
    {
        let catches = catches.lock().expect("no worker panics");
        reaching.sort_by_cached_key(|each| {
            let n_caught = catches.get(&key(each)).copied().unwrap_or(0);
            (Reverse(n_caught), each.test.package != place.package, each.cost())
        });
    }
    let fails = |each: &&&Recorded| {
        let mut command = each.test.command();
        command.env(ACTIVE, number.to_string());
        suite::run(command, each.usual * 5 + Duration::from_secs(20)) != End::Passed
    };
    match reaching.iter().find(fails) {
        Some(each) => {
            *catches.lock().expect("no worker panics").entry(key(each)).or_default() += 1;
            Fate::Caught(each.test.clone())
        }
        None if reaching.is_empty() => Fate::Unreached,
        None => Fate::Survived,
    }
}

fn scratch(at: usize) -> PathBuf {
    std::env::temp_dir().join(format!("strata-mutants-{}-{at}", std::process::id()))
}
