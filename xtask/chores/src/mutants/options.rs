//! `cargo xtask mutants --options`: every option of every program is ignored once, and a test should see it.
//!
//! The faults of the other mutants stand in the code; here the command line is parsed twice. The second time the option
//! has another name that nobody gives, so that its field holds what it holds without it; clap's checks of the line
//! (what needs what, what contradicts what) have been made the first time and aren't made again. For each option,
//! [`TABLE`] names a test that fails then; `cargo xtask tidy` sees to it that no option is without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};

use super::copy::{self, SWITCH, write_if_new};
use super::suite::{self, Fate, Recorded};
use crate::commands::{COMMANDS, Entry};
use xtask::run::{root, say};
use xtask::suite::Test;

/// The table: `program --option: package module::test`, a line each.
pub(crate) const TABLE: &str = "tests/options.txt";

/// What stands above the table's lines.
const HEAD: &str = "\
# For each option of each program a test that fails if the option is ignored: `program --option: package test`.
# Written by `cargo xtask mutants --options`, which ignores each of them; `cargo xtask tidy` compares it with clap's definitions.
";

/// The tests that start programs.
const TARGETS: &[&str] = &["--test", "it", "--test", "cli", "--test", "peers"];

/// Where command lines are parsed, and what is put there.
const PARSER: &str = "crates/cli/src/run.rs";
const PARSED: &str = "command.clone().try_get_matches()";
const PARSED_TWICE: &str = "ignoring::matches(command.clone())";

/// An option of a program, or of one of its subcommands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    program: &'static str,
    /// Empty for the program itself.
    subcommand: String,
    /// What clap calls it.
    id: String,
    /// As it is written: `--json`.
    flag: String,
}

impl std::fmt::Display for Opt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { program, subcommand, flag, .. } = self;
        let between = if subcommand.is_empty() { "" } else { " " };
        write!(f, "{program}{between}{subcommand} {flag}")
    }
}

/// Every option, in the order in which docs/cli.md shows them. What is for all subcommands is there once.
pub(crate) fn all(commands: &[Entry]) -> Vec<Opt> {
    let mut options = vec![];
    for (program, command) in commands {
        let command = command();
        options.extend(of(program, "", &command));
        for subcommand in command.get_subcommands() {
            options.extend(of(program, subcommand.get_name(), subcommand));
        }
    }
    options
}

fn of(program: &'static str, subcommand: &str, command: &clap::Command) -> Vec<Opt> {
    let flag = |arg: &clap::Arg| {
        let short = || arg.get_short().map(|short| format!("-{short}"));
        arg.get_long().map(|long| format!("--{long}")).or_else(short)
    };
    let options = command.get_arguments().filter_map(|arg| {
        let (id, flag) = (arg.get_id().to_string(), flag(arg)?);
        Some(Opt { program, subcommand: subcommand.to_owned(), id, flag })
    });
    options.collect()
}

/// The table's lines: an option as it is shown, and the test that sees it.
pub(crate) fn read(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(option, test)| (option.to_owned(), test.to_owned()))
        .collect()
}

/// Ignores each option whose name holds a text, looks whether a test fails, and writes the table.
///
/// The tests that the table names come first: as long as they see their options, the table stays as it is. Only for the
/// others it takes a run of all tests to learn which of them give the option; those of `tests/peers` are left to people
/// who name one in the table.
pub(super) fn options(only: Option<&str>) -> anyhow::Result<()> {
    let options = all(COMMANDS);
    let chosen: Vec<usize> = (0..options.len())
        .filter(|&at| only.is_none_or(|text| options[at].to_string().contains(text)))
        .collect();
    ensure!(!chosen.is_empty(), "no such option");
    let tests = make(&options)?;
    let mut table = read(&fs::read_to_string(root().join(TABLE)).unwrap_or_default());
    table.retain(|option, _| options.iter().any(|known| known.to_string() == *option));
    let named: BTreeSet<&String> =
        chosen.iter().filter_map(|&at| table.get(&options[at].to_string())).collect();
    let named: Vec<Test> =
        tests.iter().filter(|test| named.contains(&test.to_string())).cloned().collect();
    say(&format!("{} options; the table names {} tests", chosen.len(), named.len()));
    let mut fates = judge(&suite::record(&named, options.len()), &chosen);
    let is_unseen = |at: &usize| !matches!(fates[at], Fate::Caught(_));
    let rest: Vec<usize> = chosen.iter().copied().filter(is_unseen).collect();
    for &at in &rest {
        say(&format!("not seen by the test that the table names, if any: {}", options[at]));
    }
    if !rest.is_empty() {
        let own: Vec<Test> = tests.into_iter().filter(|test| !test.is_of_peers()).collect();
        say(&format!("{} are left for all {} tests", rest.len(), own.len()));
        fates.extend(judge(&suite::record(&own, options.len()), &rest));
    }
    let mut n_unseen = 0;
    for (at, fate) in fates {
        let option = options[at].to_string();
        match fate {
            Fate::Caught(test) => {
                table.insert(option, test.to_string());
                continue;
            }
            Fate::Survived => say(&format!("no test fails without {option}")),
            Fate::Unreached => say(&format!("no test gives {option}")),
        }
        table.remove(&option);
        n_unseen += 1;
    }
    fs::write(root().join(TABLE), show(&options, &table)).context(TABLE)?;
    ensure!(n_unseen == 0, "{n_unseen} options may be ignored, and no test sees it");
    Ok(())
}

