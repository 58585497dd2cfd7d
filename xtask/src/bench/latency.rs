//! Many small layers over a slow line: what counts there is how often a program waits for an answer, and for how many at once.

use std::fmt::Write as _;

use kit::peers::docker_registry::DockerRegistry;

use crate::run::say;

use super::contest::PATIENCE;
use super::ground::Ground;
use super::image::{NAME, Prepared};
use super::measure::{Disk, median};
use super::relay::{Counts, Relay};
use super::report;

/// As on the command line, and in the page.
pub(super) const LATENCY: &str = "latency";

/// Which way an image goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// To $TO, in an empty registry.
    Push,
    /// From $FROM.
    Pull,
}

/// One way of doing it.
#[derive(Debug)]
struct Runner {
    title: &'static str,
    way: Way,
    line: &'static str,
    /// Seconds, and what passed, in the order of the rounds; or why there are none.
    costs: Result<Vec<(f64, Counts)>, String>,
}

/// Ours first, each way.
const LINES: &[(&str, Way, &str)] = &[
    ("**`push NAME`**", Way::Push, "STRATA_STORE=$KNOWN; push -q --insecure ${TO%%/*} $R $TO"),
    (
        "`skopeo copy` from a layout",
        Way::Push,
        "skopeo copy -q --dest-tls-verify=false oci:$L:$N docker://$TO",
    ),
    ("**`pull --no-stream NAME`**", Way::Pull, "pull -q --no-stream $FROM >/dev/null"),
    ("**`pull --no-store NAME \\| cat`**", Way::Pull, "pull -q --no-store $FROM | cat"),
    (
        "`skopeo copy` to a layout",
        Way::Pull,
        "skopeo copy -q --src-tls-verify=false docker://$FROM oci:o:1",
    ),
];

/// Runs all rounds; gives the report.
pub(super) fn run(ground: &Ground, prepared: &Prepared, n_rounds: u16) -> anyhow::Result<String> {
    let runner = |&(title, way, line)| Runner { title, way, line, costs: Ok(Vec::new()) };
    let mut runners: Vec<Runner> = LINES.iter().map(runner).collect();
    for round in 0..=n_rounds {
        for runner in &mut runners {
            let Ok(costs) = &mut runner.costs else { continue };
            let spent: f64 = costs.iter().map(|(wall, _)| wall).sum();
            if spent > PATIENCE && !runner.title.starts_with("**") {
                continue;
            }
            match once(ground, runner.way, runner.line) {
                Ok(_) if round == 0 => {}
                Ok(cost) => costs.push(cost),
                Err(error) => {
                    say(&format!("{error:#}"));
                    runner.costs = Err(format!("{error:#}"));
                }
            }
        }
    }
    markdown(prepared, &runners)
}

fn once(ground: &Ground, way: Way, line: &str) -> anyhow::Result<(f64, Counts)> {
    let empty = (way == Way::Push).then(Ground::empty_registry).transpose()?;
    let host = empty.as_ref().map_or_else(|| ground.host(), DockerRegistry::host);
    let relay = Relay::start(&host)?;
    let variable = if way == Way::Push { "TO" } else { "FROM" };
    let name = format!("{}/{NAME}", relay.host());
    let cost = ground.run(line, &[(variable, name)], Disk::Ignored)?;
    Ok((cost.wall, relay.counts()))
}

fn markdown(prepared: &Prepared, runners: &[Runner]) -> anyhow::Result<String> {
    let n_layers = prepared.layers.len();
    let mut text = format!(
        "## {LATENCY}\n\n{}\n\n{n_layers} layers of {} kB, through a relay that adds 50 ms to each round trip, that of \
         connecting too, and counts what passes. A blob is a layer or the config. In flight is the most requests that waited at once.\n\n\
         | | requests | a blob | in flight | connections | wall s | wall |\n|---|---|---|---|---|---|---|\n",
        report::machine()?,
        prepared.n_bytes / 1000 / n_layers.max(1) as u64
    );
    for runner in runners {
        row(&mut text, runners, runner, n_layers + 1)?;
    }
    text.push_str("\nMedians; the last column is the median of each round's ratio to ours, the first one of the same way.\n");
    Ok(text)
}

fn row(text: &mut String, all: &[Runner], runner: &Runner, n_blobs: usize) -> anyhow::Result<()> {
    let costs = match &runner.costs {
        Ok(costs) => costs,
        Err(why) => {
            let why = why.rsplit(": ").next().unwrap_or(why);
            return Ok(writeln!(text, "| {} | can't: {why} | | | | | |", runner.title)?);
        }
    };
    let n_rounds = all.iter().filter_map(|runner| Some(runner.costs.as_ref().ok()?.len())).max();
    let title = report::shown(runner.title, costs.len(), n_rounds.unwrap_or(0));
    let middle = |count: fn(&Counts) -> usize| {
        median(costs.iter().map(|(_, counts)| f64::from(u32::try_from(count(counts)).unwrap_or(0))))
    };
    let n_requests = middle(|counts| counts.requests);
    let ours =
        all.iter().find(|other| other.way == runner.way).and_then(|ours| ours.costs.as_ref().ok());
    let is_ours = ours.is_some_and(|ours| std::ptr::eq(ours, costs));
    let pairs = ours.into_iter().flatten().zip(costs);
    let ratio = median(pairs.map(|((ours, _), (theirs, _))| theirs / ours));
    let ratio = if is_ours { String::new() } else { format!("{ratio:.2}") };
    let n_blobs = f64::from(u32::try_from(n_blobs).unwrap_or(1));
    Ok(writeln!(
        text,
        "| {title} | {n_requests} | {:.1} | {} | {} | {:.2} | {ratio} |",
        n_requests / n_blobs,
        middle(|counts| counts.at_once),
        middle(|counts| counts.connections),
        median(costs.iter().map(|(wall, _)| *wall)),
    )?)
}
