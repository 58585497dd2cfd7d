//! `cargo xtask guard`: how many instructions the programs execute for small images, by valgrind's callgrind, beside what they took when
//! that was written down. No clock takes part, so a machine that is busy changes nothing.
//!
//! The programs are those that the tests use, without optimisation: what grows in them is work, whatever the compiler makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use kit::image::random::random;
use kit::{Named, Producer};

use xtask::run::{output, root, run, say, works};
use xtask::workspace::Workspace;

/// What was written down: a compiler, then a job and a number in each line.
const TABLE: &str = "xtask/instructions.txt";
const HEAD: &str = "# Instructions that debug builds execute, by `cargo xtask guard --write`; `cargo xtask guard` allows 5 % more.";
const NAME: &str = "docker.io/library/app:1";

/// What `guard` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write down what is executed now
    #[arg(long)]
    pub(crate) write: bool,
}

/// What is counted: its name, what must be done before, and the program.
type Job = (&'static str, &'static str, &'static str);

const JOBS: &[Job] = &[
    ("load", "", "load -q image.tar"),
    ("save", "load -q image.tar", "save -q app:1 -o saved.tar"),
    (
        "unpack, the first time",
        "load -q image.tar",
        "unpack -q --no-sync --jobs 1 --from app:1 root",
    ),
    (
        "unpack, several layers at once",
        "load -q image.tar",
        "unpack -q --no-sync --jobs 3 --from app:1 root",
    ),
    (
        "unpack, again",
        "load -q image.tar && unpack -q --from app:1 before",
        "unpack -q --no-sync --jobs 1 --from app:1 root",
    ),
    (
        "snapshot",
        "load -q image.tar && unpack -q --from app:1 root && echo new > root/new",
        "snapshot -q root",
    ),
    (
        "commit",
        "load -q image.tar && unpack -q --from app:1 root && cp image.tar root && snapshot -q root > layer",
        "commit -q --base app:1 -t app:2 layer",
    ),
];

/// Compares, or writes down.
pub(crate) fn guard(args: &Args) -> anyhow::Result<()> {
    ensure!(works(&["valgrind", "--version"]), "valgrind isn't here: it counts the instructions");
    run(&["cargo", "build", "--workspace", "--bins"])?;
    let archive = Producer::Strata.write(&[Named::new(NAME, random(7, 4, 120))]);
    let bins = Workspace::read()?.target.join("debug");
    let counted = JOBS.iter().map(|job| Ok((job.0, count(job, &archive, &bins)?)));
    let counted: BTreeMap<&str, u64> = counted.collect::<anyhow::Result<_>>()?;
    let compiler = output(&["rustc", "--version"])?.trim().to_owned();
    if args.write {
        let lines = counted.iter().map(|(name, n)| format!("{name}: {n}\n"));
        let text = format!("{HEAD}\n{compiler}\n{}", lines.collect::<String>());
        return fs::write(root().join(TABLE), text).context(TABLE);
    }
    let text = fs::read_to_string(root().join(TABLE)).context(TABLE)?;
    let table = Table::parse(&text).with_context(|| format!("{TABLE} is malformed"))?;
    if table.compiler != compiler {
        say(&format!("nothing to compare with: the table is by {}", table.compiler));
        return Ok(());
    }
    let mut n_worse = 0;
    for (name, n) in counted {
        let verdict = table.verdict(name, n);
        n_worse += usize::from(verdict.is_worse);
        say(&format!("{name}: {n}{}", verdict.text));
    }
    ensure!(
        n_worse == 0,
        "{n_worse} programs do more than before: why? Then `cargo xtask guard --write`"
    );
    Ok(())
}

/// How many instructions a job's program executes.
fn count((name, before, program): &Job, archive: &[u8], bins: &Path) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir().context("a directory")?;
    fs::write(dir.path().join("image.tar"), archive).context("image")?;
    let shell = |line: &str| shell(dir.path(), bins, line);
    shell(before).with_context(|| format!("before {name}"))?;
    let counter = "valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file=log";
    shell(&format!("{counter} {program} > out")).with_context(|| (*name).to_owned())?;
    let log = fs::read_to_string(dir.path().join("log")).context("valgrind's log")?;
    collected(&log).with_context(|| format!("{name}: valgrind doesn't say how many:\n{log}"))
}

fn shell(dir: &Path, bins: &Path, line: &str) -> anyhow::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(dir).env_clear().env("HOME", dir);
    command.env("STRATA_STORE", dir.join("store"));
    command.env("PATH", format!("{}:{path}", bins.display()));
    let output = command.output().context("starting sh")?;
    if !output.status.success() {
        bail!("`{line}`: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The number in callgrind's log: `==1== Collected : 2487707`.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// What was written down.
#[derive(Debug)]
struct Table<'a> {
    compiler: &'a str,
    counts: BTreeMap<&'a str, u64>,
}

/// How a number compares.
#[derive(Debug)]
struct Verdict {
    text: String,
    is_worse: bool,
}

impl<'a> Table<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next()?;
        let count = |line: &'a str| {
            let (name, n) = line.split_once(": ")?;
            Some((name, n.parse().ok()?))
        };
        Some(Self { compiler, counts: lines.map(count).collect::<Option<_>>()? })
    }

    fn verdict(&self, name: &str, n: u64) -> Verdict {
        let Some(&before) = self.counts.get(name) else {
            return Verdict { text: ", and none is written down".to_owned(), is_worse: true };
        };
        let is_worse = n > before + before / 20;
        let word = if is_worse { "more than 5 % above" } else { "beside" };
        Verdict { text: format!(", {word} {before}"), is_worse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_more_are_allowed_and_what_is_not_written_down_is_told() {
        let table = Table::parse("# head\nrustc 1\na, b: 1000\nc: 7\n").unwrap();
        assert_eq!(table.compiler, "rustc 1");
        assert!(!table.verdict("a, b", 1050).is_worse);
        assert!(table.verdict("a, b", 1051).is_worse);
        assert!(table.verdict("d", 1).is_worse);
        assert!(Table::parse("rustc 1\na\n").is_none());
    }

    #[test]
    fn the_number_is_in_the_log() {
        let log = "==1== Events    : Ir\n==1== Collected : 2487707\n==1== \n==1== I   refs:      2,487,707\n";
        assert_eq!(collected(log), Some(2_487_707));
        assert_eq!(collected("==1== Events"), None);
    }
}
