//! Other machines, reached by the system's ssh: what anybody could type, run and watched.
//!
//! ```text
//! address.rs   ssh://[USER@]HOST[:PORT][/…]
//! words.rs     command lines, quoted for the shell on the other machine
//! talk.rs      what a program says on standard error (JSON, a line each), as our own progress and our own error
//! running.rs   programs under way, and which of several errors is the reason
//! ```
//!
//! Neither logins nor host keys are known here: ssh asks for them and checks them.

mod address;
mod running;
mod talk;
mod words;

use std::cell::Cell;
use std::io::Write as _;
use std::process::Stdio;
use std::thread;

use cli::{Failure, Progress};
use layer_format::{Digest, Reference};
use serde_json::Value;

pub use address::{Address, Machine, Malformed, SCHEME};
pub use running::Running;
pub use talk::Shown;

use running::Place;
use words::{Programs, Words};

/// A run of our programs here and on another machine.
#[derive(Debug)]
pub struct Session<'a> {
    machine: &'a Machine,
    progress: &'a Progress,
    /// Whether the commands are shown before they run.
    is_verbose: bool,
    programs: Cell<Programs>,
}

/// One of our programs with its arguments, and where it runs.
#[derive(Clone, Debug)]
pub struct Step {
    words: Words,
    is_there: bool,
}

impl Step {
    /// A program of this installation.
    pub fn here(words: &[&str]) -> Self {
        Self { words: Words::new(words.iter().copied()), is_there: false }
    }

    /// A program of the other machine.
    pub fn there(words: &[&str]) -> Self {
        Self { words: Words::new(words.iter().copied()), is_there: true }
    }

    /// The same with an option and its value, if there is one.
    #[must_use]
    pub fn option(mut self, name: &str, value: Option<&str>) -> Self {
        self.words = self.words.option(name, value);
        self
    }

    /// The same with a flag, if it is wanted.
    #[must_use]
    pub fn flag(self, name: &str, is_wanted: bool) -> Self {
        if is_wanted { self.and(&[name]) } else { self }
    }

    /// The same with more words.
    #[must_use]
    pub fn and(mut self, words: &[&str]) -> Self {
        self.words = self.words.and(words);
        self
    }
}

impl<'a> Session<'a> {
    /// A session with a machine; nothing is run yet.
    pub fn new(machine: &'a Machine, progress: &'a Progress, is_verbose: bool) -> Self {
        Self { machine, progress, is_verbose, programs: Cell::new(Programs::Each) }
    }

    /// Calls `run`, and once more with `strata` before each program's name if the other machine has no program of that name.
    ///
    /// # Errors
    /// Those of `run`; the last one has a hint if no program was found.
    pub fn with_programs<T>(
        &self,
        mut run: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match run() {
            Err(error) if running::is_no_program(&error) => {
                self.programs.set(Programs::InOne);
                match run() {
                    Err(again) if running::is_no_program(&again) => Err(error),
                    result => result,
                }
            }
            result => result,
        }
    }

    /// Shows a pipe as it can be typed, if that is wanted.
    pub fn show(&self, pipe: &[&Step]) {
        if self.is_verbose {
            let steps: Vec<_> = pipe.iter().map(|step| self.line(step)).collect();
            self.progress.say(steps.join(" | "));
        }
    }

    fn line(&self, step: &Step) -> String {
        if step.is_there {
            step.words.shown_there(self.machine, self.programs.get())
        } else {
            step.words.line()
        }
    }

