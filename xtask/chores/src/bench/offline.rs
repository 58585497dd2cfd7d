//! Offline transfer: `save`, `load` and `images verify`, beside those who do the same, and beside the same bytes merely
//! read, copied or hashed.
//!
//! $KEPT holds what the others have loaded before. What is on the disk for a while is watched.

use super::contest::{Contest, Runner};
use super::measure::Disk;
use super::stages::Job;

const BLOBS: &str = "manifest, config, blobs";
const DIFF_IDS: &str = "manifest, config, blobs, diff ids";
const ALL: &str = "archive, manifest, config, blobs, diff ids";
const NOTHING: &str = "nothing";

const PODMAN: &str = "podman --root $KEPT/p --runroot $KEPT/r --storage-driver overlay";
const DOCKER_LOAD: &str = "docker load -q -i $A";
/// podman leaves its overlay mounted.
const PODMAN_LOAD: &str = "cat $A | podman --root $PWD/p --runroot $PWD/r --storage-driver overlay load -q; s=$?; \
                           umount p/overlay 2>/dev/null; (exit $s)";

/// All of them.
pub(super) fn contests() -> Vec<Contest> {
    let contest =
        |(name, job, runners)| Contest { name, job, disk: Disk::Watched, setup: vec![], runners };
    let mut contests: Vec<_> = [
        ("save-pipe", Job::Other, save_to_a_pipe()),
        ("save-file", Job::Other, save_to_a_file()),
        ("load", Job::Load, load()),
        ("verify", Job::Verify, verify()),
    ]
    .map(contest)
    .into();
    let load =
        format!("{PODMAN} load -q -i $A; s=$?; umount $KEPT/p/overlay 2>/dev/null; (exit $s)");
    contests[0].setup.push(load.clone());
    contests[1].setup.extend([load, DOCKER_LOAD.to_owned()]);
    contests
}

fn save_to_a_pipe() -> Vec<Runner> {
    let podman = format!("{PODMAN} save -q --format oci-archive $R | cat");
    vec![
        Runner::line("save NAME | cat", NOTHING, "STRATA_STORE=$KNOWN; save -q $R | cat"),
        Runner::line("`cat` of the blobs to a pipe", NOTHING, "cat $LAYERS | cat"),
        Runner::line("`cat` of the blobs to `sha256sum`", "one digest", "cat $LAYERS | sha256sum"),
        Runner::line("`podman save` to a pipe", BLOBS, podman),
    ]
}

fn save_to_a_file() -> Vec<Runner> {
    let skopeo = "skopeo --tmpdir $TMPDIR copy -q oci:$L:$N oci-archive:out";
    let podman = format!("{PODMAN} save -q --format oci-archive -o out $R");
    vec![
        Runner::line("save NAME -o FILE", NOTHING, "STRATA_STORE=$KNOWN; save -q $R -o out"),
        Runner::line("`cat` of the blobs to a file", NOTHING, "cat $LAYERS >out"),
        Runner::line("`skopeo copy` of a layout", BLOBS, skopeo),
        Runner::line("`podman save`", BLOBS, podman),
        Runner::line("`docker save`", BLOBS, "docker save $R -o out"),
    ]
}

fn load() -> Vec<Runner> {
    let skopeo = "skopeo --tmpdir $TMPDIR copy -q oci-archive:$A oci:o:1";
    vec![
        Runner::line("cat FILE | load", "archive, manifest, config, blobs", "cat $A | load -q"),
        Runner::line("cat FILE | load --verify", ALL, "cat $A | load -q --verify"),
        Runner::line("`cat FILE \\| sha256sum`", "one digest", "cat $A | sha256sum"),
        Runner::line("`skopeo copy` to a layout", BLOBS, skopeo),
        Runner::line("`podman load` from a pipe", DIFF_IDS, PODMAN_LOAD),
        Runner::line("`docker load`", DIFF_IDS, DOCKER_LOAD).after("docker rmi -f $R"),
    ]
}

fn verify() -> Vec<Runner> {
    vec![
        Runner::line("images verify", DIFF_IDS, "STRATA_STORE=$KNOWN; images verify -q"),
        Runner::line("`cat` of the blobs to `sha256sum`", "one digest", "cat $LAYERS | sha256sum"),
    ]
}
