//! A command's own errors: an exit code, a message, hints; and the walk along an error's chain.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::path::Path;

use crate::output::ClosedPipe;
use crate::{Code, Link, report};

/// An error that knows its exit code and what the user can do about it.
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

    /// That a file which was named on the command line can't be opened: it may not be there.
    pub fn opening(path: &Path, error: io::Error) -> Self {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let code = if is_missing { Code::NotFound } else { Code::Failed };
        Self::new(code, report::clean_path(path)).because(error)
    }

    /// A failure that adds nothing to `cause` but what is attached later.
    pub fn from_cause(cause: impl Into<anyhow::Error>) -> Self {
        Self { cause: Some(cause.into()), ..Self::default() }
    }

    /// Attaches what the user can do about it, often a command line.
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

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Whether it only stands for its cause in a report.
    pub(crate) const fn is_mute(&self) -> bool {
        self.message.is_none()
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

/// An error that ends the program with this very status and without a word.
///
/// For statuses that are an answer (`changes`) or somebody else's (`union … -- COMMAND`).
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

/// An error of a stream, told with what was done to it; the kind stays.
pub(crate) fn during(what: &'static str, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), During { what, cause })
}

#[derive(Debug)]
struct During {
    what: &'static str,
    cause: io::Error,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl Error for During {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Hints and exit codes for any error on its way up.
pub trait Explain<T, E> {
    /// Attaches a hint to the error.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;

    /// Attaches a hint that costs something to write.
    fn with_hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> anyhow::Result<T>;

    /// Attaches the hint that the error knows, if it does.
    fn hinted(self, hint: impl FnOnce(&E) -> Option<String>) -> anyhow::Result<T>;

    /// Sets the exit code of the error; it wins over those of its causes.
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

/// The links of an error's chain, outermost first.
///
/// `io::Error::source` leaves out the error that an `io::Error` was made from; this doesn't.
pub(crate) fn links(error: &anyhow::Error) -> impl Iterator<Item = &Link> {
    let outermost: &(dyn Error + Send + Sync + 'static) = error.as_ref();
    links_of(outermost)
}

/// The same of an error of a library's.
pub(crate) fn links_of(outermost: &Link) -> impl Iterator<Item = &Link> {
    iter::successors(Some(outermost), |&link| {
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &Link),
            None => link.source(),
        }
    })
}

/// The exit code of an error: the first answer along its chain, else that it failed.
///
/// A library's error that only says that something failed, as reading does whatever it reads, leaves the answer to its
/// causes. Our own closed pipe ends the matter wherever it stands.
pub(crate) fn code(error: &anyhow::Error, known: fn(&Link) -> Option<Code>) -> Code {
    if links(error).any(<Link>::is::<ClosedPipe>) {
        return Code::ClosedPipe;
    }
    let answer = |link: &Link| match link.downcast_ref::<Failure>() {
        Some(failure) => failure.code,
        None => known(link).filter(|&code| code != Code::Failed),
    };
    // A failure given to `context` is no link of its own; anyhow alone finds it.
    let context = || error.downcast_ref::<Failure>()?.code;
    links(error).find_map(answer).or_else(context).unwrap_or(Code::Failed)
}

/// The status of a run that ends without a word.
pub(crate) fn silent_status(error: &anyhow::Error) -> Option<u8> {
    links(error).find_map(|link| Some(link.downcast_ref::<Silent>()?.0))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[derive(Debug)]
    struct Denied;

    impl fmt::Display for Denied {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("denied")
        }
    }

    impl Error for Denied {}

    #[derive(Debug)]
    struct Reading(io::Error);

    impl fmt::Display for Reading {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("reading")
        }
    }

    impl Error for Reading {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn known(link: &Link) -> Option<Code> {
        let failed = link.is::<Reading>().then_some(Code::Failed);
        link.is::<Denied>().then_some(Code::Unauthorised).or(failed)
    }

    #[track_caller]
    fn check(error: impl Into<anyhow::Error>, expected: Code) {
        assert_eq!(code(&error.into(), known), expected);
    }

    #[test]
    fn an_unknown_error_has_failed() {
        check(anyhow!("something"), Code::Failed);
    }

    #[test]
    fn a_failure_brings_its_code_from_any_depth() {
        check(usage("no"), Code::Usage);
        check(
            Err::<(), _>(Failure::new(Code::NotFound, "x")).context("y").context("z").unwrap_err(),
            Code::NotFound,
        );
        check(Err::<(), _>(anyhow!("x")).context(usage("as context")).unwrap_err(), Code::Usage);
    }

    #[test]
    fn a_library_error_is_found_inside_an_io_error() {
        let inner = io::Error::other(Denied);
        check(inner, Code::Unauthorised);
        let nested = io::Error::other(io::Error::other(Denied));
        check(anyhow::Error::new(nested).context("reading"), Code::Unauthorised);
    }

    #[test]
    fn what_only_failed_leaves_the_answer_to_its_causes() {
        check(Reading(io::Error::other(Denied)), Code::Unauthorised);
        check(Reading(io::Error::other("no space")), Code::Failed);
        check(Failure::new(Code::Failed, "no").because(Denied), Code::Failed);
    }

    #[test]
    fn the_outermost_answer_wins() {
        check(Failure::new(Code::Network, "net").because(Denied), Code::Network);
        check(Err::<(), _>(Denied).code(Code::Untrusted).unwrap_err(), Code::Untrusted);
    }

    #[test]
    fn a_hint_leaves_the_code_to_the_cause() {
        check(Err::<(), _>(Denied).hint("log in").unwrap_err(), Code::Unauthorised);
        assert_eq!(Err::<(), _>(Denied).hinted(|_| None).unwrap_err().to_string(), "denied");
        let known = Err::<(), _>(Denied).hinted(|error| Some(error.to_string())).unwrap_err();
        assert_eq!(known.downcast_ref::<Failure>().unwrap().hints(), ["denied"]);
        let twice = Err::<(), _>(usage("x")).context("y").hint("a").with_hint(|| "b").unwrap_err();
        assert_eq!(twice.to_string(), "y");
        check(twice, Code::Usage);
    }

    #[test]
    fn a_file_that_cannot_be_opened_may_not_be_there() {
        let failure = |kind: io::ErrorKind| Failure::opening(Path::new("a\n"), kind.into());
        assert_eq!(failure(io::ErrorKind::NotFound).to_string(), "a\\n");
        check(failure(io::ErrorKind::NotFound), Code::NotFound);
        check(failure(io::ErrorKind::PermissionDenied), Code::Failed);
    }

    #[test]
    fn a_strange_broken_pipe_is_a_failure() {
        let strange = io::Error::new(io::ErrorKind::BrokenPipe, "the registry hung up");
        check(strange, Code::Failed);
        check(io::Error::from(io::ErrorKind::BrokenPipe), Code::Failed);
    }

    #[test]
    fn our_own_broken_pipe_is_known_by_its_mark() {
        let own = crate::Output::mark(io::Error::from(rustix::io::Errno::PIPE));
        check(anyhow::Error::new(own).context(usage("whatever stands above")), Code::ClosedPipe);
    }

    #[test]
    fn a_silent_end_has_its_status() {
        assert_eq!(silent_status(&silent(125).context("x")), Some(125));
        assert_eq!(silent_status(&anyhow!("x")), None);
    }
}
