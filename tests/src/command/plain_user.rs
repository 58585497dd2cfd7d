//! Runs tests of one process once more without privileges.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::or_panic::OrPanic as _;

/// Who root becomes.
pub(crate) const NOBODY: u32 = 65534;

/// Runs one test of this executable again as a plain user, with a temporary directory of its own; takes root. `before` is
/// what to start it with, as `["unshare", "-r"]`.
///
/// # Panics
///
/// If the test fails, or can't be started.
pub fn run_as_plain_user(test: &str, before: &[&str]) {
    run_again(test, before, Some(NOBODY));
}

/// Runs one test of this executable again as this user, started by other words, as `["setpriv", "--bounding-set=-chown"]`.
///
/// # Panics
///
/// If the test fails, or can't be started.
pub fn run_with(test: &str, before: &[&str]) {
    run_again(test, before, None);
}

fn run_again(test: &str, before: &[&str], user: Option<u32>) {
    let dir = tempfile::tempdir().or_panic("making a directory");
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), everyone).or_panic("letting everyone in");
    let exe = dir.path().join("test");
    fs::copy(env::current_exe().or_panic("this executable"), &exe).or_panic("copying the test");
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).or_panic("making a directory");
    chown(&temporary, user, user).or_panic("giving it away");
    let mut words: Vec<_> = before.iter().map(std::ffi::OsString::from).collect();
    words.push(exe.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", test, "--nocapture"]);
    command.env("TMPDIR", &temporary).current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().or_panic("starting the test");
    let said = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && said.contains("1 passed");
    assert!(has_passed, "{before:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
}
