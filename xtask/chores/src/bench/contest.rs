//! Who runs against whom. In every round each one runs once, ours first, and is compared with ours of that round;
//! those who take long run in fewer rounds.

use std::path::Path;

use anyhow::ensure;
use kit::peers::docker::Docker;

use super::ground::Ground;
use super::image::NAME;
use super::measure::{Cost, Disk, median};
use super::stages::Job;
use super::{compress, container, offline, registry, snapshot, sync, union};
use xtask::run::say;

/// Another one that has taken so many seconds sits out the rounds that are left, once it has a figure.
pub(super) const PATIENCE: f64 = 20.0;

/// Tools that have something made ready for them.
const PREPARED: [&str; 4] = ["buildah", "docker", "podman", "umoci"];

/// One job, done by us and by others.
#[derive(Clone, Debug)]
pub(super) struct Contest {
    pub(super) name: &'static str,
    pub(super) job: Job,
    /// Whether it matters how much disk is used besides what is made.
    pub(super) disk: Disk,
    /// Lines that run before, for the others.
    pub(super) setup: Vec<String>,
    pub(super) runners: Vec<Runner>,
}

/// One way of doing the job.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// As it is shown.
    pub(super) title: String,
    /// What it has checked when it ends well.
    pub(super) verifies: &'static str,
    /// A line that names $TO brings something there, to an empty registry; one of docker's has a daemon for its contest.
    line: String,
    /// Lines around each run, which aren't counted.
    before: String,
    after: String,
}

/// Whether a run counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    WarmUp,
    Measured,
}

/// How a contest went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) job: Job,
    /// Ours first.
    pub(super) entries: Vec<Entry>,
}

/// How one runner did.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) runner: Runner,
    /// In the order of the rounds; or why there are none.
    pub(super) costs: Result<Vec<Cost>, String>,
    /// Seconds after which it need not run again.
    patience: f64,
}

/// The ground, and what one contest has there besides.
struct Scene<'a> {
    ground: &'a Ground,
    docker: Option<Docker>,
    disk: Disk,
}

impl Runner {
    pub(super) fn line(title: &str, verifies: &'static str, line: impl Into<String>) -> Self {
        let (before, after) = (String::new(), String::new());
        Self { title: title.to_owned(), verifies, line: line.into(), before, after }
    }

    /// Whether it can't run unless this line of the setup has: the line has the same tool.
    fn needs(&self, line: &str) -> bool {
        PREPARED
            .iter()
            .any(|tool| self.title.starts_with(&format!("`{tool} ")) && line.contains(tool))
    }

    /// The same by the programs in a directory.
    fn of_build(&self, dir: &Path) -> Self {
        let dir = dir.display();
        Self {
            title: format!("`{}` of {dir}", self.title.replace('|', "\\|")),
            line: format!("PATH={dir}:$PATH; {}", self.line),
            ..self.clone()
        }
    }

    /// What makes ready for each run.
    pub(super) fn before(self, line: impl Into<String>) -> Self {
        Self { before: line.into(), ..self }
    }

    /// What undoes each run.
    pub(super) fn after(self, line: impl Into<String>) -> Self {
        Self { after: line.into(), ..self }
    }
}

/// Whether a line asks a docker daemon. The daemon does the work, and what it takes isn't counted with the line.
fn is_dockers(line: &str) -> bool {
    line.starts_with("docker ") || line.contains("| docker ")
}

impl Contest {
    /// One whose job isn't made of the measured stages, and takes no disk but for what it makes: by its name, its lines that
    /// run before, and its runners.
    pub(super) fn without_floor(
        (name, setup, runners): (&'static str, Vec<String>, Vec<Runner>),
    ) -> Self {
        Self { name, job: Job::Other, disk: Disk::Ignored, setup, runners }
    }

    /// The same with the programs of another build, beside each way that is ours.
    pub(super) fn beside(self, dir: &Path) -> Self {
        let add = |runner: Runner| {
            let other = (!runner.title.starts_with('`')).then(|| runner.of_build(dir));
            std::iter::once(runner).chain(other).collect::<Vec<_>>()
        };
        Self { runners: self.runners.into_iter().flat_map(add).collect(), ..self }
    }

    /// Their names, as on the command line.
    pub(super) fn names() -> Vec<&'static str> {
        Self::all("gzip").into_iter().map(|contest| contest.name).collect()
    }

    /// All of them, for layers in this codec.
    pub(super) fn all(codec: &str) -> Vec<Self> {
        [
            registry::contests(codec),
            offline::contests(),
            snapshot::contests(),
            container::contests(),
            union::contests(),
            compress::contests(codec),
            sync::contests(),
        ]
        .concat()
    }

