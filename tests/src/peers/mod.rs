//! Other people's tools, as they are installed here.
//!
//! A tool that is missing, or that wants root, skips its test with one line on stderr; with
//! `STRATA_REQUIRE_PEERS=1` it fails the test. Daemons get their own data, sockets and ports in a
//! temporary directory, need no network, and end by their process id when dropped.
//!
//! [`prepare`] makes a sandbox's home such that skopeo, podman and the rest trust everything and
//! speak plain HTTP to the hosts given, so scripts need no flags for that.

pub mod containerd;
pub mod docker;
pub mod docker_registry;
pub mod nginx;
pub mod podman;
pub mod sshd;
pub mod tokens;

mod certificates;
mod daemon;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::command::Sandbox;
use crate::command::program::Program;
use crate::or_panic::OrPanic as _;

/// Where tools are looked for after PATH: daemons are not always in a user's.
const MORE: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A tool that is here.
#[derive(Clone, Debug)]
pub struct Peer {
    path: PathBuf,
}

/// Finds a tool; when it is not here the test is skipped, or fails, see the module.
pub fn peer(name: &str) -> Option<Peer> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("no {name}"), "it is not in PATH");
    }
    found.map(|path| Peer { path })
}

/// Finds a tool that only root can use.
pub fn root_peer(name: &str) -> Option<Peer> {
    let peer = peer(name)?;
    if !rustix::process::geteuid().is_root() {
        skip(&format!("no {name}"), "it needs root");
        return None;
    }
    Some(peer)
}

fn find(name: &str) -> Option<PathBuf> {
    // The same directories that a sandbox's programs see come first.
    let path = format!("/usr/bin:/bin:{}", std::env::var("PATH").unwrap_or_default());
    let dirs = path.split(':').chain(MORE).map(|dir| Path::new(dir).join(name));
    dirs.into_iter().find(|path| path.is_file())
}

/// Whether a tool that is missing is a failure, as it is in CI.
pub fn are_required() -> bool {
    std::env::var("STRATA_REQUIRE_PEERS").is_ok_and(|value| value == "1")
}

/// Says that a test was skipped and why.
///
/// # Panics
///
/// With `STRATA_REQUIRE_PEERS=1`, since there nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
pub fn skip(what: &str, reason: &str) {
    assert!(!are_required(), "{what}: {reason}, and STRATA_REQUIRE_PEERS is set");
    eprintln!("skipped: {what} ({reason})");
}

/// Whether tests for `cargo xtask machines` are to run: those of programs that need a root of another Debian.
#[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
pub fn are_machines_asked_for(what: &str) -> bool {
    let are = std::env::var("STRATA_MACHINES").is_ok_and(|value| value == "1");
    if !are {
        eprintln!("skipped: {what} (it is for STRATA_MACHINES=1)");
    }
    are
}

impl Peer {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tool in a sandbox, with the system's directories for administrators in PATH.
    pub fn program(&self, sandbox: &Sandbox) -> Program {
        sandbox.program(&self.path).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    }
}

/// Makes the home of a sandbox fit for skopeo, podman and buildah: every signature policy is
/// satisfied, and the hosts given are spoken to without TLS.
pub fn prepare(sandbox: &Sandbox, insecure_hosts: &[&str]) {
    let dir = sandbox.root().join("home/.config/containers");
    std::fs::create_dir_all(&dir).or_panic("make a home for containers' configuration");
    let policy = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    std::fs::write(dir.join("policy.json"), policy.to_string()).or_panic("write policy.json");
    let registries: Vec<String> = insecure_hosts
        .iter()
        .map(|host| format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"))
        .collect();
    let text = format!("short-name-mode = \"disabled\"\n{}", registries.concat());
    std::fs::write(dir.join("registries.conf"), text).or_panic("write registries.conf");
}

#[cfg(test)]
mod tests;
