//! How an error becomes one line on standard error, lines with hints, and an exit status.
//!
//! ```text
//! an error's chain         links()      outermost first, also through io::Error
//!   a library's error      HasKind      ErrorKind -> Code, advice(); Command::ERRORS lists the libraries' types
//!   Failure                             a command's own: message, hints, Code
//! its status               code()       the first link that knows one; else Failed. Code has the numbers
//! what is told of it       Report       program: message: cause, then hint: … for each hint of the chain; or an object
//! ```
//!
//! Three errors are not reported like that. [`silent`] ends a program with a status alone, a broken pipe of our own
//! output ends it as `cat` ends, and an interrupted run dies by its signal (`run.rs`).

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::iter;
use std::panic;
use std::path::Path;

use report::reason;
use report::{ErrorKind, HasKind, Look};

use crate::json;
use crate::stderr::{Stderr, is_json};
use crate::text::{clean, clean_path};

/// One link of an error's chain.
pub type Link = dyn Error + 'static;

/// The exit codes: how a run ended, as the caller of the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Everything that was asked for is done.
    Done = 0,
    /// It failed for a reason that has no code of its own.
    Failed = 1,
    /// The arguments, or the way the program was called, make no sense.
    Usage = 2,
    /// Something that was named does not exist.
    NotFound = 3,
    /// The input is not to be trusted: digest mismatch, truncated, malformed or hostile.
    Untrusted = 4,
    /// Network or registry trouble that may pass.
    Network = 5,
    /// The registry wants other credentials.
    Unauthorised = 6,
    /// The reader of our own output went away; said by the status alone, as `cat` does.
    ClosedPipe = 141,
}

impl Code {
    /// The number that the process exits with.
    pub const fn status(self) -> u8 {
        self as u8
    }
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Untrusted => Self::Untrusted,
            ErrorKind::Network => Self::Network,
            ErrorKind::Unauthorised => Self::Unauthorised,
        }
    }
}

/// A command's own error: an exit code, a message, and hints that say what the user can do.
///
/// It can stand at any place of a chain. Without a message of its own it only adds to its cause.
#[derive(Debug, Default)]
pub struct Failure {
    code: Option<Code>,
    message: Option<String>,
    hints: Vec<String>,
    cause: Option<anyhow::Error>,
}

impl Failure {
    /// A failure with an exit code and a message that says which thing it is about.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: Some(code), message: Some(message.into()), ..Self::default() }
    }

    /// The failure to open a file that was named on the command line; [`Code::NotFound`] if it isn't there.
    pub fn opening(path: &Path, error: io::Error) -> Self {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let code = if is_missing { Code::NotFound } else { Code::Failed };
        Self::new(code, clean_path(path)).because(error)
    }

    /// A failure that adds nothing to `cause` but what is attached later.
    pub fn from_cause(cause: impl Into<anyhow::Error>) -> Self {
        Self { cause: Some(cause.into()), ..Self::default() }
    }

    /// Attaches a hint: what the user can do about it, often a command line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Sets the exit code; it wins over those of the causes.
    #[must_use]
    pub const fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Names the cause, which is reported after the message.
    #[must_use]
    pub fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.cause) {
            (Some(message), _) => f.write_str(message),
            (None, Some(cause)) => cause.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause: &(dyn Error + Send + Sync + 'static) = self.cause.as_ref()?.as_ref();
        Some(cause)
    }
}

/// A failure for wrong usage that the argument parser can't see.
pub fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Code::Usage, message)
}

/// Attaches hints and exit codes to any error on its way up.
pub trait Explain<T, E> {
    /// Attaches a hint to the error.
    ///
    /// # Errors
    /// The same error, with the hint.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;

    /// Attaches a hint that costs something to write.
    ///
    /// # Errors
    /// The same error, with the hint.
    fn with_hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> anyhow::Result<T>;

    /// Attaches the hint that `hint` has for the error, if it has one.
    ///
    /// # Errors
    /// The same error, with the hint if there is one.
    fn hinted(self, hint: impl FnOnce(&E) -> Option<String>) -> anyhow::Result<T>;

    /// Sets the exit code of the error; it wins over those of its causes.
    ///
    /// # Errors
    /// The same error, with the code.
    fn code(self, code: Code) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Explain<T, E> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Failure::from_cause(error).hint(hint).into())
    }

    fn with_hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> anyhow::Result<T> {
        self.map_err(|error| Failure::from_cause(error).hint(hint()).into())
    }

    fn hinted(self, hint: impl FnOnce(&E) -> Option<String>) -> anyhow::Result<T> {
        self.map_err(|error| match hint(&error) {
            Some(hint) => Failure::from_cause(error).hint(hint).into(),
            None => error.into(),
        })
    }

    fn code(self, code: Code) -> anyhow::Result<T> {
        self.map_err(|error| Failure::from_cause(error).code(code).into())
    }
}

