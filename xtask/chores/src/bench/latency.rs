//! Many small layers over a slow line: what counts there is how often a program waits for an answer, and for how many at once.

use std::fmt::Write as _;

use kit::peers::docker_registry::{Setup, Transport};

use xtask::run::say;

use super::contest::PATIENCE;
use super::ground::Ground;
use super::image::{NAME, Prepared};
use super::measure::{Disk, median};
use super::relay::Relay;
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
    transport: Transport,
    line: &'static str,
    /// In the order of the rounds; or why there are none.
    costs: Result<Vec<Cost>, String>,
}

/// What it took.
#[derive(Clone, Debug)]
struct Cost {
    wall: f64,
    n_requests: usize,
    /// Unknown where it can't be seen.
    at_once: Option<usize>,
    n_connections: usize,
    /// As `HTTP/1.1`.
    protocol: String,
}

/// Ours first, each way. A registry on loopback may show any certificate.
const LINES: &[(&str, Way, &str)] = &[
    ("**`push NAME`**", Way::Push, "STRATA_STORE=$KNOWN; push -q --insecure ${TO%%/*} $R $TO"),
    (
        "`skopeo copy` from a layout",
        Way::Push,
        "skopeo copy -q --dest-tls-verify=false oci:$L:$N docker://$TO",
    ),
    (
        "**`pull --no-stream NAME`**",
        Way::Pull,
        "pull -q --insecure ${FROM%%/*} --no-stream $FROM >/dev/null",
    ),
    (
        "**`pull --no-store NAME \\| cat`**",
        Way::Pull,
        "pull -q --insecure ${FROM%%/*} --no-store $FROM | cat",
    ),
    (
        "`skopeo copy` to a layout",
        Way::Pull,
        "skopeo copy -q --src-tls-verify=false docker://$FROM oci:o:1",
    ),
];

/// Runs all rounds; gives the report.
pub(super) fn run(ground: &Ground, prepared: &Prepared, n_rounds: u16) -> anyhow::Result<String> {
    let runners = |transport| {
        let runner =
            move |&(title, way, line)| Runner { title, way, transport, line, costs: Ok(vec![]) };
        LINES.iter().map(runner)
    };
    let mut runners: Vec<Runner> =
        runners(Transport::Plain).chain(runners(Transport::Tls)).collect();
    for round in 0..=n_rounds {
        for runner in &mut runners {
            runner.run(ground, round);
        }
    }
    markdown(ground, prepared, &runners)
}

impl Runner {
    /// The first round warms up. A program that takes long at that is not run again.
    fn run(&mut self, ground: &Ground, round: u16) {
        let Ok(costs) = &mut self.costs else { return };
        if costs.first().is_some_and(|first| first.wall > PATIENCE) {
            return;
        }
        match once(ground, self.way, self.transport, self.line) {
            Ok(cost) if round > 0 || cost.wall > PATIENCE => costs.push(cost),
            Ok(_) => {}
            Err(error) => {
                say(&format!("{error:#}"));
                self.costs = Err(format!("{error:#}"));
            }
        }
    }
}

fn once(ground: &Ground, way: Way, transport: Transport, line: &str) -> anyhow::Result<Cost> {
    let (variable, registry) = match way {
        Way::Push => ("TO", Ground::start(&Setup { transport, ..Setup::PLAIN })?),
        Way::Pull => ("FROM", ground.twin(transport)?),
    };
    let relay = Relay::start(&registry.host())?;
    let name = format!("{}/{NAME}", relay.host());
    let cost = ground.run(line, &[(variable, name)], Disk::Ignored)?;
    let counts = relay.counts();
    // The relay can't look into TLS, but the registry knows what it was asked.
    let is_seen = transport == Transport::Plain;
    let requests = registry.requests();
    Ok(Cost {
        wall: cost.wall,
        n_requests: if is_seen { counts.requests } else { requests.len() },
        at_once: is_seen.then_some(counts.at_once),
        n_connections: counts.connections,
        protocol: requests.last().and_then(|line| protocol(line)).unwrap_or_default(),
    })
}

/// `HTTP/2.0`, of a line of the registry's log.
fn protocol(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(" HTTP/")?;
    Some(format!("HTTP/{}", rest.split('"').next()?))
}

fn markdown(ground: &Ground, prepared: &Prepared, runners: &[Runner]) -> anyhow::Result<String> {
    let n_layers = prepared.layers.len();
    let mut text = format!(
        "## {LATENCY}\n\n{}\n\n{n_layers} layers of {} kB, through a relay that adds 50 ms to each round trip, that of \
         connecting too, and counts what passes. A blob is a layer or the config. In flight is the most requests that waited \
         at once. Over TLS, requests are those of the registry's log, and how many waited isn't known.\n\n\
         | | | requests | a blob | in flight | connections | wall s | wall |\n|---|---|---|---|---|---|---|---|\n",
        report::machine(ground.peers())?,
        prepared.n_bytes / 1000 / n_layers.max(1) as u64
    );
    for runner in runners {
        row(&mut text, runners, runner, n_layers + 1)?;
    }
    text.push_str(
        "\nMedians; the last column is the median of each round's ratio to ours, the first one of the same way.\n",
    );
    Ok(text)
}

fn row(text: &mut String, all: &[Runner], runner: &Runner, n_blobs: usize) -> anyhow::Result<()> {
    let costs = match &runner.costs {
        Ok(costs) => costs,
        Err(why) => {
            let why = report::reason(why);
            return Ok(writeln!(text, "| {} | can't: {why} | | | | | | |", runner.title)?);
        }
    };
    let is_same = |other: &&Runner| (other.way, other.transport) == (runner.way, runner.transport);
    let ours = all.iter().find(is_same).and_then(|ours| ours.costs.as_ref().ok());
    let title = report::shown(runner.title, costs.len(), ours.map_or(0, Vec::len));
    let pairs = ours.into_iter().flatten().zip(costs);
    let ratio = median(pairs.map(|(ours, theirs)| theirs.wall / ours.wall));
    let is_ours = ours.is_some_and(|ours| std::ptr::eq(ours, costs));
    let ratio = if is_ours { String::new() } else { format!("{ratio:.2}") };
    let middle = |count: fn(&Cost) -> usize| {
        median(costs.iter().map(|cost| f64::from(u32::try_from(count(cost)).unwrap_or(u32::MAX))))
    };
    let n_requests = middle(|cost| cost.n_requests);
    let n_blobs = f64::from(u32::try_from(n_blobs).unwrap_or(1));
    let at_once = costs.iter().filter_map(|cost| cost.at_once).max();
    let tls = if runner.transport == Transport::Plain { "" } else { ", TLS" };
    Ok(writeln!(
        text,
        "| {title} | {}{tls} | {n_requests} | {:.1} | {} | {} | {:.2} | {ratio} |",
        costs.first().map_or("", |cost| &cost.protocol),
        n_requests / n_blobs,
        at_once.map_or_else(|| "?".to_owned(), |n| n.to_string()),
        middle(|cost| cost.n_connections),
        median(costs.iter().map(|cost| cost.wall)),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_registry_says_the_protocol() {
        let line =
            r#"127.0.0.1 - - [21/Nov/2026:11:15:25 +0000] "HEAD /v2/a HTTP/2.0" 404 91 "" "curl""#;
        assert_eq!(protocol(line).as_deref(), Some("HTTP/2.0"));
        assert_eq!(protocol("listening"), None);
    }
}
