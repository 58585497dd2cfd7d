//! The `strata` command: all programs in one file.
//!
//! Which of them it is, its own name says (a link `pull` to it is `pull`), or else its first argument (`strata pull …`). In the
//! second case it executes itself under that name, so that a program sees the same arguments in both.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use cli::{Io, usage};
use report::Look;

/// A program's name, what it does, and how it begins.
struct Program {
    name: &'static str,
    about: fn() -> clap::Command,
    main: fn() -> ExitCode,
}

macro_rules! programs {
    ($($program:ident: $main:expr),* $(,)?) => {
        &[$(Program {
            name: stringify!($program),
            about: <$program::Args as clap::CommandFactory>::command,
            main: $main,
        }),*]
    };
}

/// All programs, those of the first steps first.
const PROGRAMS: &[Program] = programs![
    pull: || cli::main(pull::run),
    unpack: || cli::main(unpack::run),
    snapshot: || cli::main(snapshot::run),
    commit: || cli::main(commit::run),
    rebase: || cli::main(rebase::run),
    save: || cli::main(save::run),
    load: || cli::main(load::run),
    push: || cli::main(push::run),
    remote: || cli::main(remote::run),
    images: || cli::main(images::run),
    inspect: || cli::main(inspect::run),
    flatten: || cli::main(flatten::run),
    changes: || cli::main(changes::run),
    union: union::main,
];

/// All of Strata's programs in one
///
/// `strata pull …` is `pull …`, and so is a link to this file with the name pull. The programs, each with its own --help:
#[derive(clap::Parser, Debug)]
#[command(name = "strata", version, after_help = after_help())]
pub struct Args {
    /// Make a link to this file for each program in DIR, and print their paths
    #[arg(long, value_name = "DIR")]
    install_links: Option<PathBuf>,
    /// One of the programs, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
    #[arg(skip)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// What docker, podman, skopeo, crane and umoci call these.
const WORDS: &[(&str, &str)] = &[
    ("build", "strata commit makes an image of a directory or a layer"),
    ("copy", "strata pull NAME, strata push IMAGE NAME, strata remote copy IMAGE NAME"),
    ("cp", "strata inspect --cat PATH IMAGE, strata unpack --from IMAGE --only PATH DIR"),
    ("delete", "strata remote rm NAME, strata images rm NAME"),
    ("diff", "strata changes A B"),
    ("digest", "strata remote digest NAME"),
    ("export", "strata flatten IMAGE writes all files as one tar"),
    ("history", "strata inspect --history IMAGE"),
    ("import", "strata commit --base scratch -t NAME takes a tar"),
    ("list", "strata images lists those of the store, strata remote tags REPO those of a registry"),
    ("list-tags", "strata remote tags REPO"),
    ("login", "strata remote login HOST"),
    ("logout", "strata remote logout HOST"),
    ("ls", "strata images lists those of the store, strata remote tags REPO those of a registry"),
    ("manifest", "strata inspect --raw IMAGE, strata remote manifest NAME"),
    ("mount", "strata union IMAGE DIR"),
    ("prune", "strata images prune"),
    ("repack", "strata snapshot DIR | strata commit -t NAME"),
    ("rm", "strata images rm NAME"),
    ("rmi", "strata images rm NAME"),
    ("run", "strata union IMAGE -- COMMAND"),
    ("squash", "strata flatten IMAGE --as-image NAME | strata load"),
    ("tag", "strata images tag IMAGE NAME"),
    ("tags", "strata remote tags REPO"),
    ("umount", "strata union --umount DIR"),
    ("verify", "strata images verify"),
];

/// The list of programs and the examples below the help.
fn after_help() -> String {
    let line = |program: &Program| {
        let about = (program.about)().get_about().map(ToString::to_string).unwrap_or_default();
        format!("  {:<9} {about}\n", program.name)
    };
    let examples = cli::examples(&[
        ("strata pull alpine | strata unpack rootfs", "From a registry to a root file system"),
        (
            "strata --install-links /usr/local/bin",
            "pull, unpack and the others, by their own names",
        ),
    ]);
    format!("Programs:\n{}\n{examples}", PROGRAMS.iter().map(line).collect::<String>())
}

/// The program that this one is called as.
pub fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let own = arguments.next().unwrap_or_default();
    if let Some(program) = Path::new(&own).file_name().and_then(find) {
        return (program.main)();
    }
    match arguments.next().as_deref().and_then(find) {
        Some(program) => start(program, &own, arguments),
        None => cli::main(run),
    }
}

fn find(name: &OsStr) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| name == program.name)
}

/// Executes this file under the name of a program; returns only if that fails. Without /proc, nothing tells where this file is but the
/// word by which it was called.
fn start(program: &Program, own: &OsStr, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let path = env::current_exe().unwrap_or_else(|_| PathBuf::from(own));
    let error = Command::new(path).arg0(program.name).args(arguments).exec();
    cli::error::report(program.name, &anyhow::Error::from(error).context("starting the program"));
    ExitCode::FAILURE
}

/// Runs the command itself, which has no program to be.
///
/// # Errors
/// The first argument is no program, or a link can't be made.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    match (&args.install_links, &args.program[..]) {
        (Some(dir), []) => install_links(dir, io),
        (_, [word, ..]) => {
            let word = cli::text::clean_path(Path::new(word));
            let instead = WORDS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
            let failure = usage(format!("{word}: not one of the programs"));
            let failure = instead.into_iter().fold(failure, cli::Failure::hint);
            Err(failure.hint("strata --help lists them").into())
        }
        (None, []) => Err(usage("which program?").hint("strata --help lists them").into()),
    }
}

/// Makes the links. Those that are there already are left, and nothing else is replaced.
fn install_links(dir: &Path, io: &mut Io<'_>) -> anyhow::Result<()> {
    let own = env::current_exe().context("finding this file")?;
    let shown = |path: &Path| cli::text::clean_path(path);
    for program in PROGRAMS {
        let link = dir.join(program.name);
        match std::os::unix::fs::symlink(&own, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(&link, &own) => {}
            made => made.with_context(|| format!("{}: making the link", shown(&link)))?,
        }
        writeln!(io.output, "{}", shown(&link))?;
    }
    Ok(io.output.flush()?)
}

/// Whether a link leads to this file.
fn is_ours(link: &Path, own: &Path) -> bool {
    link.is_symlink() && fs::canonicalize(link).ok() == fs::canonicalize(own).ok()
}
