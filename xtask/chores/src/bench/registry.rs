//! From and to a registry: `pull`, `unpack` and `push`, beside those who do the same, and beside GNU tar, which has nothing
//! to do with registries and makes the same files.

use super::contest::{Contest, Runner};
use super::measure::Disk;
use super::stages::Job;

/// Verifies nothing: bytes that are wrong become files that are wrong.
const NOTHING: &str = "nothing";
const UMOCI: &str = "umoci raw unpack --image $L:$N d";
const SKOPEO: &str = "skopeo copy -q docker://$R oci:o:1";
const PODMAN: &str = "podman --root $PWD/p --runroot $PWD/r --storage-driver overlay pull -q --tls-verify=false $R; s=$?; \
                      umount p/overlay 2>/dev/null; (exit $s)";
const MANIFEST: &str = "manifest, config, blobs, diff ids";
const BLOBS: &str = "manifest, blobs";
const ALL: &str = "archive, manifest, config, blobs, diff ids";

/// All of them, for layers in this codec.
pub(super) fn contests(codec: &str) -> Vec<Contest> {
    let known = Runner::line(
        "unpack --from NAME DIR, pairs known",
        "manifest, config, blobs",
        "STRATA_STORE=$KNOWN; unpack -q --from $R d",
    );
    let layout = Runner::line("`umoci raw unpack` of a layout", MANIFEST, UMOCI);
    let skopeo = Runner::line("`skopeo copy` to a layout", BLOBS, SKOPEO);
    let docker =
        Runner::line("`docker pull`", MANIFEST, "docker pull -q $R").after("docker rmi -f $R");
    let one_core = |title: &str, line: &str| {
        Runner::line(
            title,
            "manifest, config, blobs",
            format!("taskset -cp 0 $$ >/dev/null; {line}"),
        )
    };
    let known_alone = one_core(
        "`unpack --from NAME DIR`, one core",
        "STRATA_STORE=$KNOWN; unpack -q --from $R d",
    );
    let unpack_alone = one_core("`cat FILE \\| unpack DIR`, one core", "cat $A | unpack -q d");
    let (two, podman) = (two(), Runner::line("`podman pull`", MANIFEST, PODMAN));
    let (tar, piped) = (tar(codec), piped(codec));
    let pull_unpack = ours("pull -q --no-store $R | unpack -q d", ALL);
    let store_unpack = ours("pull -q $R | unpack -q d", ALL);
    let unpack = ours("cat $A | unpack -q d", ALL);
    let pull = ours("pull -q --no-stream $R >/dev/null", "manifest, config, blobs");
    let verified = ours("pull -q --no-stream --verify $R >/dev/null", MANIFEST);
    let load = "docker load -q -i $A".to_owned();
    let contest =
        |(name, job, runners)| Contest { name, job, disk: Disk::Ignored, setup: vec![], runners };
    let mut contests: Vec<_> = [
        (
            "pull-unpack",
            Job::PullUnpack,
            vec![pull_unpack, two.clone(), podman, docker.clone(), tar.clone()],
        ),
        ("store-unpack", Job::PullUnpack, vec![store_unpack, two]),
        (
            "unpack",
            Job::Unpack,
            vec![unpack, layout.clone(), tar.clone(), piped.clone(), unpack_alone],
        ),
        ("known", Job::UnpackKnown, vec![known, layout, tar, piped, known_alone]),
        ("pull", Job::Pull, vec![pull, skopeo, verified, docker]),
    ]
    .map(contest)
    .into();
    contests.push(Contest { setup: vec![load], ..contest(("push", Job::Other, push())) });
    contests
}

fn ours(line: &str, verifies: &'static str) -> Runner {
    let title = line.replace("$R", "NAME").replace(" d", " DIR").replace("cat $A", "cat FILE");
    Runner::line(&title.replace(" -q", "").replace(" >/dev/null", ""), verifies, line)
}

fn two() -> Runner {
    let line = format!("{SKOPEO} && umoci raw unpack --image o:1 d");
    Runner::line("`skopeo copy` + `umoci raw unpack`", MANIFEST, line)
}

fn push() -> Vec<Runner> {
    let ours = "STRATA_STORE=$KNOWN; push -q --insecure ${TO%%/*} $R $TO";
    let skopeo = "skopeo copy -q --dest-tls-verify=false oci:$L:$N docker://$TO";
    // docker has kept no blobs and makes them anew.
    let docker = Runner::line("`docker push`, compressing", NOTHING, "docker push -q $TO");
    vec![
        Runner::line("push NAME", BLOBS, ours),
        Runner::line("`skopeo copy` from a layout", BLOBS, skopeo),
        docker.before("docker tag $R $TO").after("docker rmi $TO"),
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
