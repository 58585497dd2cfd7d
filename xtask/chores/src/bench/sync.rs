//! What it costs to have a tree on the disk before `unpack` says that it is done: on an ext4 of its own, in a file on the disk
//! that has the target directory.

use std::os::unix::fs::MetadataExt as _;

use super::contest::{Contest, Runner};

const ALL: &str = "archive, manifest, config, blobs, diff ids";
const NOTHING: &str = "nothing";

/// A fresh file system for each run; writing is over when it is unmounted.
const MOUNT: &str = "mkdir -p $KEPT/disk && truncate -s 8G ${L%/*}/sync.img && mkfs.ext4 -q -F ${L%/*}/sync.img && mount -o loop ${L%/*}/sync.img $KEPT/disk && sync -f $KEPT/disk";
const UNMOUNT: &str = "umount $KEPT/disk; rm -f ${L%/*}/sync.img";

/// All of them; only root can mount the disk.
pub(super) fn contests() -> Vec<Contest> {
    if !std::fs::metadata("/proc/self").is_ok_and(|ours| ours.uid() == 0) {
        return vec![];
    }
    let line = |title: &str, verifies, line: &str| {
        Runner::line(title, verifies, line).before(MOUNT).after(UNMOUNT)
    };
    let tar = "mkdir $KEPT/disk/d; for l in $LAYERS; do tar -x -f $l -C $KEPT/disk/d; done";
    let runners = vec![
        line("unpack DIR", ALL, "unpack -q $KEPT/disk/d <$A"),
        line("unpack --no-sync DIR", ALL, "unpack -q --no-sync $KEPT/disk/d <$A"),
        line(
            "unpack --no-sync DIR, then `sync -f`",
            ALL,
            "unpack -q --no-sync $KEPT/disk/d <$A && sync -f $KEPT/disk/d",
        ),
        line("`tar -x` of each layer", NOTHING, tar),
        line(
            "`tar -x` of each layer, then `sync -f`",
            NOTHING,
            &format!("{tar}; sync -f $KEPT/disk/d"),
        ),
        Runner::line("unpack DIR on tmpfs", ALL, "unpack -q d <$A"),
        Runner::line("unpack --no-sync DIR on tmpfs", ALL, "unpack -q --no-sync d <$A"),
    ];
    vec![Contest::without_floor(("unpack-sync", vec![], runners))]
}
