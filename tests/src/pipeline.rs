//! Several programs joined by real pipes: scripts for a real shell.

use crate::command::Sandbox;
use crate::command::output::Output;
use crate::command::plain_user::NOBODY;
use crate::command::program::{Program, Running};
use crate::command::terminal::{OnTerminal, Size};

const FLAGS: [&str; 5] = ["--noprofile", "--norc", "-o", "pipefail", "-c"];

/// Runs a script with `bash -o pipefail`, in the sandbox and its environment.
///
/// `output.code()` is the script's status, `output.pipe` that of each member of its last pipeline.
pub fn sh(sandbox: &Sandbox, script: &str) -> Output {
    Script::new(sandbox, script).run()
}

/// Starts a script as [`sh`] does, on a terminal of its own.
pub fn on_terminal(sandbox: &Sandbox, size: Size, script: &str) -> OnTerminal {
    let bash = sandbox.program("/bin/bash").args(FLAGS).arg(script);
    // Programs ask the terminal itself.
    bash.env_remove("COLUMNS").start_on(size)
}

/// A script about to start.
#[derive(Clone, Debug)]
#[must_use]
pub struct Script {
    program: Program,
    statuses: std::path::PathBuf,
}

impl Script {
    /// A script for a sandbox.
    pub fn new(sandbox: &Sandbox, script: &str) -> Self {
        let statuses = sandbox.root().join("tmp/.pipestatus");
        let whole = format!(
            "{script}\n_code=$? _all=(\"${{PIPESTATUS[@]}}\")\n\
             echo \"${{_all[@]}}\" > '{}'\nexit $_code",
            statuses.display()
        );
        let program = sandbox.program("/bin/bash");
        Self { program: program.args(FLAGS).arg(whole), statuses }
    }

    /// Changes the program that runs it: its input, user, variables, patience.
    pub fn with(mut self, change: impl FnOnce(Program) -> Program) -> Self {
        self.program = change(self.program);
        self
    }

    /// Who runs it; see [`Program::user`].
    pub fn user(self, uid: u32) -> Self {
        self.with(|program| program.user(uid))
    }

    /// Has a plain user run it: nobody, if this is root, and otherwise whoever it is.
    pub fn as_plain_user(self) -> Self {
        if rustix::process::geteuid().is_root() { self.user(NOBODY) } else { self }
    }

    /// What it reads.
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(|program| program.input(bytes))
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        // A file of an earlier script must not be taken for this one's.
        drop(std::fs::remove_file(&self.statuses));
        let mut output = self.program.run();
        let text = std::fs::read_to_string(&self.statuses).unwrap_or_default();
        output.pipe = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        output
    }

    /// Starts it; killing the [`Running`] kills every member of its pipes.
    pub fn start(self) -> Running {
        self.program.start()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_member_of_a_pipe_has_its_status() {
        let sandbox = Sandbox::new();
        let output = sh(&sandbox, "echo a; (cat; exit 3) | (cat; exit 0) # and a comment");
        assert_eq!((output.code(), output.pipe.as_slice()), (3, &[3, 0][..]));
        assert_eq!(output.text(), "status: 3 [3, 0]\n--- stdout\na\n");
        assert_eq!(sh(&sandbox, "exit 5").pipe, [0; 0]);
    }

    #[test]
    fn a_script_is_killed_when_something_is_true() {
        let sandbox = Sandbox::new();
        let running = Script::new(&sandbox, "echo begun | tee mark; sleep 600 | cat").start();
        let mark = sandbox.path("mark");
        let output = running.kill_when(|| mark.exists());
        assert_eq!(output.code(), 137);
    }

    #[test]
    fn a_script_reads_its_input() {
        let sandbox = Sandbox::new();
        let script = Script::new(&sandbox, "wc -c").input("four");
        let script = script.with(|program| program.patience(Duration::from_secs(9)));
        assert_eq!(script.run().success().out(), "4\n");
    }
}
