//! What a program says on standard error: JSON of our programs, a line each (docs/json.md), and lines of ssh.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use cli::text::clean;
use cli::{Progress, Task};
use serde_json::Value;

/// The most bytes of a line that are read as one.
const LIMIT: u64 = 64 << 10;
/// How long a program that has ended may be silent until nothing more is expected of it.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The most lines that are kept as the reason of a failure.
const REASONS: usize = 20;

/// How the tasks of a program appear among our own: what it says while bytes move and when they have, and what we say then.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// The program's state of a task under way, and ours.
    pub going: (&'static str, &'static str),
    /// The program's last state of a task, and ours.
    pub done: (&'static str, &'static str),
}

/// What a program has said that matters at its end.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Its error, if it is one of our programs and has failed.
    pub(super) error: Option<Said>,
    /// The last lines that are the reasons of a failure, as ssh and shells give them.
    pub(super) reasons: Vec<String>,
}

/// An error as one of our programs tells it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) message: String,
    pub(super) hints: Vec<String>,
}

/// The tasks of a program, and the bytes that each has counted.
struct Tasks<'a> {
    progress: &'a Progress,
    shown: Shown,
    open: HashMap<String, (Task, u64)>,
}

/// A part of what a program has said that matters at its end.
#[derive(Debug)]
pub(super) enum Heard {
    Error(Said),
    Reason(String),
}

impl Talk {
    /// What has been heard of a program that has ended. Its standard error may stay open, since a connection that ssh keeps for
    /// later (`ControlPersist`) has it too; so this waits for more for a moment only.
    pub(super) fn of(heard: &Receiver<Heard>) -> Self {
        let mut talk = Self::default();
        while let Ok(heard) = heard.recv_timeout(LAST_WORDS) {
            match heard {
                Heard::Error(said) if talk.error.is_none() => talk.error = Some(said),
                Heard::Error(_) => {}
                Heard::Reason(reason) => talk.reasons.push(reason),
            }
        }
        let n_old = talk.reasons.len().saturating_sub(REASONS);
        talk.reasons.drain(..n_old);
        talk
    }
}

/// Reads to the end what a program says. Tasks become our own, warnings are passed on under the name of `who`.
pub(super) fn listen(
    stderr: impl Read,
    who: &str,
    shown: Option<Shown>,
    progress: &Progress,
    heard: &Sender<Heard>,
) {
    // Who isn't interested any more has the reason already.
    let tell = |part| heard.send(part).unwrap_or_default();
    let mut tasks = shown.map(|shown| Tasks { progress, shown, open: HashMap::new() });
    let mut reader = BufReader::new(stderr);
    let mut line = vec![];
    while reader.by_ref().take(LIMIT).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) if object.contains_key("program") => {
                let field = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
                match field("type") {
                    "task" => tasks.iter_mut().for_each(|tasks| {
                        let number = |key: &str| object.get(key).and_then(Value::as_u64);
                        tasks.take(
                            field("id"),
                            field("status"),
                            number("current"),
                            number("total"),
                        );
                    }),
                    "warning" => progress.warn(format!("{who}: {}", field("message"))),
                    "error" => tell(Heard::Error(Said::of(&object))),
                    _ => {}
                }
            }
            _ if text.is_empty() => {}
            _ if is_reason(text) => tell(Heard::Reason(clean(text).into_owned())),
            // What ssh wants to be read now: a new host key, a touch of a security key.
            _ => progress.say(text),
        }
        line.clear();
    }
}

impl Said {
    fn of(object: &serde_json::Map<String, Value>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let hints = object.get("hints").and_then(Value::as_array);
        Self {
            message: object.get("message").map(text).unwrap_or_default(),
            hints: hints.into_iter().flatten().map(text).collect(),
        }
    }
}

impl Tasks<'_> {
    fn take(&mut self, id: &str, status: &str, current: Option<u64>, total: Option<u64>) {
        let progress = self.progress;
        let begin = || (progress.task(id, total), 0);
        let (task, counted) = self.open.entry(id.to_owned()).or_insert_with(begin);
        if let Some(current) = current.filter(|current| current > counted) {
            task.advance(current - *counted);
            *counted = current;
        }
        if status == self.shown.going.0 {
            task.state(self.shown.going.1);
        } else if status == self.shown.done.0
            && let Some((task, _)) = self.open.remove(id)
        {
            task.done(self.shown.done.1);
        }
    }
}

/// Whether a line says why ssh, or the shell that it started, has failed.
fn is_reason(line: &str) -> bool {
    const PARTS: [&str; 14] = [
        "Permission denied",
        "Host key verification failed",
        "IDENTIFICATION HAS CHANGED",
        "Too many authentication failures",
        "onnection closed",
        "onnection refused",
        "onnection reset",
        "onnection timed out",
        "Could not resolve",
        "Broken pipe",
        "not found",
        "No such file",
        "Unknown command",
        "kex_exchange_identification",
    ];
    line.starts_with("ssh: ")
        || line.starts_with("client_loop: ")
        || PARTS.iter().any(|part| line.contains(part))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use cli::Io;

    use super::*;

    fn talk_of(said: &str, shown: Option<Shown>, progress: &Progress) -> Talk {
        let (teller, heard) = mpsc::channel();
        listen(said.as_bytes(), "host: load", shown, progress, &teller);
        drop(teller);
        Talk::of(&heard)
    }

    #[test]
    fn an_error_is_kept_and_a_warning_is_passed_on() {
        let io = Io::memory("");
        let said = concat!(
            r#"{"program":"load","type":"warning","message":"odd \u001b[2J"}"#,
            "\n\n",
            r#"{"program":"load","type":"error","message":"no room","hints":["buy a disk"],"exit":1}"#,
            "\nWarning: Permanently added 'host' to the list of known hosts.\n",
            "{\"program\":7}\n[1]\nssh: connect to host: Connection refused\n",
        );
        let talk = talk_of(said, None, &io.progress);
        let error = talk.error.unwrap();
        assert_eq!(
            (error.message, error.hints),
            ("no room".to_owned(), vec!["buy a disk".to_owned()])
        );
        assert_eq!(talk.reasons, ["ssh: connect to host: Connection refused"]);
        let shown = io.talk();
        assert!(shown.contains(r"warning: host: load: odd \x1b[2J"), "{shown}");
        assert!(shown.contains("Permanently added") && !shown.contains("refused"), "{shown}");
    }

    #[test]
    fn the_first_error_is_the_reason_for_those_after_it() {
        let errors = concat!(
            r#"{"program":"load","type":"error","message":"no room","exit":1}"#,
            "\n",
            r#"{"program":"load","type":"error","message":"broken pipe","exit":1}"#,
        );
        let talk = talk_of(errors, None, &Io::memory("").progress);
        assert_eq!(talk.error.unwrap().message, "no room");
    }

    #[test]
    fn tasks_become_our_own() {
        let io = Io::memory("");
        let said = concat!(
            r#"{"program":"save","type":"task","id":"a","status":"Saving","current":1,"total":4}"#,
            "\n",
            r#"{"program":"save","type":"task","id":"a","status":"Saved","current":4,"total":4}"#,
            "\n",
        );
        let shown = Shown { going: ("Saving", "Pushing"), done: ("Saved", "Pushed") };
        talk_of(said, Some(shown), &io.progress);
        io.progress.finish();
        assert!(io.talk().contains("a: Pushed") && !io.talk().contains("Sav"), "{}", io.talk());
    }
}
