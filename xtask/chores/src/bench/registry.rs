//! From and to a registry: `pull`, `unpack` and `push`, beside those who do the same, and beside GNU tar, which has nothing
//! to do with registries and makes the same files.

use super::contest::{Contest, Runner};
use super::measure::Disk;
use super::stages::Job;

/// Verifies nothing: bytes that are wrong become files that are wrong.
const NOTHING: &str = "nothing";
const UMOCI: &str = "umoci raw unpack --image $L:$N d";
const SKOPEO: &str = "skopeo copy -q --src-tls-verify=false docker://$R oci:o:1";
const PODMAN: &str = "podman --root $PWD/p --runroot $PWD/r --storage-driver overlay pull -q --tls-verify=false $R; s=$?; \
                      umount p/overlay 2>/dev/null; (exit $s)";
/// One layer after the other, in eight parts of equal length.
const CURL: &str = "repository=${SLOW#*/}; for file in $LAYERS; do part=$(($(stat -c %s $file) / 8 + 1)); \
                    for n in $(seq 0 7); do curl -sf -o $n -r $((n * part))-$((n * part + part - 1)) \
                    http://${SLOW%%/*}/v2/${repository%:*}/blobs/sha256:${file##*/} & done; wait; done";
const MANIFEST: &str = "manifest, config, blobs, diff ids";
const BLOBS: &str = "manifest, blobs";
const DIGESTS: &str = "manifest, config, blobs";
/// Into a store of its own, and into one that all share.
const EACH: &str = "STRATA_STORE=$PWD/store$i pull -q --no-stream $R >/dev/null";
const ONE: &str = "pull -q --no-stream $R >/dev/null";
const ALL: &str = "archive, manifest, config, blobs, diff ids";

/// All of them, for layers in this codec.
pub(super) fn contests(codec: &str) -> Vec<Contest> {
    let known = Runner::line(
        "unpack --from NAME DIR, pairs known",
        DIGESTS,
        "STRATA_STORE=$KNOWN; unpack -q --from $R d",
    );
    let layout = Runner::line("`umoci raw unpack` of a layout", MANIFEST, UMOCI);
    let skopeo = Runner::line("`skopeo copy` to a layout", BLOBS, SKOPEO);
    let docker =
        Runner::line("`docker pull`", MANIFEST, "docker pull -q $R").after("docker rmi -f $R");
    let one_core = |title: &str, verifies, line: &str| {
        Runner::line(title, verifies, format!("taskset -cp 0 $$ >/dev/null; {line}"))
    };
    let known_alone = one_core(
        "`unpack --from NAME DIR`, one core",
        DIGESTS,
        "STRATA_STORE=$KNOWN; unpack -q --from $R d",
    );
    let file_alone = one_core("`unpack DIR < FILE`, one core", ALL, "unpack -q d < $A");
    let unpack_alone = one_core("`cat FILE \\| unpack DIR`, one core", ALL, "cat $A | unpack -q d");
    let (two, podman) = (two("$R"), Runner::line("`podman pull`", MANIFEST, PODMAN));
    let (tar, piped) = (tar(codec), piped(codec));
    let pull_unpack = ours("pull -q --no-store $R | unpack -q d", ALL);
    let store_unpack = ours("pull -q $R | unpack -q d", ALL);
    let unpack = ours("cat $A | unpack -q d", ALL);
    let pull = ours("pull -q --no-stream $R >/dev/null", DIGESTS);
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
        ("file", Job::Unpack, vec![ours("unpack -q d < $A", ALL), layout.clone(), file_alone]),
        ("known", Job::UnpackKnown, vec![known, layout, tar, piped, known_alone]),
        ("pull", Job::Pull, vec![pull, skopeo, verified, docker]),
    ]
    .map(contest)
    .into();
    contests.push(Contest { setup: vec![load], ..contest(("push", Job::Other, push())) });
    contests.extend(
        [
            ("throttled", Job::Other, throttled()),
            ("throttled-unpack", Job::Other, throttled_unpack()),
            ("far", Job::Other, far("FAR", "HTTP/1.1")),
            ("far-http2", Job::Other, far("FAR2", "HTTP/2")),
            ("far-unpack", Job::Other, far_unpack("FAR", "HTTP/1.1")),
            ("far-unpack-http2", Job::Other, far_unpack("FAR2", "HTTP/2")),
            ("copy", Job::Other, copy()),
            ("start", Job::Other, start()),
            ("twenty", Job::Other, twenty("twenty of pull --no-stream NAME, a store each", EACH)),
            (
                "twenty-one-store",
                Job::Other,
                twenty("twenty of pull --no-stream NAME, one store", ONE),
            ),
        ]
        .map(contest),
    );
    contests
}

