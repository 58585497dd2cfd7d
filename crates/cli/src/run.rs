//! The frame of every program: arguments in, `run` called, an exit status out.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use report::Look;

use crate::error::{self, Code, Report};
use crate::interrupt;
use crate::io::Io;
use crate::options::{Common, When};
use crate::output::Output;
use crate::stderr::note_json;
use crate::system;

/// The arguments of a command, and what the command knows about its errors.
pub trait Command: Parser {
    /// The errors of the libraries that it uses.
    const ERRORS: &'static [Look];

    /// Whether the program may come to hold a login: then it dumps no core, and no other program of the user reads its
    /// memory.
    const HOLDS_LOGINS: bool = false;

    /// Subcommands that other tools have for the same, and what to type instead.
    const WORDS: &'static [(&'static str, &'static str)] = &[];

    /// The flags that every command has.
    fn common(&self) -> &Common;

    /// The exit status for a failure, for the few commands whose statuses follow another convention, as those of `diff` or
    /// `env` do. Asked without the arguments, which may be what is wrong.
    fn status(code: Code) -> u8 {
        code.status()
    }
}

/// Parses the arguments, runs the command, reports how it went, and gives the exit code.
pub fn main<A: Command>(run: fn(&A, &mut Io<'_>) -> anyhow::Result<()>) -> ExitCode {
    let name = A::command().get_name().to_owned();
    error::hook_panics(&name);
    if A::HOLDS_LOGINS {
        system::hide_memory();
    }
    let args = match parse::<A>() {
        Ok(args) => args,
        Err(error) => {
            note_json(asks_for_json(env::args_os()));
            return ExitCode::from(answer::<A>(&name, &error));
        }
    };
    note_json(args.common().progress == When::Json);
    let mut io = Io::standard(&name, args.common());
    let result = interrupt::install().and_then(|()| run(&args, &mut io));
    ExitCode::from(conclude::<A>(&mut io, result))
}

/// Parses the command line. An environment variable that is empty is as good as none.
fn parse<A: Command>() -> Result<A, clap::Error> {
    let mut command = A::command().mut_args(|arg| {
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg }
    });
    if command.get_version().is_some() {
        // The programs are one package: their versions are one.
        command = command.version(concat!("(strata) ", env!("CARGO_PKG_VERSION")));
    }
    let matches = command.clone().try_get_matches();
    A::from_arg_matches(&matches?).map_err(|error| error.format(&mut command))
}

/// Whether arguments that make no sense ask for progress as JSON all the same.
fn asks_for_json(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<_> = args.collect();
    args.iter().any(|arg| arg == "--progress=json")
        || args.windows(2).any(|pair| pair == ["--progress", "json"])
}

/// Whether an environment variable is there, and empty.
fn is_empty(name: &OsStr) -> bool {
    env::var_os(name).is_some_and(|value| value.is_empty())
}

/// Answers what clap took over: help and version on standard output, wrong usage on standard error.
fn answer<A: Command>(name: &str, error: &clap::Error) -> u8 {
    if error.use_stderr() {
        let status = A::status(Code::Usage);
        let report = error::wrong_usage(name, error, A::ERRORS);
        let report = match foreign_word(error, A::WORDS) {
            Some(instead) => report.with_hint_first(instead),
            None => of_variable(report, error, A::command()),
        };
        error::write(name, &report, Some(status));
        return status;
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

/// What to type instead of another tool's subcommand, if that is what was typed.
fn foreign_word(
    error: &clap::Error,
    words: &[(&'static str, &'static str)],
) -> Option<&'static str> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    words.iter().find(|(word, _)| word == typed).map(|(_, instead)| *instead)
}

/// Names the environment variable in place of its option, if the value came from there.
fn of_variable(report: Report, error: &clap::Error, mut command: clap::Command) -> Report {
    // Before this, an option doesn't know its own form.
    command.build();
    let context = (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue));
    let (Some(ContextValue::String(option)), Some(ContextValue::String(value))) = context else {
        return report;
    };
    let was_typed = |arg: &OsString| arg.to_string_lossy().ends_with(value.as_str());
    let mut args = command.get_arguments().filter(|arg| arg.to_string() == *option);
    let Some(arg) = args.next() else { return report };
    let Some(name) = arg.get_env().filter(|name| {
        env::var_os(name).is_some_and(|it| it == **value)
            && !env::args_os().any(|it| was_typed(&it))
    }) else {
        return report;
    };
    let name = name.to_string_lossy();
    let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let stands =
        format!("the variable stands for --{}: {about}", arg.get_id().as_str().replace('_', "-"));
    report.replacing(&format!("'{option}'"), &name).with_hint_first(&stands)
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
        Err(error) => match interrupt::received() {
            Some(signal) => interrupt::die(signal),
            None => fail::<A>(io.name(), &error),
        },
    }
}

/// Reports an error and gives the exit status it stands for.
fn fail<A: Command>(name: &str, error: &anyhow::Error) -> u8 {
    if let Some(status) = error::silent_status(error) {
        return status;
    }
    match error::code(error, A::ERRORS) {
        Code::ClosedPipe => Code::ClosedPipe.status(),
        code => {
            let status = A::status(code);
            error::write(name, &Report::of(error, name, A::ERRORS), Some(status));
            status
        }
    }
}
