//! A daemon of one test: started, waited for, and ended by its process id.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::or_panic::OrPanic as _;

/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

/// Whether a daemon came up.
#[derive(Debug)]
pub(super) enum Start {
    /// It answers.
    Up(Daemon),
    /// It ended, or never answered; the end of its log.
    Down(String),
}

impl Daemon {
    /// Starts a daemon that logs into a file, and waits until it answers.
    pub(super) fn start(command: &mut Command, log: &Path, ready: impl Fn() -> bool) -> Start {
        let file = std::fs::File::create(log).or_panic("make a log");
        let copy = file.try_clone().or_panic("share a log");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = command.spawn().or_panic("start a daemon");
        let mut daemon = Self { child, log: log.to_owned() };
        let end = Instant::now() + PATIENCE;
        while !ready() {
            let ended = daemon.child.try_wait().or_panic("ask for a daemon's end");
            if ended.is_some() || Instant::now() > end {
                return Start::Down(daemon.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Start::Up(daemon)
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // One that has ended is what was wanted.
            rustix::process::kill_process(pid, signal).ok();
        }
    }
}

impl Drop for Daemon {
    /// Asks it to end, which lets it unmount and end its own children; kills it after 15 seconds.
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + Duration::from_secs(15);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                self.signal(Signal::KILL);
                drop(self.child.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A port that is free at the moment.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").or_panic("find a port");
    listener.local_addr().or_panic("find a port").port()
}

/// A command with only a home, a temporary directory and a PATH.
pub(super) fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("TMPDIR", home);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(home);
    command
}
