//! What a command is, on a terminal: streams, progress, errors, signals, exit codes.
//!
//! Every program of the workspace is a function `run(&Args, &mut Io) -> anyhow::Result<()>`, and its
//! `main.rs` is one call of [`main()`] here. What `run` may take for granted:
//!
//! - [`Io`] holds the two streams and the talk. Data goes to `io.output`, talk to standard error.
//! - An error is returned, never printed. [`Failure`] and [`Explain`] give it an exit code and hints.
//! - INT, TERM and HUP end reads of the input with an error, so that `run` unwinds and its `Drop`
//!   guards clean up; [`interrupt`] tells more.
//!
//! This crate doesn't know what an image is.

mod array;
mod closed;
mod exit;
mod failure;
mod form;
mod glob;
mod input;
pub mod interrupt;
mod io;
mod network;
mod options;
mod output;
mod progress;
pub mod report;
mod send;
mod size;
mod table;
mod whole_file;

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use layer_format::{HasKind, Look};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub use crate::array::Array;
pub use crate::exit::Code;
pub use crate::failure::{Explain, Failure, silent, usage};
pub use crate::form::{Form, counted, put_bytes};
pub use crate::glob::Globs;
pub use crate::input::Input;
pub use crate::interrupt::Interrupted;
pub use crate::io::{Io, NamedOutput};
pub use crate::network::Network;
pub use crate::options::{Common, When, examples};
pub use crate::output::Output;
pub use crate::progress::{Counted, Meter, Progress, Task, human_size};
pub use crate::size::{Limits, check_size, parse_size};
pub use crate::table::Table;
pub use crate::whole_file::WholeFile;

/// One link of an error's chain.
pub type Link = dyn std::error::Error + 'static;

/// The arguments of a command, and what the command knows about its errors.
pub trait Command: Parser {
    /// The errors of the libraries that it uses.
    const ERRORS: &'static [Look];

    /// The flags that every command has.
    fn common(&self) -> &Common;

    /// The exit code that a link of the error chain stands for, if one of the libraries knows it; [`Failure`] needs no answer.
    fn code(link: &Link) -> Option<Code> {
        known::<Self>(link).map(|error| error.kind().into())
    }

    /// What the user may do about a link of the error chain, if one of the libraries knows it.
    fn advice(link: &Link, program: &str) -> Option<String> {
        known::<Self>(link)?.advice(program)
    }

    /// Whether the program may come to hold a login: then it dumps no core, and no other program of the user reads its
    /// memory.
    const HOLDS_LOGINS: bool = false;

    /// The exit status for a failure, for the few commands whose statuses follow another convention,
    /// as those of `diff` or `env` do.
    fn status(code: Code) -> u8 {
        code.status()
    }
}

/// A link of an error's chain, if it is of one of the libraries that the command uses.
fn known<C: Command>(link: &Link) -> Option<&dyn HasKind> {
    C::ERRORS.iter().find_map(|look| look(link))
}

/// Parses the arguments, runs the command, reports how it went, and gives the exit code.
pub fn main<A: Command>(run: fn(&A, &mut Io<'_>) -> anyhow::Result<()>) -> ExitCode {
    let name = A::command().get_name().to_owned();
    report::hook_panics(&name);
    if A::HOLDS_LOGINS {
        // Nothing else depends on it.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    }
    let args = match parse::<A>() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(answer::<A>(&name, &error)),
    };
    let mut io = Io::standard(&name, args.common());
    let result = interrupt::install().and_then(|()| run(&args, &mut io));
    ExitCode::from(conclude::<A>(&mut io, result))
}

/// Parses the command line. An environment variable that is empty is as good as none.
fn parse<A: Command>() -> Result<A, clap::Error> {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let mut command = A::command().mut_args(|arg| {
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg }
    });
    let matches = command.clone().try_get_matches();
    A::from_arg_matches(&matches?).map_err(|error| error.format(&mut command))
}

/// Answers what clap took over: help and version on standard output, wrong usage on standard error.
fn answer<A: Command>(name: &str, error: &clap::Error) -> u8 {
    if error.use_stderr() {
        report::write(&report::usage(name, error));
        return A::status(Code::Usage);
    }
    let mut output = Output::standard();
    let colours = output.is_terminal() && env::var_os("NO_COLOR").is_none();
    let text = error.render();
    let text = if colours { text.ansi().to_string() } else { text.to_string() };
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Code::Done.status(),
        Err(error) => fail::<A>(name, &error.into()),
    }
}

/// Flushes, takes the bars away, and turns the result of a run into an exit status.
fn conclude<A: Command>(io: &mut Io<'_>, result: anyhow::Result<()>) -> u8 {
    if let Some(signal) = interrupt::received() {
        io.progress.abandon();
        return interrupt::die(signal);
    }
    let flushed = io.output.flush();
    io.progress.finish();
    match result.and(flushed.map_err(Into::into)) {
        Ok(()) => Code::Done.status(),
        // The flush may be what the signal cut short.
        Err(_) if let Some(signal) = interrupt::received() => interrupt::die(signal),
        Err(error) => fail::<A>(io.name(), &error),
    }
}

/// Reports an error and gives the exit status it stands for.
fn fail<A: Command>(name: &str, error: &anyhow::Error) -> u8 {
    if let Some(status) = failure::silent_status(error) {
        return status;
    }
    match failure::code(error, A::code) {
        Code::ClosedPipe => Code::ClosedPipe.status(),
        code => {
            report::write(&report::error_with(name, error, A::advice));
            A::status(code)
        }
    }
}