    /// Starts a step. `more` are words that aren't shown, since they only say how it is to talk to this program. `shown` says
    /// how its tasks appear among our own.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(
        &self,
        step: &Step,
        more: &[&str],
        streams: (Stdio, Stdio),
        shown: Option<Shown>,
    ) -> anyhow::Result<Running> {
        let words = step.words.clone().and(more);
        let (mut command, place) = if step.is_there {
            let place = Place::There(self.machine.to_string());
            (words.there(self.machine, self.programs.get()), place)
        } else {
            (words.here(), Place::Here)
        };
        command.stdin(streams.0).stdout(streams.1);
        Running::start(command, place, words.program(), shown, self.progress)
    }

    /// Runs a step that reads nothing, and returns what it writes.
    ///
    /// # Errors
    /// It can't be started, or fails.
    pub fn answer(&self, step: &Step) -> anyhow::Result<Vec<u8>> {
        let streams = (Stdio::null(), Stdio::piped());
        let mut running = self.start(step, &["--progress", "json"], streams, None)?;
        running.read_answer();
        let [answer] = running::finish([running])?;
        Ok(answer)
    }
}

/// Waits for two programs on a pipe, the writer first, and returns what each wrote where that is read.
///
/// # Errors
/// That of the program which is the reason for the other's.
pub fn finish(writer: Running, reader: Running) -> anyhow::Result<[Vec<u8>; 2]> {
    running::finish([writer, reader])
}

/// Waits for one program.
///
/// # Errors
/// The program's.
pub fn finish_one(program: Running) -> anyhow::Result<Vec<u8>> {
    let [written] = running::finish([program])?;
    Ok(written)
}

/// Writes bytes to a program's standard input, beside everything else, and closes it.
pub fn feed(running: &mut Running, bytes: Vec<u8>) {
    if let Some(mut input) = running.take_input() {
        // A program that doesn't read all says why by itself.
        thread::spawn(move || input.write_all(&bytes).ok());
    }
}

/// Refuses a flag that says how a registry is to be reached: there is none.
///
/// # Errors
/// Wrong usage, if `flag` is one.
pub fn refuse(flag: Option<&str>) -> Result<(), Failure> {
    match flag {
        None => Ok(()),
        Some(flag) => Err(cli::usage(format!("{flag} means nothing to ssh"))
            .hint("STRATA_SSH holds ssh's own options: STRATA_SSH='ssh -i key'")),
    }
}

/// An image that `load --json` has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The name that it has now.
    pub name: Option<Reference>,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// How many of its bytes the store had not, and had before.
    pub bytes: (u64, u64),
}

impl Loaded {
    /// What `load --json` has written. Lines that are no objects, as a shell's greeting, are skipped.
    pub fn parse_all(written: &[u8]) -> Vec<Self> {
        written.split(|&byte| byte == b'\n').filter_map(Self::parse).collect()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(line).ok()?;
        Some(Self {
            name: object["name"].as_str().and_then(|name| name.parse().ok()),
            digest: object["digest"].as_str()?.parse().ok()?,
            bytes: (object["newBytes"].as_u64()?, object["reusedBytes"].as_u64()?),
        })
    }

    /// The word that leads to it in its store: the name without its tag and the digest, or the digest.
    pub fn pinned(&self) -> String {
        match &self.name {
            Some(name) => name.at(self.digest).to_string(),
            None => self.digest.to_string(),
        }
    }

    /// The name that it is called by, or its digest.
    pub fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| self.digest.to_string(), Reference::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_read_whatever_a_shell_says_before() {
        let digest = Digest::of(b"");
        let named = format!(
            r#"{{"name":"docker.io/library/app:1","digest":"{digest}","platforms":[],"newBytes":3,"reusedBytes":4}}"#
        );
        let nameless = named.replace(r#""docker.io/library/app:1""#, "null");
        let written = format!("Welcome to host!\n{{}}\n{named}\n{nameless}\n");
        let loaded = Loaded::parse_all(written.as_bytes());
        assert_eq!(loaded.len(), 2);
        assert_eq!((loaded[0].pinned(), loaded[0].bytes), (format!("app@{digest}"), (3, 4)));
        assert_eq!(
            (loaded[0].shown(), loaded[1].pinned()),
            ("app:1".to_owned(), digest.to_string())
        );
    }
}
