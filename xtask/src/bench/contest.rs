//! Who runs against whom. In every round each one runs once, ours first, and is compared with ours of that round;
//! those who take long run in fewer rounds.

use kit::peers::docker::Docker;

use super::ground::Ground;
use super::measure::{Cost, median};
use super::stages::Job;
use super::{compress, offline, snapshot, union};
use crate::run::say;

/// Another one that has taken so many seconds sits out the rounds that are left, once it has a figure.
pub(super) const PATIENCE: f64 = 20.0;

/// Verifies nothing: bytes that are wrong become files that are wrong.
const NOTHING: &str = "nothing";

/// One job, done by us and by others.
#[derive(Debug)]
pub(super) struct Contest {
    pub(super) name: &'static str,
    pub(super) job: Job,
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
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Line(String),
    /// A line that brings something to an empty registry, $TO.
    Push(&'static str),
    /// `docker pull`, `save` or `load`, by a daemon of its own.
    Docker(&'static str),
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

impl Runner {
    pub(super) fn line(title: &str, verifies: &'static str, line: impl Into<String>) -> Self {
        Self { title: title.to_owned(), verifies, way: Way::Line(line.into()) }
    }

    pub(super) fn push(title: &str, verifies: &'static str, line: &'static str) -> Self {
        Self { title: title.to_owned(), verifies, way: Way::Push(line) }
    }

    pub(super) fn docker(title: &str, verifies: &'static str, verb: &'static str) -> Self {
        Self { title: title.to_owned(), verifies, way: Way::Docker(verb) }
    }

    fn ours(line: &'static str, verifies: &'static str) -> Self {
        let title = line.replace("$R", "NAME").replace(" d", " DIR").replace("cat $A", "cat FILE");
        Self::line(&title.replace(" -q", "").replace(" >/dev/null", ""), verifies, line)
    }
}

const UMOCI: &str = "umoci raw unpack --image $L:$N d";
const SKOPEO: &str = "skopeo copy -q docker://$R oci:o:1";
const PODMAN: &str = "podman --root $PWD/p --runroot $PWD/r --storage-driver overlay pull -q --tls-verify=false $R; s=$?; \
                      umount p/overlay 2>/dev/null; (exit $s)";
const MANIFEST: &str = "manifest, config, blobs, diff ids";
const BLOBS: &str = "manifest, blobs";
const ALL: &str = "archive, manifest, config, blobs, diff ids";

fn two() -> Runner {
    let line = format!("{SKOPEO} && umoci raw unpack --image o:1 d");
    Runner::line("`skopeo copy` + `umoci raw unpack`", MANIFEST, line)
}

fn push() -> Vec<Runner> {
    let ours = "STRATA_STORE=$KNOWN; push -q --insecure ${TO%%/*} $R $TO";
    let skopeo = "skopeo copy -q --dest-tls-verify=false oci:$L:$N docker://$TO";
    vec![
        Runner::push("push NAME", BLOBS, ours),
        Runner::push("`skopeo copy` from a layout", BLOBS, skopeo),
    ]
}

fn tar(codec: &str) -> Runner {
    let line = format!("mkdir d; for l in $LAYERS; do tar -x --{codec} -f $l -C d; done");
    Runner::line(&format!("`tar -x --{codec}` of each layer"), NOTHING, line)
}

fn piped(codec: &str) -> Runner {
    let program = if codec == "gzip" { "pigz" } else { codec };
    let line = format!("mkdir d; for l in $LAYERS; do {program} -dc $l | tar -x -C d; done");
    Runner::line(&format!("`{program} -dc \\| tar -x` of each layer"), NOTHING, line)
}

impl Contest {
    /// Their names, as on the command line.
    pub(super) fn names() -> Vec<&'static str> {
        Self::all("gzip").into_iter().map(|contest| contest.name).collect()
    }

    /// All of them, for layers in this codec.
    pub(super) fn all(codec: &'static str) -> Vec<Self> {
        let ours = Runner::ours;
        let known = Runner::line(
            "unpack --from NAME DIR, pairs known",
            "manifest, config, blobs",
            "STRATA_STORE=$KNOWN; unpack -q --from $R d",
        );
        let layout = Runner::line("`umoci raw unpack` of a layout", MANIFEST, UMOCI);
        let skopeo = Runner::line("`skopeo copy` to a layout", "manifest, blobs", SKOPEO);
        let docker = Runner::docker("`docker pull`", MANIFEST, "pull");
        let (two, podman) = (two(), Runner::line("`podman pull`", MANIFEST, PODMAN));
        let (tar, piped) = (tar(codec), piped(codec));
        let pull_unpack = ours("pull -q --no-store $R | unpack -q d", ALL);
        let store_unpack = ours("pull -q $R | unpack -q d", ALL);
        let unpack = ours("cat $A | unpack -q d", ALL);
        let pull = ours("pull -q --no-stream $R >/dev/null", MANIFEST);
        let all = [
            (
                "pull-unpack",
                Job::PullUnpack,
                vec![pull_unpack, two.clone(), podman, docker, tar.clone()],
            ),
            ("store-unpack", Job::PullUnpack, vec![store_unpack, two]),
            ("unpack", Job::Unpack, vec![unpack, layout, tar.clone(), piped.clone()]),
            ("known", Job::UnpackKnown, vec![known, tar, piped]),
            ("pull", Job::Pull, vec![pull, skopeo]),
            ("push", Job::Other, push()),
        ];
        let contest = |(name, job, runners)| Self { name, job, setup: vec![], runners };
        let others = [
            offline::contests(),
            snapshot::contests(),
            union::contests(),
            compress::contests(codec),
        ];
        all.map(contest).into_iter().chain(others.into_iter().flatten()).collect()
    }

    /// Runs all rounds. Another one that can't do it is left out, and why is told.
    pub(super) fn run(self, ground: &Ground, n_rounds: u16) -> anyhow::Result<Outcome> {
        let docker = self.runners.iter().any(|runner| matches!(runner.way, Way::Docker(_)));
        let docker = docker.then(Docker::start).flatten();
        for line in &self.setup {
            // Whoever needed it says so in its row.
            ground.line(line).map_err(|error| say(&format!("{error:#}"))).ok();
        }
        if let Some(docker) = docker.as_ref().filter(|_| self.name == "save-file") {
            docker.command(&["load", "-q", "-i"]).arg(ground.archive()).run().success();
        }
        let mut entries: Vec<Entry> = self
            .runners
            .into_iter()
            .map(|runner| Entry { runner, costs: Ok(Vec::new()), patience: PATIENCE })
            .collect();
        if let Some(ours) = entries.first_mut() {
            ours.patience = f64::INFINITY;
        }
        for round in 0..=n_rounds {
            let moment = if round == 0 { Moment::WarmUp } else { Moment::Measured };
            for entry in &mut entries {
                entry.run(ground, docker.as_ref(), moment);
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

impl Entry {
    fn run(&mut self, ground: &Ground, docker: Option<&Docker>, moment: Moment) {
        let Ok(costs) = &mut self.costs else { return };
        if self.patience < 0.0 && !costs.is_empty() {
            return;
        }
        let cost = self.runner.run(ground, docker);
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

impl Runner {
    fn run(&self, ground: &Ground, docker: Option<&Docker>) -> anyhow::Result<Cost> {
        match (&self.way, docker) {
            (Way::Line(line), _) => ground.line(line),
            (Way::Push(line), _) => ground.push(line),
            (Way::Docker(_), None) => anyhow::bail!("no dockerd"),
            (Way::Docker(verb), Some(docker)) => ground.docker(verb, docker),
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
