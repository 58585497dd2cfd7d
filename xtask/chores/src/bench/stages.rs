//! What the stages of an unpack cost by themselves on this machine, and the floor that follows from it.
//!
//! No arrangement of the same stages can be faster than its slowest one, nor than their sum on all cores; a program that
//! does its own work better than the stage measured here (GNU tar, for making files) may come out below.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::ground::Ground;
use super::image::{NAME, Prepared};
use super::measure::median;
use xtask::run::output;

/// Seconds of CPU for each stage, medians.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    /// The blobs over HTTP from the registry, by curl.
    pub(super) arrive: f64,
    /// Hashing the blobs, by our hasher.
    pub(super) hash_blobs: f64,
    /// Decompressing them, by our decoder.
    pub(super) decompress: f64,
    /// Hashing what comes out.
    pub(super) hash_plain: f64,
    /// Making the files, by GNU tar from plain tars.
    pub(super) create: f64,
    /// How many cores there are.
    pub(super) n_cores: usize,
}

/// What a job can't do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Job {
    /// From the registry, hashed by `pull` and again by `unpack`.
    PullUnpack,
    /// Everything verified.
    Unpack,
    /// The blobs' digests verified, from which the rest follows.
    UnpackKnown,
    /// Blobs from the registry, their digests verified.
    Pull,
    /// Blobs from an archive, their digests verified.
    Load,
    /// Blobs from the store, everything verified.
    Verify,
    /// Something that is made of other stages.
    Other,
}

/// The least that a job can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// Seconds on the clock.
    pub(super) wall: f64,
    /// Seconds of all processors.
    pub(super) cpu: f64,
}

impl Stages {
    /// The floor of a job; none if no stage is needed.
    pub(super) fn floor(&self, job: Job) -> Option<Floor> {
        let unpack = [self.hash_blobs, self.decompress, self.create];
        let stages = match job {
            Job::Other => return None,
            Job::Pull => vec![self.arrive, self.hash_blobs],
            Job::Load => vec![self.hash_blobs],
            Job::Verify => vec![self.hash_blobs, self.decompress, self.hash_plain],
            Job::UnpackKnown => unpack.to_vec(),
            Job::Unpack => [&unpack[..], &[self.hash_plain]].concat(),
            Job::PullUnpack => {
                [&unpack[..], &[self.hash_plain, self.arrive, self.hash_blobs]].concat()
            }
        };
        let cpu: f64 = stages.iter().sum();
        let slowest = stages.iter().copied().fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a number of cores is small")]
        let shared = cpu / self.n_cores as f64;
        Some(Floor { wall: slowest.max(shared), cpu })
    }
}

/// Builds the program that runs single stages; says where it is.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let line = ["cargo", "bench", "--package", "layer-format", "--bench", "stages", "--no-run"];
    let messages = output(&[&line[..], &["--message-format", "json"]].concat())?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.filter(|message| message["target"]["name"] == "stages");
    let path =
        built.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    path.context("cargo doesn't say where it built the stages")
}

/// Measures each stage, in turns.
pub(super) fn measure(
    program: &Path,
    ground: &Ground,
    prepared: &Prepared,
    n_rounds: u16,
) -> anyhow::Result<Stages> {
    let plain = ground.place("plain");
    let (stages, tars) = (program.display(), plain.display());
    fs::create_dir(&plain).context("making a directory")?;
    let codec = prepared.codec;
    ground.line(&format!("n=0; for l in $LAYERS; do {codec} -dc <$l >{tars}/$n; ((++n)); done"))?;
    let n = prepared.layers.len();
    let (repository, _) = NAME.rsplit_once(':').unwrap_or((NAME, ""));
    let blobs = format!("http://${{R%%/*}}/v2/{repository}/blobs/sha256:");
    let lines = [
        format!(
            "for l in $LAYERS; do echo \"url = {blobs}${{l##*/}}\"; echo output = /dev/null; done | curl -sf -K -"
        ),
        format!("{stages} hash $LAYERS"),
        format!("{stages} inflate $LAYERS"),
        format!("{stages} hash $(seq -f {tars}/%g 0 {})", n - 1),
        format!("mkdir d; for t in $(seq 0 {}); do tar -xf {tars}/$t -C d; done", n - 1),
    ];
    let mut taken = [const { Vec::new() }; 5];
    for round in 0..=n_rounds {
        for (line, taken) in lines.iter().zip(&mut taken) {
            let cost = ground.line(line)?;
            if round > 0 {
                taken.extend(cost.cpu);
            }
        }
    }
    fs::remove_dir_all(&plain).context("removing a directory")?;
    let [arrive, hash_blobs, decompress, hash_plain, create] = taken.map(median);
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Stages { arrive, hash_blobs, decompress, hash_plain, create, n_cores })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_slowest_stage_or_the_sum_on_all_cores() {
        let stages = Stages {
            arrive: 0.1,
            hash_blobs: 0.2,
            decompress: 1.5,
            hash_plain: 0.6,
            create: 0.5,
            n_cores: 2,
        };
        let check = |job, wall: f64, cpu: f64| {
            let floor = stages.floor(job).unwrap();
            assert!(
                (floor.wall - wall).abs() < 1e-9 && (floor.cpu - cpu).abs() < 1e-9,
                "{floor:?}"
            );
        };
        check(Job::Unpack, 1.5, 2.8);
        check(Job::PullUnpack, 1.55, 3.1);
        check(Job::UnpackKnown, 1.5, 2.2);
        check(Job::Pull, 0.2, 0.3);
        check(Job::Load, 0.2, 0.2);
        check(Job::Verify, 1.5, 2.3);
        assert!(stages.floor(Job::Other).is_none());
    }
}
