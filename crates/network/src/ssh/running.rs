//! Programs under way on one pipe, and the reason if they fail.

use std::io::{ErrorKind, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cli::{Code, Failure, Progress};

use super::talk::{Heard, Shown, Talk, listen};

/// How often programs are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a program may take to clean up after its input has ended, when we are told to stop.
const GRACE_PERIOD: Duration = Duration::from_millis(1500);
/// The most bytes that are kept of what a program writes.
const ANSWER_LIMIT: u64 = 256 << 20;
/// The status of ssh itself, when it can't reach or enter a machine.
const OF_SSH: i32 = 255;
/// The statuses of a program whose reader has gone: by its own word, and by the signal.
const CLOSED_PIPE: i32 = 141;
/// The statuses of a shell that can't start a program.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// Where a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    /// On this machine.
    There(String),
}

/// A program under way. It is ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    place: Place,
    program: String,
    child: Child,
    talk: Receiver<Heard>,
    answer: Option<JoinHandle<Vec<u8>>>,
    status: Option<ExitStatus>,
}

/// How a program ended that has failed.
#[derive(Debug)]
enum Ending {
    /// It is done.
    Done,
    /// Its reader has gone, which is never the reason.
    ClosedPipe,
    /// It failed because its input was cut or is no image: mostly its writer is the reason.
    Untrusted(anyhow::Error),
    Failed(anyhow::Error),
}

