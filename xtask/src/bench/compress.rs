//! `commit`: a layer compressed and hashed on both sides, beside those who compress on all cores, and the same hashes.
//!
//! Levels don't mean the same to everyone, so there are two of pigz's: the one that comes to our size, and its own usual one.

use super::contest::{Contest, Runner};
use super::stages::Job;

const DIGESTS: &str = "digest, diff id, entries";
const HASHES: &str = "both digests";

/// Both of them, given the codec that the image's layers are in.
pub(super) fn contests(codec: &str) -> Vec<Contest> {
    let setup = format!("mkdir -p $KEPT; set -- $LAYERS; {codec} -dc <$1 >$KEPT/layer.tar");
    let contest =
        |(name, runners)| Contest { name, job: Job::Other, setup: vec![setup.clone()], runners };
    let gzip = vec![
        ours("gzip"),
        theirs("`pigz -4`", "pigz -nc4"),
        theirs("`pigz`", "pigz -nc"),
        theirs("`gzip`", "gzip -nc"),
    ];
    let zstd = vec![ours("zstd"), theirs("`zstd -T0`", "zstd -qcT0")];
    [("commit-gzip", gzip), ("commit-zstd", zstd)].map(contest).into()
}

fn ours(codec: &str) -> Runner {
    let title = format!("commit --compress {codec}");
    let line = format!("{title} -q -t new --base scratch <$KEPT/layer.tar >/dev/null");
    Runner::line(&title, DIGESTS, line)
}

fn theirs(title: &str, program: &str) -> Runner {
    let layer = "$KEPT/layer.tar";
    let line =
        format!("sha256sum {layer} >a & {program} {layer} | tee layer | sha256sum >b && wait");
    Runner::line(&format!("{title}, both sides hashed by `sha256sum`"), HASHES, line)
}
