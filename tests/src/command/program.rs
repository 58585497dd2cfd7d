//! A program before its start and on its way.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::Sandbox;
use super::output::Output;
use crate::or_panic::OrPanic as _;

/// How long a program may take before it is killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program about to start.
#[derive(Clone, Debug)]
#[must_use]
pub struct Program {
    pub(super) path: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) dir: PathBuf,
    root: PathBuf,
    input: Vec<u8>,
    uid: Option<u32>,
    pub(super) patience: Duration,
}

impl Program {
    /// A program in the directory that a sandbox has for it.
    pub(super) fn new(path: &OsStr, env: BTreeMap<OsString, OsString>, sandbox: &Sandbox) -> Self {
        Self {
            path: path.to_owned(),
            args: Vec::new(),
            env,
            dir: sandbox.path(""),
            root: sandbox.root().to_owned(),
            input: Vec::new(),
            uid: None,
            patience: PATIENCE,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// One more variable, or another value for one.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.into(), value.as_ref().to_owned());
        self
    }

    /// One variable less.
    pub fn env_remove(mut self, key: &str) -> Self {
        self.env.remove(OsStr::new(key));
        self
    }

    /// The directory it starts in.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.dir);
        self
    }

    /// What it reads from its standard input; nothing otherwise.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Who runs it: this user and group and no other groups. Only root can ask for that; the
    /// sandbox, as far as it is root's, becomes the user's.
    pub fn user(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// How long it may take before it is killed and the test fails; two minutes otherwise.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(&self.env).current_dir(&self.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        if let Some(uid) = self.uid {
            give(&self.root, uid);
            command.uid(uid).gid(uid);
        }
        let shown = self.path.to_string_lossy().into_owned();
        let mut child =
            command.spawn().or_panic(format!("start {shown} in {}", self.dir.display()));
        let mut input = child.stdin.take().or_panic("a pipe to the program");
        let bytes = self.input;
        // A program may end without reading all: what it did not want is dropped.
        let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
        Running {
            stdout: reader(child.stdout.take()),
            stderr: reader(child.stderr.take()),
            writer,
            child,
            shown,
            root: self.root,
            end: Instant::now() + self.patience,
        }
    }
}

/// Makes a user the owner of what is root's beneath a directory, links not followed.
fn give(dir: &Path, uid: u32) {
    for entry in std::fs::read_dir(dir).or_panic(format!("read {}", dir.display())) {
        let entry = entry.or_panic("read a directory");
        let kind = entry.file_type().or_panic("a file's type");
        if kind.is_symlink() {
            continue;
        }
        chown(entry.path(), Some(uid), Some(uid)).or_panic("give the sandbox to another user");
        // Trees that tests made keep their owners: only the frame changes hands.
        if kind.is_dir() && entry.file_name() != OsStr::new("work") {
            give(&entry.path(), uid);
        }
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.or_panic("a pipe from the program");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// A program under way, with everything it started in one process group.
#[derive(Debug)]
#[must_use]
pub struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    writer: JoinHandle<()>,
    shown: String,
    root: PathBuf,
    end: Instant,
}

impl Running {
    /// The process id, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program and all that it started.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid().cast_signed()) {
            // A group that has ended is what was wanted.
            rustix::process::kill_process_group(group, signal).ok();
        }
    }

    /// Kills it at once, with all that it started (`kill -9`), and gives what it said until then.
    pub fn kill(self) -> Output {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Kills it as soon as something is true; the test fails if it ends before.
    pub fn kill_when(mut self, mut moment: impl FnMut() -> bool) -> Output {
        while !moment() {
            if let Some(status) = self.child.try_wait().or_panic("ask for the program's end") {
                early(&self.shown.clone(), &self.output(status));
            }
            self.check_time();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.kill()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Output {
        let mut nap = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().or_panic("ask for the program's end") {
                return self.output(status);
            }
            self.check_time();
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(10));
        }
    }

    fn check_time(&self) {
        if Instant::now() > self.end {
            self.signal(Signal::KILL);
            panic!("kit: {} did not end in time and was killed", self.shown);
        }
    }

    fn output(self, status: ExitStatus) -> Output {
        let bytes = |thread: JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        drop(self.writer);
        Output {
            status,
            stdout: bytes(self.stdout),
            stderr: String::from_utf8_lossy(&bytes(self.stderr)).into_owned(),
            pipe: Vec::new(),
            root: self.root,
        }
    }
}

fn early(shown: &str, output: &Output) -> ! {
    panic!("kit: {shown} ended before it was to be killed:\n{}", output.text());
}