/// A line that gives 30 MB/s a connection, into a store.
fn throttled() -> Vec<Runner> {
    let ours = "pull -q --no-stream $SLOW >/dev/null";
    let by_one = "pull -q --no-stream --connections 1 $SLOW >/dev/null";
    vec![
        Runner::line("pull --no-stream NAME, 30 MB/s a connection", DIGESTS, ours),
        Runner::line("pull --no-stream --connections 1 NAME", DIGESTS, by_one),
        Runner::line("`skopeo copy` to a layout", BLOBS, SKOPEO.replace("$R", "$SLOW")),
        Runner::line("eight ranges of each layer at once by `curl`", NOTHING, CURL),
    ]
}

/// The same, into a directory.
fn throttled_unpack() -> Vec<Runner> {
    let with_store = "pull -q $SLOW | unpack -q d";
    let without = "pull -q --no-store $SLOW | unpack -q d";
    vec![
        Runner::line("pull NAME | unpack DIR, 30 MB/s a connection", ALL, with_store),
        Runner::line("the same with `pull --no-store`", ALL, without),
        two("$SLOW"),
    ]
}

/// A line of 500 Mbit/s and 100 ms to the image named by a variable, into a store. Any certificate is taken.
fn far(name: &str, protocol: &str) -> Vec<Runner> {
    let ours = format!("pull -q --insecure ${{{name}%%/*}} --no-stream ${name} >/dev/null");
    let title = format!("pull --no-stream NAME, 500 Mbit/s, 100 ms, {protocol}");
    vec![
        Runner::line(&title, DIGESTS, ours),
        Runner::line("`skopeo copy` to a layout", BLOBS, SKOPEO.replace("$R", &format!("${name}"))),
    ]
}

/// The same, into a directory.
fn far_unpack(name: &str, protocol: &str) -> Vec<Runner> {
    let pull = format!("pull -q --insecure ${{{name}%%/*}}");
    let title = format!("pull NAME | unpack DIR, 500 Mbit/s, 100 ms, {protocol}");
    let without = format!("{pull} --no-store ${name} | unpack -q d");
    vec![
        Runner::line(&title, ALL, format!("{pull} ${name} | unpack -q d")),
        Runner::line("the same with `pull --no-store`", ALL, without),
        two(&format!("${name}")),
    ]
}

/// To another repository of the same registry, which has none of the image's blobs there.
fn copy() -> Vec<Runner> {
    let to = "${R%%/*}/copy$RANDOM$RANDOM:1";
    let ours = format!("remote copy -q --insecure ${{R%%/*}} $R {to} >/dev/null");
    let skopeo = format!(
        "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false docker://$R docker://{to}"
    );
    vec![
        Runner::line("remote copy NAME OTHER, within a registry", BLOBS, ours),
        Runner::line("`skopeo copy`", BLOBS, skopeo),
    ]
}

/// A program that does nothing, a hundred times, not watched.
fn start() -> Vec<Runner> {
    let hundred = |line: &str| format!("for i in $(seq 100); do {line}; done");
    vec![
        Runner::line("a hundred of pull --version", NOTHING, hundred("pull --version")),
        Runner::line("a hundred of `/bin/true`", NOTHING, hundred("/bin/true")),
    ]
}

/// What twenty clients do at once, each with its number in $i; beside twenty of skopeo.
fn twenty(title: &str, ours: &str) -> Vec<Runner> {
    let at_once = |line: &str| format!("for i in $(seq 20); do {{ {line}; }} & done; wait");
    let skopeo = at_once("skopeo copy -q docker://$R oci:o$i:1");
    vec![
        Runner::line(title, DIGESTS, at_once(ours)),
        Runner::line("`skopeo copy` to a layout each, twenty of them", BLOBS, skopeo),
    ]
}

fn ours(line: &str, verifies: &'static str) -> Runner {
    let title = line.replace("$R", "NAME").replace(" d", " DIR").replace("$A", "FILE");
    Runner::line(&title.replace(" -q", "").replace(" >/dev/null", ""), verifies, line)
}

/// The usual two, from where an image is.
fn two(name: &str) -> Runner {
    let line = format!("{SKOPEO} && umoci raw unpack --image o:1 d").replace("$R", name);
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