/// An error that ends the program with this very status and without a word.
///
/// For statuses that are an answer (`changes`), or another program's (`union … -- COMMAND`).
pub fn silent(status: u8) -> anyhow::Error {
    anyhow::Error::new(Silent(status))
}

#[derive(Debug)]
struct Silent(u8);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}", self.0)
    }
}

impl Error for Silent {}

/// The mark on a broken pipe that is our own standard output's.
#[derive(Debug)]
pub(crate) struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output went away")
    }
}

impl Error for ClosedPipe {}

/// An error of a stream, of the same kind, below the words for what was being done: "reading standard input".
pub(crate) fn during(what: impl Into<Cow<'static, str>>, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), During { what: what.into(), cause })
}

#[derive(Debug)]
struct During {
    what: Cow<'static, str>,
    cause: io::Error,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for During {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// The links of an error's chain, outermost first.
///
/// `io::Error::source` leaves out the error that an `io::Error` was made from; this doesn't.
fn links(outermost: &Link) -> impl Iterator<Item = &Link> {
    iter::successors(Some(outermost), |&link| {
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &Link),
            None => link.source(),
        }
    })
}

/// A link of an error's chain as a library's error, if it is one of the types that the command lists.
fn of_library<'e>(libraries: &[Look], link: &'e Link) -> Option<&'e dyn HasKind> {
    libraries.iter().find_map(|look| look(link))
}

/// The exit code of an error: the first answer along its chain, else that it failed.
///
/// A library's error that only says that something failed, as reading does whatever it reads, leaves the answer to its
/// causes. Our own closed pipe ends the matter wherever it stands.
pub fn code(error: &anyhow::Error, libraries: &[Look]) -> Code {
    if links(error.as_ref()).any(<Link>::is::<ClosedPipe>) {
        return Code::ClosedPipe;
    }
    for link in links(error.as_ref()) {
        let answer = match link.downcast_ref::<Failure>() {
            Some(failure) => failure.code,
            None => of_library(libraries, link)
                .map(HasKind::kind)
                .filter(|kind| *kind != ErrorKind::Failed)
                .map(Code::from),
        };
        if let Some(code) = answer {
            return code;
        }
    }
    // A failure given to `context` is no link of its own; anyhow alone finds it.
    error.downcast_ref::<Failure>().and_then(|failure| failure.code).unwrap_or(Code::Failed)
}

/// The status of a run that ends without a word.
pub(crate) fn silent_status(error: &anyhow::Error) -> Option<u8> {
    links(error.as_ref()).find_map(|link| Some(link.downcast_ref::<Silent>()?.0))
}

/// What is told of an error.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What went wrong, with its causes; clean.
    message: String,
    /// What can be done about it.
    hints: Vec<String>,
    /// The help, which stands for both where there were no arguments at all.
    help: Option<String>,
}

impl Report {
    /// The same with a hint that is better than those that it has, of which the last stays.
    pub(crate) fn with_hint_first(mut self, hint: &str) -> Self {
        self.hints = self.hints.pop().into_iter().collect();
        self.hints.insert(0, hint.to_owned());
        self
    }

    /// The same with another word in the message.
    pub(crate) fn replacing(mut self, word: &str, by: &str) -> Self {
        self.message = self.message.replacen(word, by, 1);
        self
    }