/// What becomes of each of these options.
fn judge(tests: &[Recorded], chosen: &[usize]) -> BTreeMap<usize, Fate> {
    let fates = Mutex::new(BTreeMap::new());
    let catches = suite::Catches::default();
    xtask::suite::at_once(chosen.len(), xtask::suite::workers(), |at| {
        let nowhere = suite::Place { file: "", package: "" };
        let fate = suite::fate(tests, chosen[at], nowhere, &catches);
        fates.lock().expect("no worker panics").insert(chosen[at], fate);
    });
    fates.into_inner().expect("no worker panics")
}

fn show(options: &[Opt], table: &BTreeMap<String, String>) -> String {
    let mut text = HEAD.to_owned();
    for option in options {
        if let Some(test) = table.get(&option.to_string()) {
            writeln!(text, "{option}: {test}").expect("writing to a String can't fail");
        }
    }
    text
}

fn tree() -> PathBuf {
    root().join("target/mutants/options")
}

fn cargo() -> Command {
    copy::cargo(&tree(), &root().join("target/mutants/options-build"))
}

/// Copies the workspace, with a parser that ignores the option whose number [`copy::ACTIVE`] says, and builds programs and
/// tests.
fn make(options: &[Opt]) -> anyhow::Result<Vec<Test>> {
    for path in copy::paths()? {
        let bytes = fs::read(root().join(&path)).with_context(|| path.clone())?;
        if path != PARSER {
            write_if_new(&tree().join(&path), &bytes)?;
            continue;
        }
        let text = String::from_utf8(bytes).context("not text")?;
        ensure!(text.matches(PARSED).count() == 1, "{PARSER} parses in another way now");
        let text = text.replace(PARSED, PARSED_TWICE) + SWITCH + IGNORING + &numbered(options);
        write_if_new(&tree().join(&path), text.as_bytes())?;
    }
    let programs = COMMANDS.iter().flat_map(|(name, _)| ["--bin", name]);
    let built = cargo().args(["build", "--workspace"]).args(programs).status();
    ensure!(built.context("starting cargo")?.success(), "the copy doesn't build");
    xtask::suite::list(cargo(), TARGETS)
}

/// The options as a constant of the copy.
fn numbered(options: &[Opt]) -> String {
    let mut text = "const OPTIONS: &[(&str, &str, &str)] = &[\n".to_owned();
    for Opt { program, subcommand, id, .. } in options {
        writeln!(text, "    ({program:?}, {subcommand:?}, {id:?}),")
            .expect("writing to a String can't fail");
    }
    text + "];\n"
}

/// The parser of the copy.
const IGNORING: &str = r#"
mod ignoring {
    use clap::parser::ValueSource;
    use clap::{ArgMatches, Command};

    pub fn matches(command: Command) -> Result<ArgMatches, clap::Error> {
        let matches = command.clone().try_get_matches()?;
        let name = command.get_name().to_owned();
        for (number, &(program, subcommand, id)) in super::OPTIONS.iter().enumerate() {
            if program == name && is_given(&matches, subcommand, id) && super::mutant::on(number) {
                let command = match subcommand {
                    "" => without(command, id),
                    _ => command.mut_subcommand(subcommand, |inner| without(inner, id)),
                };
                return command.ignore_errors(true).try_get_matches();
            }
        }
        Ok(matches)
    }

    fn is_given(matches: &ArgMatches, subcommand: &str, id: &str) -> bool {
        let inner = match subcommand {
            "" => Some(matches),
            _ => matches.subcommand_matches(subcommand),
        };
        inner.is_some_and(|inner| inner.value_source(id) == Some(ValueSource::CommandLine))
    }

    /// The option goes to a field that is never read, and its own field gets another name.
    fn without(command: Command, id: &'static str) -> Command {
        let option = command.get_arguments().find(|arg| arg.get_id() == id).cloned();
        let option = option.expect("the option is there");
        let taker = option.id("strata-ignored").env(None::<&'static str>);
        let renamed = command.mut_arg(id, |arg| arg.long("strata-renamed").short(None::<char>));
        renamed.arg(taker)
    }
}

"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> clap::Command {
        let flag = |name: &'static str| clap::Arg::new(name).long(name);
        let gc = clap::Command::new("gc").arg(flag("force"));
        clap::Command::new("images").arg(flag("json")).arg(clap::Arg::new("NAME")).subcommand(gc)
    }

    #[test]
    fn options_are_those_of_programs_and_subcommands_without_positions() {
        let found: Vec<_> = all(&[("images", example)]).iter().map(Opt::to_string).collect();
        assert_eq!(found, ["images --json", "images gc --force"]);
    }

    #[test]
    fn the_table_is_read_as_it_was_written() {
        let options = all(&[("images", example)]);
        let table = BTreeMap::from([("images --json".to_owned(), "tests a::b".to_owned())]);
        let text = show(&options, &table);
        assert_eq!(text, format!("{HEAD}images --json: tests a::b\n"));
        assert_eq!(read(&text), table);
    }
}
