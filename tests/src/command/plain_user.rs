//! Tests that run in one process, once more as somebody without privileges.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::must::Must as _;

/// Who root becomes.
pub(crate) const NOBODY: u32 = 65534;

/// Runs one test of this executable again as a plain user, with a temporary directory of its own; takes root. `before` is
/// what to start it with, as `["unshare", "-r"]`.
///
/// # Panics
///
/// If the test fails, or can't be started.
pub fn run_as_plain_user(test: &str, before: &[&str]) {
    let dir = tempfile::tempdir().must("making a directory");
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), everyone).must("letting everyone in");
    let exe = dir.path().join("test");
    fs::copy(env::current_exe().must("this executable"), &exe).must("copying the test");
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).must("making a directory");
    chown(&temporary, Some(NOBODY), Some(NOBODY)).must("giving it away");
    let mut words: Vec<_> = before.iter().map(std::ffi::OsString::from).collect();
    words.push(exe.into());
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture"])
        .env("TMPDIR", &temporary)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .must("starting the test");
    let said = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && said.contains("1 passed");
    assert!(has_passed, "{said}{}", String::from_utf8_lossy(&output.stderr));
}
