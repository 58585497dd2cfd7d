//! A directory and a shell to type into.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::say;

/// A shell in a fresh directory, with our programs first in its path and a store of its own.
#[derive(Debug)]
pub(super) struct Terminal {
    dir: PathBuf,
    path: OsString,
}

impl Terminal {
    /// Makes the directory; `programs` is where ours are.
    pub(super) fn open(programs: &Path) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("strata-demo-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Inside the image programs are in /bin; a plain user's path may lack chroot's directory.
        let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
        let all = [programs.to_owned()].into_iter().chain(std::env::split_paths(&path)).chain(more);
        let path =
            std::env::join_paths(all).context("the programs' directory as a part of PATH")?;
        Ok(Self { dir, path })
    }

    /// Shows a line and runs it; it talks as it goes.
    pub(super) fn run(&self, line: &str) -> anyhow::Result<()> {
        say(&format!("$ {line}"));
        let status = self.shell(line).status().context("starting bash")?;
        ensure!(status.success(), "`{line}`: {status}");
        say("");
        Ok(())
    }

    /// Shows a line, runs it, and shows and returns all that it said.
    pub(super) fn read(&self, line: &str) -> anyhow::Result<String> {
        say(&format!("$ {line}"));
        let output =
            self.shell(&format!("{{ {line}\n}} 2>&1")).output().context("starting bash")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        say(&said);
        ensure!(output.status.success(), "`{line}`: {}", output.status);
        Ok(said)
    }

    /// Whether a line ends well, without showing anything.
    pub(super) fn works(&self, line: &str) -> bool {
        self.shell(line).output().is_ok_and(|output| output.status.success())
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]).current_dir(&self.dir);
        command.env("PATH", &self.path).env("HOME", &self.dir).env("NO_PROXY", "127.0.0.1");
        command.env("STRATA_STORE", self.dir.join("store"));
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            say(&format!("{} is left behind: {error}", self.dir.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_runs_in_its_own_directory_and_removes_it() {
        let terminal = Terminal::open(Path::new("/nowhere")).unwrap();
        let dir = terminal.dir.clone();
        terminal.run("echo here > file").unwrap();
        assert_eq!(terminal.read("cat file; echo there >&2").unwrap(), "here\nthere\n");
        let error = terminal.run("false | true").unwrap_err();
        assert_eq!(error.to_string(), "`false | true`: exit status: 1");
        drop(terminal);
        assert!(!dir.exists());
    }
}