    /// Runs all rounds. Another one that can't do it is left out, and why is told.
    pub(super) fn run(self, ground: &Ground, n_rounds: u16) -> anyhow::Result<Outcome> {
        let mut lines = self.setup.iter().chain(self.runners.iter().map(|runner| &runner.line));
        let docker = lines.any(|line| is_dockers(line)).then(Docker::start).flatten();
        let scene = Scene { ground, docker, disk: self.disk };
        let mut failures = Vec::new();
        for line in &self.setup {
            if let Err(error) = scene.prepare(line) {
                say(&format!("{error:#}"));
                failures.push((line.as_str(), format!("{error:#}")));
            }
        }
        let mut entries: Vec<Entry> = self
            .runners
            .into_iter()
            .map(|runner| {
                let failure = failures.iter().find(|(line, _)| runner.needs(line));
                let costs = failure.map_or(Ok(Vec::new()), |(_, why)| Err(why.clone()));
                Entry { runner, costs, patience: PATIENCE }
            })
            .collect();
        if let Some(ours) = entries.first_mut() {
            ours.patience = f64::INFINITY;
        }
        for round in 0..=n_rounds {
            let moment = if round == 0 { Moment::WarmUp } else { Moment::Measured };
            for entry in &mut entries {
                entry.run(&scene, moment);
            }
            if let Some(Entry { costs: Err(why), .. }) = entries.first() {
                anyhow::bail!("{why}");
            }
        }
        ground.clear()?;
        let outcome = Outcome { name: self.name, job: self.job, entries };
        outcome.say();
        Ok(outcome)
    }
}

impl Scene<'_> {
    /// Runs a line that isn't counted.
    fn prepare(&self, line: &str) -> anyhow::Result<()> {
        ensure!(!is_dockers(line) || self.docker.is_some(), "no dockerd");
        self.ground.run(line, &self.variables(), Disk::Ignored).map(drop)
    }

    fn run(&self, runner: &Runner) -> anyhow::Result<Cost> {
        let is_dockers = is_dockers(&runner.line);
        ensure!(!is_dockers || self.docker.is_some(), "no dockerd");
        let mut variables = self.variables();
        // A blob that is known to be in a registry isn't sent. This one is new.
        let registry = runner.line.contains("$TO").then(Ground::empty_registry).transpose()?;
        let name = registry.as_ref().map(|registry| format!("{}/{NAME}", registry.host()));
        variables.extend(name.map(|name| ("TO", name)));
        if !runner.before.is_empty() {
            self.ground.run(&runner.before, &variables, Disk::Ignored)?;
        }
        let cost = self.ground.run(&runner.line, &variables, self.disk)?;
        if !runner.after.is_empty() {
            self.ground.run(&runner.after, &variables, Disk::Ignored)?;
        }
        Ok(if is_dockers { Cost { cpu: None, ..cost } } else { cost })
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        self.docker.iter().map(|docker| ("DOCKER_HOST", docker.host())).collect()
    }
}

impl Entry {
    fn run(&mut self, scene: &Scene<'_>, moment: Moment) {
        let Ok(costs) = &mut self.costs else { return };
        if self.patience < 0.0 && !costs.is_empty() {
            return;
        }
        let cost = scene.run(&self.runner);
        self.patience -= cost.as_ref().map_or(0.0, |cost| cost.wall);
        match cost {
            Ok(_) if moment == Moment::WarmUp => {}
            Ok(cost) => costs.push(cost),
            Err(error) => {
                say(&format!("{error:#}"));
                self.costs = Err(format!("{error:#}"));
            }
        }
    }
}

impl Outcome {
    /// How many times as long as ours another one took, of each round; the median.
    pub(super) fn ratio(&self, entry: &Entry, part: impl Fn(&Cost) -> Option<f64>) -> Option<f64> {
        let (ours, theirs) =
            (self.entries.first()?.costs.as_ref().ok()?, entry.costs.as_ref().ok()?);
        let pairs = ours.iter().zip(theirs);
        let ratios: Option<Vec<f64>> =
            pairs.map(|(ours, theirs)| Some(part(theirs)? / part(ours)?)).collect();
        Some(median(ratios?)).filter(|ratio| ratio.is_finite())
    }

    fn say(&self) {
        for entry in &self.entries {
            let wall = self.ratio(entry, |cost| Some(cost.wall)).unwrap_or(f64::NAN);
            say(&format!("{}: {}: wall x{wall:.2}", self.name, entry.runner.title));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_nothing_could_be_made_ready_for_says_why() {
        let runner = |title| Runner::line(title, "nothing", "");
        let docker = runner("`docker save`");
        assert!(docker.needs("docker load -q") && docker.needs("tar -c . | docker cp - c:/"));
        assert!(
            !docker.needs("umoci init") && !runner("`tar -c`").needs("tar -c . | docker cp - c:/")
        );
    }

    #[test]
    fn all_contests_have_names_of_their_own() {
        let mut names = Contest::names();
        let n_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n_names);
    }
}
