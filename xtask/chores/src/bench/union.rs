//! What a union's changes cost to take, of images that are a hundred times as large as each other; `flatten`; and one file of an
//! image.

use super::contest::{Contest, Runner};

const ATTRIBUTES: &str = "attributes";
const MANIFEST: &str = "manifest, config, blobs";

/// All of them.
pub(super) fn contests() -> Vec<Contest> {
    [
        ("union-snapshot", [1_000, 100_000].map(image_with_changes).to_vec(), snapshot()),
        ("flatten", vec![], flatten()),
        ("one-file", vec![], one_file()),
    ]
    .map(Contest::without_floor)
    .into()
}

/// An image of small files in $KEPT/store, and an upper directory of ten files changed in it.
fn image_with_changes(n_files: u32) -> String {
    format!(
        "export STRATA_STORE=$KEPT/store; mkdir -p $KEPT tree/{{0..99}} && \
         seq 0 {} | while read -r n; do echo $n >tree/$((n % 100))/$n; done && \
         tar -c -C tree . | commit -q -t files:{n_files} --base scratch --compress none && \
         union -q files:{n_files} m --upper $KEPT/{n_files} -- \
         sh -c 'for n in 0 1 2 3 4 5 6 7 8 9; do echo changed >m/$n/$n; done'",
        n_files - 1
    )
}

fn snapshot() -> Vec<Runner> {
    let runner = |n_files: u32, text| {
        let line = format!(
            "STRATA_STORE=$KEPT/store; union -q files:{n_files} m --upper $KEPT/{n_files} -- snapshot -q m"
        );
        Runner::line(text, ATTRIBUTES, line)
    };
    vec![
        runner(1_000, "union NAME DIR --upper U -- snapshot DIR, 10 files of 1,000"),
        runner(100_000, "the same, 10 files of 100,000"),
    ]
}

/// A file that every image here has; in the last but one layer of `app`. $KNOWN has listings and seek indexes.
fn one_file() -> Vec<Runner> {
    let path = "usr/share/common-licenses/GPL-2";
    let line = |store: &str| format!("{store}inspect -q --cat {path} $R");
    vec![
        Runner::line(
            "inspect --cat FILE NAME",
            "the listing, the segment",
            line("STRATA_STORE=$KNOWN; "),
        ),
        Runner::line(
            "`tar -xzO` of the layer with it",
            "nothing",
            format!(
                "for l in $LAYERS; do tar -xzO -f $l ./{path} 2>/dev/null && break; done | cat"
            ),
        ),
        Runner::line(
            "the same, without listings",
            MANIFEST,
            line("cp -al $KNOWN s; rm -r s/strata; STRATA_STORE=$PWD/s; "),
        ),
    ]
}

fn flatten() -> Vec<Runner> {
    let flatten =
        "STRATA_STORE=$KNOWN; mkdir d; flatten -q $R | tar -x --delay-directory-restore -C d";
    let unpack = "STRATA_STORE=$KNOWN; unpack -q --from $R d";
    vec![
        Runner::line("flatten NAME | tar -x", MANIFEST, flatten),
        Runner::line("`unpack --from NAME DIR`", MANIFEST, unpack),
        Runner::line(
            "`umoci raw unpack` of a layout",
            "manifest, config, blobs, diff ids",
            "umoci raw unpack --image $L:$N d",
        ),
    ]
}
