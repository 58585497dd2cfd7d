//! `commit`: a layer compressed and hashed on both sides, beside those who compress on all cores, and the same hashes.
//!
//! Levels don't mean the same to everyone. Of `debian`'s layer, 949 MB, gzip makes 305 MB here, where pigz makes 309 at level 4
//! and 302 at 5: the faster one stands for the same size. Beside it is pigz's usual level, 6, which is ours too, and makes
//! 299 MB. zstd is at level 3 everywhere, and makes 276 MB here and 277 there.

use super::contest::{Contest, Runner};

const DIGESTS: &str = "digest, diff id, entries";
const HASHES: &str = "both digests";

/// Both of them, given the codec that the image's layers are in.
pub(super) fn contests(codec: &str) -> Vec<Contest> {
    let setup = format!("mkdir -p $KEPT; set -- $LAYERS; {codec} -dc <$1 >$KEPT/layer.tar");
    let contest = |(name, runners)| Contest::without_floor((name, vec![setup.clone()], runners));
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