impl Running {
    pub(super) fn start(
        mut command: Command,
        place: Place,
        program: &str,
        shown: Option<Shown>,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| not_started(&command, &place, error))?;
        let who = place.name_of(program);
        let progress = progress.clone();
        let (teller, talk) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || listen(stderr, &who, shown, &progress, &teller));
        }
        let program = program.to_owned();
        Ok(Self { place, program, child, talk, answer: None, status: None })
    }

    /// Its standard output, as the standard input of another program; nothing if it isn't a pipe of ours.
    pub fn output(&mut self) -> Stdio {
        self.child.stdout.take().map_or_else(Stdio::null, Stdio::from)
    }

    /// Its standard input, as the standard output of another program; nothing if it isn't a pipe of ours.
    pub fn input(&mut self) -> Stdio {
        self.child.stdin.take().map_or_else(Stdio::null, Stdio::from)
    }

    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Reads what it writes, beside everything else.
    pub fn read_answer(&mut self) {
        self.answer = self.child.stdout.take().map(|stdout| {
            thread::spawn(move || {
                let mut bytes = vec![];
                // What comes before a failure is of no use; the status tells of it.
                stdout.take(ANSWER_LIMIT).read_to_end(&mut bytes).ok();
                bytes
            })
        });
    }

    /// Whether it has ended.
    fn has_ended(&mut self) -> anyhow::Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait().with_context(|| self.program.clone())?;
        }
        Ok(self.status.is_some())
    }

    fn ending(&mut self) -> Ending {
        let talk = Talk::of(&self.talk);
        let Some(status) = self.status.filter(|status| !status.success()) else {
            return Ending::Done;
        };
        let code = status.code();
        let who = self.place.name_of(&self.program);
        if let Some(said) = talk.error {
            let failure = Failure::new(meaning(code), format!("{who}: {}", said.message));
            let place = match &self.place {
                Place::Here => String::new(),
                Place::There(machine) => format!("on {machine}: "),
            };
            let hints = said.hints.into_iter().map(|hint| format!("{place}{hint}"));
            let failure = hints.fold(failure, Failure::hint);
            return match code {
                Some(4) => Ending::Untrusted(failure.into()),
                _ => Ending::Failed(failure.into()),
            };
        }
        // A signal, or a shell that tells of one.
        if code.is_none_or(|code| code == CLOSED_PIPE) {
            return Ending::ClosedPipe;
        }
        let reasons = talk.reasons;
        Ending::Failed(match (&self.place, code) {
            (Place::There(machine), Some(OF_SSH)) => of_ssh(machine, &reasons),
            (Place::There(machine), Some(code))
                if NO_PROGRAM.contains(&code) || reasons.iter().any(|it| is_of_csh(it)) =>
            {
                no_program(machine, &self.program, &reasons)
            }
            _ => {
                let why = reasons.last().cloned().unwrap_or_else(|| status.to_string());
                Failure::new(Code::Failed, format!("{who}: {why}")).into()
            }
        })
    }

    /// Ends it. A reader ends by itself once its writer has, and cleans up.
    fn end(&mut self) {
        let patience = Instant::now() + GRACE_PERIOD;
        let is_reader = self.answer.is_some();
        while is_reader && Instant::now() < patience && matches!(self.has_ended(), Ok(false)) {
            thread::sleep(POLL_INTERVAL);
        }
        if !matches!(self.has_ended(), Ok(true)) {
            // It has ended meanwhile, or can't be told; there is nobody to tell that.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Place {
    fn name_of(&self, program: &str) -> String {
        match self {
            Self::Here => program.to_owned(),
            Self::There(machine) => format!("{machine}: {program}"),
        }
    }
}

/// Waits for the programs of a pipe, the writer first. Returns what they wrote where that is read.
///
/// # Errors
/// That of the program which is the reason for the others', or a signal.
pub(super) fn finish<const N: usize>(mut pipe: [Running; N]) -> anyhow::Result<[Vec<u8>; N]> {
    loop {
        cli::interrupt::check()?;
        let mut n_ended = 0;
        for running in &mut pipe {
            n_ended += usize::from(running.has_ended()?);
        }
        if n_ended == N {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    // A signal ends programs on the same terminal as well.
    cli::interrupt::check()?;
    let endings: Vec<Ending> = pipe.iter_mut().map(Running::ending).collect();
    judge(endings)?;
    let answers = pipe.each_mut().map(|running| running.answer.take());
    Ok(answers.map(|answer| answer.and_then(|answer| answer.join().ok()).unwrap_or_default()))
}

/// The reason among the endings of a pipe: the last program that failed by itself; else the first that failed at all.
fn judge(endings: Vec<Ending>) -> anyhow::Result<()> {
    let mut reason = None;
    let mut has_closed_pipe = false;
    for ending in endings {
        match ending {
            Ending::Done => {}
            Ending::ClosedPipe => has_closed_pipe = true,
            Ending::Failed(error) => reason = Some(error),
            Ending::Untrusted(error) => reason = reason.or(Some(error)),
        }
    }
    match reason {
        Some(error) => Err(error),
        None if has_closed_pipe => Err(cli::silent(Code::ClosedPipe.status())),
        None => Ok(()),
    }
}

/// The meaning of the status of one of our programs. Wrong usage is none of our user.
fn meaning(status: Option<i32>) -> Code {
    match status {
        Some(3) => Code::NotFound,
        Some(4) => Code::Untrusted,
        Some(5) => Code::Network,
        Some(6) => Code::Unauthorised,
        _ => Code::Failed,
    }
}

fn not_started(command: &Command, place: &Place, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let is_missing = error.kind() == ErrorKind::NotFound;
    let failure = Failure::new(Code::Failed, program).because(error);
    match place {
        Place::There(_) if is_missing => {
            failure.hint("install OpenSSH's client, or set STRATA_SSH to the command to use").into()
        }
        _ => failure.into(),
    }
}

/// The error of ssh itself: it couldn't reach a machine, or wasn't let in.
fn of_ssh(machine: &str, reasons: &[String]) -> anyhow::Error {
    let is_about = |parts: &[&str]| {
        reasons.iter().any(|reason| parts.iter().any(|part| reason.contains(part)))
    };
    let why = reasons.last().map_or("ssh failed", String::as_str);
    let why = why.strip_prefix("ssh: ").unwrap_or(why);
    let failure = |code| Failure::new(code, format!("{machine}: {why}"));
    if is_about(&["Host key verification failed", "IDENTIFICATION HAS CHANGED"]) {
        let hint = "connect by ssh once, and compare the host's key; nothing was sent";
        return failure(Code::Untrusted).hint(hint).into();
    }
    if is_about(&["Permission denied", "Too many authentication failures"]) {
        let hint = format!("ssh {machine} true: if that works, so does this");
        return failure(Code::Unauthorised).hint(hint).into();
    }
    failure(Code::Network).into()
}

/// Whether a shell of the C family says that there is no such program; its status says nothing.
fn is_of_csh(reason: &str) -> bool {
    reason.ends_with(": Command not found.")
}

/// The error if a machine has none of our programs.
#[derive(Debug)]
struct NoProgram(String);

impl std::fmt::Display for NoProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoProgram {}

fn no_program(machine: &str, program: &str, reasons: &[String]) -> anyhow::Error {
    let why = reasons.last().map(|why| format!(": {why}")).unwrap_or_default();
    let text = format!("{machine}: has neither {program} nor strata in its PATH{why}");
    let cause = NoProgram(text);
    let path =
        format!("ssh {machine} 'echo $PATH' shows where it looks for programs without a login");
    Failure::from_cause(cause)
        .code(Code::NotFound)
        .hint(path)
        .hint("strata --install-links /usr/local/bin, there, makes the programs' names")
        .into()
}

/// Whether another machine had no program of that name.
pub(super) fn is_no_program(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<NoProgram>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &'static str) -> Ending {
        Ending::Failed(anyhow::anyhow!(text))
    }

    #[track_caller]
    fn check(endings: Vec<Ending>, expected: &str) {
        assert_eq!(judge(endings).unwrap_err().to_string(), expected);
    }

    #[test]
    fn the_reason_is_told_and_not_what_follows_from_it() {
        let cut = || Ending::Untrusted(anyhow::anyhow!("cut"));
        judge(vec![Ending::Done, Ending::Done]).unwrap();
        check(vec![failed("writer"), cut()], "writer");
        check(vec![Ending::ClosedPipe, failed("reader")], "reader");
        check(vec![Ending::ClosedPipe, cut()], "cut");
        // ssh ends with an error of its own when the reader has gone.
        check(vec![failed("ssh"), failed("no room")], "no room");
        check(vec![Ending::ClosedPipe, Ending::Done], "exit status 141");
    }

    #[test]
    fn a_machine_without_our_programs_is_told_from_one_where_they_fail() {
        let ending = |script: &str, place: Place| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let progress = cli::Io::memory("").progress;
            let running = Running::start(command, place, "load", None, &progress).unwrap();
            finish([running]).unwrap_err()
        };
        let there = |script: &str| ending(script, Place::There("m".to_owned()));
        let lacking = "m: has neither load nor strata in its PATH: ";
        for (script, why) in [
            ("echo 'sh: load: not found' >&2; exit 127", "sh: load: not found"),
            ("echo 'load: Permission denied' >&2; exit 126", "load: Permission denied"),
            ("echo 'load: Command not found.' >&2; exit 1", "load: Command not found."),
        ] {
            let error = there(script);
            assert!(is_no_program(&error), "{error}");
            assert_eq!(error.to_string(), format!("{lacking}{why}"));
        }
        for (script, text) in [
            ("echo 'Command not found. Or so' >&2; exit 1", "m: load: Command not found. Or so"),
            ("exit 3", "m: load: exit status: 3"),
            ("echo 'ssh: no' >&2; exit 255", "m: no"),
        ] {
            let error = there(script);
            assert!(!is_no_program(&error), "{error}");
            assert_eq!(error.to_string(), text);
        }
        // Here, they are beside this one.
        let here = ending("echo 'load: Command not found.' >&2; exit 127", Place::Here);
        assert_eq!(here.to_string(), "load: load: Command not found.");
    }

    #[test]
    fn what_ssh_says_has_a_status() {
        let code = |reason: &str| cli::error::code(&of_ssh("host", &[reason.to_owned()]), &[]);
        assert_eq!(code("me@host: Permission denied (publickey)."), Code::Unauthorised);
        assert_eq!(code("Host key verification failed."), Code::Untrusted);
        assert_eq!(code("ssh: connect to host h port 1: Connection refused"), Code::Network);
        let none = of_ssh("host", &[]);
        assert_eq!(none.to_string(), "host: ssh failed");
    }
}
