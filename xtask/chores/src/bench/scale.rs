//! Images of a thousand to a million files, and of one layer to a hundred: what grows with the files, and what with the layers.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use kit::{Image, Layer};
use xtask::run::say;

use super::ground::Ground;
use super::image::{self, Prepared};
use super::measure::{Cost, Disk, median};
use super::{report, snapshot};

/// As on the command line, and in the page.
pub(super) const SCALE: &str = "scale";

/// How many layers, and how many files in all of them.
const IMAGES: [(usize, usize); 6] =
    [(1, 1_000), (1, 10_000), (1, 100_000), (1, 1_000_000), (10, 100_000), (100, 100_000)];
/// How many files a directory has.
const IN_A_DIRECTORY: usize = 100;

const UNPACK: &str = "unpack -q d < $A";
const TAR: &str = "mkdir d; for l in $LAYERS; do tar -x --gzip -f $l -C d; done";

/// Runs all rounds of all images; gives the report.
pub(super) fn run(target: &Path, peers: Option<&Path>, n_rounds: u16) -> anyhow::Result<String> {
    let mut text = format!(
        "## {SCALE}\n\n{}\n\nGzip layers of files of a few bytes, {IN_A_DIRECTORY} in a directory. `unpack DIR < FILE` \
         verifies everything, `tar -x --gzip` of each layer nothing; `snapshot DIR` finds nothing changed.\n\n\
         | layers | files | `unpack` s | CPU s | peak MB | `tar` | `snapshot` s | CPU s | peak MB | `find -printf` |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        report::machine(peers)?,
    );
    for (n_layers, n_files) in IMAGES {
        say(&format!("{n_layers} layers, {n_files} files"));
        let prepared = prepare(n_layers, n_files, &target.join("bench"))?;
        let ground = Ground::open(target, &prepared, peers.map(Path::to_owned))?;
        for line in [snapshot::STORE, snapshot::TREE] {
            ground.line(line)?;
        }
        let lines = [UNPACK, TAR, snapshot::SAME, snapshot::FIND];
        let mut costs: [Vec<Cost>; 4] = Default::default();
        for round in 0..=n_rounds {
            for (line, costs) in lines.iter().zip(&mut costs) {
                let cost = ground.run(line, &[], Disk::Ignored)?;
                // The first round warms up.
                costs.extend((round > 0).then_some(cost));
            }
        }
        let [unpack, tar, same, find] = &costs;
        writeln!(
            text,
            "| {n_layers} | {n_files} | {} | {} |",
            pair(unpack, tar),
            pair(same, find)
        )?;
    }
    text.push_str("\nMedians; `tar` and `find` in terms of ours, of each round.\n");
    Ok(text)
}

/// Makes the image, unless an earlier bench has.
fn prepare(n_layers: usize, n_files: usize, cache: &Path) -> anyhow::Result<Prepared> {
    let make = || {
        let layer = |layer| (0..n_files / n_layers).fold(Layer::new(), |it, n| add(it, layer, n));
        Ok((0..n_layers).map(layer).fold(Image::new(), Image::layer))
    };
    image::prepare_as(&format!("{SCALE}-{n_layers}-{n_files}"), "gzip", cache, make)
        .context("making the image")
}

fn add(to: Layer, layer: usize, n: usize) -> Layer {
    let dir = n / IN_A_DIRECTORY;
    let to = if n.is_multiple_of(IN_A_DIRECTORY) {
        to.dir(format!("l{layer}/d{dir}"), 0o755)
    } else {
        to
    };
    to.file(format!("l{layer}/d{dir}/file{n}"), format!("{layer} {n}\n"))
}

/// The wall and CPU time and the peak of ours, and theirs in terms of ours.
fn pair(ours: &[Cost], theirs: &[Cost]) -> String {
    let wall = median(ours.iter().map(|cost| cost.wall));
    let cpu = median(ours.iter().filter_map(|cost| cost.cpu));
    let ratio = median(ours.iter().zip(theirs).map(|(ours, theirs)| theirs.wall / ours.wall));
    let peak = ours.iter().flat_map(|cost| &cost.peaks).map(|(_, size)| size.div_ceil(1024)).max();
    format!("{wall:.3} | {cpu:.3} | {} | {ratio:.2}", peak.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_by_medians_and_the_largest_peak() {
        let cost = |wall, peak| Cost {
            wall,
            cpu: Some(2.0 * wall),
            peaks: vec![("unpack".to_owned(), peak)],
            temporary: None,
        };
        let (ours, theirs) = ([cost(1.0, 1024), cost(2.0, 2000)], [cost(3.0, 0), cost(8.0, 0)]);
        assert_eq!(pair(&ours, &theirs), "1.500 | 3.000 | 2 | 3.50");
    }
}
