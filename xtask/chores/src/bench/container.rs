//! From a container's writable layer to an image: what `docker commit` does. All of them look at the upper directory alone, so
//! nothing here grows with the image; and a whole tree as an image's only layer, where all of it is new.
//!
//! $KEPT holds a container of each kind, with the same changes made by the same tar: an upper directory of a union, a working
//! container of buildah's, one of docker's that was never started. buildah and docker don't compress what they keep.

use super::contest::{Contest, Runner};
use super::snapshot::{SOME_FILES, STORE, TREE};

const ATTRIBUTES: &str = "attributes";
const CONTENTS: &str = "contents";
const BUILDAH: &str = "buildah --root $KEPT/b --runroot $KEPT/r --storage-driver overlay";

/// All of them.
pub(super) fn contests() -> Vec<Contest> {
    [
        ("container-same", containers(&nothing()), upper("unchanged")),
        ("container-changed", containers(&a_hundred_files()), upper("100 files changed")),
        ("tree-new", trees(), tree()),
    ]
    .map(Contest::without_floor)
    .into()
}

/// No changes, in $KEPT/changes.
fn nothing() -> String {
    "mkdir -p $KEPT && tar -c -f $KEPT/changes -T /dev/null".to_owned()
}

/// The hundred files that [`super::snapshot`] changes, as they are then.
fn a_hundred_files() -> String {
    format!(
        "mkdir -p $KEPT && STRATA_STORE=$KNOWN unpack -q --from $R d && cd d && {SOME_FILES} >../names && \
         while read -r file; do echo changed >>\"$file\"; done <../names && \
         tar -c --numeric-owner -f $KEPT/changes -T ../names"
    )
}

/// A container of each kind, changed.
fn containers(changes: &str) -> Vec<String> {
    let ours = "STRATA_STORE=$KEPT/store; union -q $R m --upper $KEPT/upper -- tar -x -C m -f $KEPT/changes";
    let buildah = format!(
        "c=$({BUILDAH} from -q oci:$L:$N) && echo $c >$KEPT/container && m=$({BUILDAH} mount $c) && \
         tar -x -C $m -f $KEPT/changes && {BUILDAH} umount $c"
    );
    let docker = [
        "docker load -q -i $A",
        "docker create --name changed $R true",
        "docker cp -a - changed:/ <$KEPT/changes",
    ];
    let mut lines = vec![changes.to_owned(), STORE.to_owned(), ours.to_owned(), buildah];
    lines.extend(docker.map(str::to_owned));
    lines
}

fn upper(what: &str) -> Vec<Runner> {
    let title = format!("snapshot --upper --base NAME U | commit -t NEW, {what}");
    let line =
        "STRATA_STORE=$KEPT/store; snapshot -q --upper --base $R $KEPT/upper | commit -q -t new";
    vec![ours(&title, ATTRIBUTES, line), buildah(ATTRIBUTES), docker(ATTRIBUTES)]
}

/// The image's tree as everyone has one that is to be a first layer.
fn trees() -> Vec<String> {
    let umoci = "umoci init --layout $KEPT/layout && umoci new --image $KEPT/layout:empty && \
                 umoci unpack --image $KEPT/layout:empty $KEPT/bundle && cp -a $KEPT/tree/. $KEPT/bundle/rootfs";
    let buildah = format!(
        "c=$({BUILDAH} from scratch) && echo $c >$KEPT/container && m=$({BUILDAH} mount $c) && \
         cp -a $KEPT/tree/. $m && {BUILDAH} umount $c"
    );
    let docker = [
        "tar -c -T /dev/null | docker import - empty",
        "docker create --name changed empty true",
        "tar -c --numeric-owner -C $KEPT/tree . | docker cp -a - changed:/",
    ];
    let mut lines = [STORE, TREE, umoci].map(str::to_owned).to_vec();
    lines.push(buildah);
    lines.extend(docker.map(str::to_owned));
    lines
}

fn tree() -> Vec<Runner> {
    let line = |options: &str| {
        format!(
            "STRATA_STORE=$KEPT/store; snapshot -q --base scratch $KEPT/tree | commit -q -t new --base scratch{options}"
        )
    };
    let title = "snapshot --base scratch DIR | commit -t NEW --base scratch";
    let tar = "mkfifo p; sha256sum <p >a & tar -c --numeric-owner --sort=name -C $KEPT/tree . | \
               tee p | pigz -nc4 | tee layer | sha256sum >b && wait";
    let umoci = "umoci repack --image $KEPT/layout:new $KEPT/bundle";
    let umoci = Runner::line("`umoci repack` on an empty image", CONTENTS, umoci)
        .after("umoci rm --image $KEPT/layout:new && umoci gc --layout $KEPT/layout");
    vec![
        ours(title, CONTENTS, &line("")),
        ours("the same, `--compress none`", CONTENTS, &line(" --compress none")),
        umoci,
        Runner::line("`tar -c \\| pigz -4`, both sides hashed by `sha256sum`", CONTENTS, tar),
        buildah(CONTENTS),
        docker(CONTENTS),
    ]
}

fn ours(title: &str, verifies: &'static str, line: &str) -> Runner {
    let undo = "STRATA_STORE=$KEPT/store; images rm -q new && images gc -q";
    Runner::line(title, verifies, line).after(undo)
}

fn buildah(verifies: &'static str) -> Runner {
    let line = format!("{BUILDAH} commit -q $(<$KEPT/container) new");
    Runner::line("`buildah commit`, not compressing", verifies, line)
        .after(format!("{BUILDAH} rmi new"))
}

fn docker(verifies: &'static str) -> Runner {
    Runner::line("`docker commit`, not compressing", verifies, "docker commit changed new")
        .after("docker rmi new")
}
