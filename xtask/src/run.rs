//! The one place where xtask starts other programs and talks.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The workspace's root: cargo says where this package is, its parent is the root.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), PathBuf::from)
}

/// Runs a command line at the workspace's root; a status other than 0 is an error.
pub(crate) fn run(line: &[&str]) -> anyhow::Result<()> {
    let status = command(line).status().with_context(|| format!("starting `{}`", show(line)))?;
    ensure!(status.success(), "`{}`: {status}", show(line));
    Ok(())
}

/// Runs a command line at the workspace's root and takes its standard output.
pub(crate) fn output(line: &[&str]) -> anyhow::Result<String> {
    let output = command(line).output().with_context(|| format!("starting `{}`", show(line)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {}\n{errors}", show(line), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}`", show(line)))
}

/// Whether a command line can be started and ends well; what it prints is dropped.
pub(crate) fn works(line: &[&str]) -> bool {
    command(line).output().is_ok_and(|output| output.status.success())
}

/// Says one line to the developer.
#[expect(clippy::print_stdout, reason = "a chore talks to a developer; nothing pipes it on")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says what ended the chore, on one line.
#[expect(clippy::print_stderr, reason = "the last word of a chore that failed")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("xtask: {error:#}");
}

fn command(line: &[&str]) -> Command {
    let (program, arguments) = line.split_first().expect("a command line names a program");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_xtask(name)) {
        command.env_remove(name);
    }
    command
}

/// What cargo tells xtask about xtask. Some build scripts look at it, and would run again for every other value.
fn is_of_xtask(name: &OsStr) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_"]
        .iter()
        .any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
}

fn show(line: &[&str]) -> String {
    line.join(" ")
}
