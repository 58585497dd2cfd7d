//! The one place where xtask starts other programs and talks.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

/// The workspace's root: cargo says where a package is, and above it stands the workspace's lock.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let is_root = |dir: &&Path| dir.join("Cargo.lock").is_file();
    package.ancestors().find(is_root).unwrap_or(&package).to_owned()
}

/// Runs a chore of the other package, and ends as it does: it has said why.
pub fn chore(words: &[OsString]) -> ExitCode {
    let line = ["cargo", "run", "--package", "chores", "--"];
    let mut command = command(&line);
    match command.args(words).status().context("starting cargo") {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into(),
        Err(error) => exit(Err(error)),
    }
}

/// How a chore ends.
pub fn exit(end: anyhow::Result<()>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs a command line at the workspace's root; a status other than 0 is an error.
pub fn run(line: &[&str]) -> anyhow::Result<()> {
    let status = command(line).status().with_context(|| format!("starting `{}`", show(line)))?;
    ensure!(status.success(), "`{}`: {status}", show(line));
    Ok(())
}

/// Runs a command line at the workspace's root and takes its standard output.
pub fn output(line: &[&str]) -> anyhow::Result<String> {
    let output = command(line).output().with_context(|| format!("starting `{}`", show(line)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {}\n{errors}", show(line), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}`", show(line)))
}

/// Whether a command line can be started and ends well; what it prints is dropped.
pub fn works(line: &[&str]) -> bool {
    command(line).output().is_ok_and(|output| output.status.success())
}

/// Whether root runs this.
pub fn is_root() -> anyhow::Result<bool> {
    Ok(output(&["id", "-u"])?.trim() == "0")
}

/// Says one line to the developer.
#[expect(clippy::print_stdout, reason = "a chore talks to a developer; nothing pipes it on")]
pub fn say(line: &str) {
    println!("{line}");
}

/// Says what ended the chore, on one line.
#[expect(clippy::print_stderr, reason = "the last word of a chore that failed")]
fn complain(error: &anyhow::Error) {
    eprintln!("xtask: {error:#}");
}

/// A command line at the workspace's root, to be run in the caller's way. It sees nothing of what cargo tells xtask about xtask.
///
/// # Panics
/// If the line is empty.
pub fn command(line: &[&str]) -> Command {
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
