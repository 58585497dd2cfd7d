//! A user namespace, in which a plain user may mount.
//!
//! The process executes itself again in the namespace, so that everything after it is in one namespace and may have threads.
//! It is root there, and the only user: every other id of the image is shown as `nobody`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context as _;
use cli::Explain as _;
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;
use store::Store;

use crate::init;
use crate::status::OURS;

/// Executes the program again in a user namespace, if it needs one; then it doesn't return. Returns `None` if it needs none,
/// and after a failure, which it reports, the exit status. Where the program is the first process of a namespace, it does that
/// one's work and returns its exit status.
pub(crate) fn enter() -> Option<u8> {
    if let Some(status) = init::begin() {
        return Some(status);
    }
    if geteuid().is_root() || !is_for_a_command() {
        return None;
    }
    let error = start_over().err()?;
    cli::error::report("union", &error);
    Some(OURS)
}

/// Whether the union is mounted for a command, by the raw arguments: a namespace is entered before they are parsed, and a
/// command line that can't be parsed has an exit status as well.
pub(crate) fn is_for_a_command() -> bool {
    std::env::args_os().any(|argument| argument == "--")
}

/// Makes the namespace and executes the program in it; returns only if that fails.
fn start_over() -> anyhow::Result<std::convert::Infallible> {
    // Root's default store is another one. An option of the command line still comes first.
    let store = Store::path_or_usual(None)?;
    let uid = geteuid().as_raw();
    let gid = getegid().as_raw();
    #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
    rustix::thread::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
        .context("making a user namespace")
        .hint("run as root, or allow user namespaces: sysctl user.max_user_namespaces; in a chroot there are none")?;
    let write = |name: &str, text: String| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).with_context(|| format!("writing {path}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("union"));
    let error =
        Command::new("/proc/self/exe").arg0(name).args(arguments).env("STRATA_STORE", store).exec();
    Err(error).context("starting over in a user namespace")
}
