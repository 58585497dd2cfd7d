//! The tests of a workspace one by one, each in a process of its own, for chores that run them in their own way.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// The package whose test it is.
    pub package: String,
    /// The executable that holds it.
    pub executable: PathBuf,
    /// The package's directory, where it runs.
    pub directory: PathBuf,
    /// Its name within the executable.
    pub name: String,
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.package, self.name)
    }
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It passed.
    Passed,
    /// It failed, or could not be started.
    Failed,
    /// It was killed after its time.
    Hung,
}

/// Builds tests with a cargo command of the caller's making, and lists those of all packages but xtask. `targets` says
/// which, in cargo's words: `--tests` for all.
///
/// # Errors
///
/// If they don't build.
pub fn list(mut cargo: Command, targets: &[&str]) -> anyhow::Result<Vec<Test>> {
    // With fewer packages than `cargo build --workspace` has, dependencies are built anew with fewer features.
    cargo.args(["test", "--workspace", "--no-run"]);
    cargo.args(targets).arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("starting cargo")?;
    ensure!(output.status.success(), "the tests don't build");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tests = vec![];
    for message in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let found = (message["executable"].as_str(), message["manifest_path"].as_str());
        let (Some(executable), Some(manifest)) = found else { continue };
        let directory = Path::new(manifest).parent().context("a manifest without a directory")?;
        if directory.ends_with("xtask") || directory.ends_with("chores") {
            continue;
        }
        tests.extend(list_one(Path::new(executable), directory)?);
    }
    Ok(tests)
}

fn list_one(executable: &Path, directory: &Path) -> anyhow::Result<Vec<Test>> {
    let listed = Command::new(executable).args(["--list", "--format", "terse"]).output();
    let listed = listed.with_context(|| format!("listing {}", executable.display()))?.stdout;
    let package = directory.file_name().unwrap_or_default().to_string_lossy();
    let test = |name: &str| Test {
        package: package.clone().into_owned(),
        executable: executable.to_owned(),
        directory: directory.to_owned(),
        name: name.to_owned(),
    };
    let text = String::from_utf8_lossy(&listed);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(test).collect())
}

impl Test {
    /// Whether it is one of `tests/peers`, which other people's tools take part in.
    pub fn is_of_peers(&self) -> bool {
        let name = self.executable.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("peers-")
    }

    /// The command that runs it, with no input; it leads a process group. Signals do what they do by themselves, whatever the
    /// chore was told to ignore (nohup, a shell's `&`).
    pub fn command(&self) -> Command {
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,QUIT,TERM,PIPE").arg(&self.executable);
        command.args(["--exact", &self.name]).current_dir(&self.directory);
        command.env("CARGO_MANIFEST_DIR", &self.directory).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Runs a test's command; after the time it is killed, with everything that it started in its group.
pub fn run(mut command: Command, limit: Duration) -> End {
    let Ok(mut child) = command.spawn() else { return End::Failed };
    let begin = Instant::now();
    while begin.elapsed() < limit {
        match child.try_wait() {
            Ok(Some(status)) => return if status.success() { End::Passed } else { End::Failed },
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    // Nothing more can be done about a process that doesn't end by this.
    drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status());
    drop(child.wait());
    End::Hung
}

/// How many tests run at once. They wait more than they work: for syncs, for servers that are slow on purpose, for bars.
pub fn workers() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Does `n` jobs, each of which runs tests, so many at once.
pub fn at_once(n: usize, n_workers: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..n_workers {
            scope.spawn(|| {
                let claim = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < n);
                while let Some(at) = claim() {
                    job(at);
                }
            });
        }
    });
}