    /// An error and its causes, with the hints that the libraries' errors know for the program of this name.
    pub(crate) fn of(error: &anyhow::Error, program: &str, libraries: &[Look]) -> Self {
        let mut texts: Vec<String> = vec![];
        let mut hints: Vec<String> = vec![];
        for link in links(error.as_ref()) {
            let failure = link.downcast_ref::<Failure>();
            let own = failure.map(|failure| failure.hints.as_slice()).unwrap_or_default();
            let advice = of_library(libraries, link).and_then(|known| known.advice(program));
            for hint in own.iter().cloned().chain(advice) {
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
            // A failure without a message only stands for its cause.
            if failure.is_none_or(|failure| failure.message.is_some()) {
                push_cause(&mut texts, shorten(&clean(&describe(link))));
            }
        }
        Self { message: texts.join(": "), hints, help: None }
    }

    /// For people: `program: context: cause`, then a line for each hint.
    pub(crate) fn lines(&self, program: &str) -> String {
        if let Some(help) = &self.help {
            return help.clone();
        }
        let mut lines = format!("{}: {}\n", clean(program), self.message);
        for hint in &self.hints {
            writeln!(lines, "hint: {}", clean(hint)).expect("a string takes everything");
        }
        lines
    }

    /// For programs: an object on a line.
    pub(crate) fn object(&self, program: &str, status: Option<u8>) -> String {
        let message = if self.help.is_some() { "arguments are missing" } else { &self.message };
        let hints: Vec<_> = self.hints.iter().map(|hint| clean(hint)).collect();
        let fields = [("message", message.into()), ("hints", hints.into())];
        let exit = status.map(|status| ("exit", status.into()));
        json::line(program, "error", fields.into_iter().chain(exit))
    }
}

/// An error as it is reported: `program: context: cause`, then a line for each hint.
pub fn line(program: &str, error: &anyhow::Error) -> String {
    Report::of(error, program, &[]).lines(program)
}

/// An error and its causes, for a part of a line: of a warning, or of a list.
pub fn chain(error: &Link) -> String {
    let mut texts: Vec<String> = vec![];
    links(error).for_each(|link| push_cause(&mut texts, describe(link)));
    texts.join(": ")
}

/// Writes an error to standard error where `main` doesn't: before a run, or when its exit status is another program's.
pub fn report(program: &str, error: &anyhow::Error) {
    write(program, &Report::of(error, program, &[]), None);
}

/// Writes an error to standard error: in lines, or as a JSON object with the status that the program exits with.
pub(crate) fn write(program: &str, report: &Report, status: Option<u8>) {
    let text = if is_json() { report.object(program, status) } else { report.lines(program) };
    Stderr::Process.write(&text);
}

/// Wrong usage as clap sees it, with the hints that the libraries' errors know.
pub(crate) fn wrong_usage(program: &str, error: &clap::Error, libraries: &[Look]) -> Report {
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Report { help: Some(text), ..Report::default() };
    }
    let mut message = Vec::new();
    let mut hints = Vec::new();
    // A verb has its own help, and clap tells which one was meant.
    let mut command = program.to_owned();
    for line in text.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            // That `-- -a` is a name is nothing for who mistook an option.
            if !tip.starts_with("to pass '") {
                hints.push(tip.to_owned());
            }
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            let words: Vec<_> = usage.split(' ').take_while(is_name).collect();
            command = words.join(" ");
            break;
        } else if line.starts_with("For more information") {
            break;
        } else if !line.is_empty() && hints.is_empty() {
            message.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    let known = links(error).filter_map(|link| of_library(libraries, link));
    hints.extend(known.filter_map(|known| known.advice(program)));
    hints.push(format!("{command} --help"));
    Report { message: clean(&message.join(" ")).into_owned(), hints, help: None }
}

/// Makes a panic, which is always a mistake of ours, look like any other error.
pub(crate) fn hook_panics(program: &str) {
    let program = program.to_owned();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let what = text.unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = format!("internal error: {}", clean(&format!("{what} ({place})")));
        let hints = vec!["this is a mistake in the program, please report it".to_owned()];
        write(&program, &Report { message, hints, help: None }, None);
    }));
}

/// The message of a link. The system's own messages are made to look like ours.
fn describe(link: &Link) -> String {
    link.downcast_ref::<io::Error>().map_or_else(|| link.to_string(), reason)
}

/// Appends the text of a cause, unless it is empty or the text above ends with it, as some libraries' messages do.
fn push_cause(texts: &mut Vec<String>, cause: String) {
    let is_said = texts.last().is_some_and(|above| {
        above.strip_suffix(&*cause).is_some_and(|rest| rest.is_empty() || rest.ends_with(": "))
    });
    if !is_said && !cause.is_empty() {
        texts.push(cause);
    }
}

/// A text that isn't too long for a line: the middle is left out of words, such as paths and names, of more than 300 bytes,
/// and of a text of more than 16,000 bytes, in which all blobs of two hundred layers have room.
fn shorten(text: &str) -> String {
    let words: Vec<_> = text.split(' ').map(|word| without_middle(word, 300, 150)).collect();
    without_middle(&words.join(" "), 16_000, 4_000).into_owned()
}

/// A text of more than `most` bytes by its first half of them, and its last `end` bytes.
fn without_middle(text: &str, most: usize, end: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=most / 2).rev().find(is_boundary).unwrap_or(0);
    let tail = (text.len() - end..text.len()).find(is_boundary).unwrap_or(text.len());
    Cow::Owned(format!("{}…{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests;
