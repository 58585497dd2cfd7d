//! `snapshot` of the unpacked image: nothing changed, a hundred files changed, everything new.
//!
//! $KEPT holds the tree, with the store that knows what was unpacked there, and the same as a bundle of umoci's.

use super::contest::{Contest, Runner};

const NOTHING: &str = "nothing";
const ATTRIBUTES: &str = "attributes";
const ALL: &str = "attributes and contents";
const CONTENTS: &str = "contents";

pub(super) const STORE: &str = "mkdir -p $KEPT && cp -al $KNOWN $KEPT/store";
pub(super) const TREE: &str = "STRATA_STORE=$KEPT/store; unpack -q --from $R $KEPT/tree";
/// Finds that nothing has changed in it.
pub(super) const SAME: &str = "STRATA_STORE=$KEPT/store; snapshot -q $KEPT/tree";
/// Asks for the same attributes.
pub(super) const FIND: &str = "find $KEPT/tree -printf '%P %y %m %U %G %s %T@ %l\\n'";
const BUNDLE: &str = "cp -r $L $KEPT/layout && umoci unpack --image $KEPT/layout:$N $KEPT/bundle";
const REPACK: &str = "umoci repack --image $KEPT/layout:new $KEPT/bundle";

/// All of them.
pub(super) fn contests() -> Vec<Contest> {
    let setup = || [STORE, TREE, BUNDLE].map(str::to_owned).to_vec();
    let changes = ["tree", "bundle/rootfs"].map(change_a_hundred);
    let changed = [setup(), changes.to_vec()].concat();
    let new = [STORE, TREE].map(str::to_owned).to_vec();
    [
        ("snapshot-same", setup(), same()),
        ("snapshot-changed", changed, changed_files()),
        ("snapshot-new", new, all_new()),
    ]
    .map(Contest::without_floor)
    .into()
}

/// Names a hundred files, from all over the tree in the current directory.
pub(super) const SOME_FILES: &str =
    "find . -type f | LC_ALL=C sort | shuf -n 100 --random-source=<(yes)";

/// The files grow by a line.
fn change_a_hundred(tree: &str) -> String {
    format!(
        "cd $KEPT/{tree} && {SOME_FILES} | while read -r file; do echo changed >>\"$file\"; done"
    )
}

fn same() -> Vec<Runner> {
    vec![
        Runner::line("snapshot DIR", ATTRIBUTES, SAME),
        Runner::line("`find DIR -printf` of the attributes", NOTHING, FIND),
        Runner::line("`umoci repack`", ALL, REPACK),
    ]
}

fn changed_files() -> Vec<Runner> {
    let line = "STRATA_STORE=$KEPT/store; snapshot -q $KEPT/tree | commit -q -t new";
    vec![
        Runner::line("snapshot DIR | commit -t NEW", ATTRIBUTES, line),
        Runner::line("`umoci repack`", ALL, REPACK),
    ]
}

fn all_new() -> Vec<Runner> {
    let line = "snapshot -q --base scratch $KEPT/tree | sha256sum";
    let tar = "tar -c --numeric-owner --sort=name -C $KEPT/tree . | sha256sum";
    vec![
        Runner::line("snapshot --base scratch DIR | sha256sum", CONTENTS, line),
        Runner::line("`tar -c \\| sha256sum`", CONTENTS, tar),
    ]
}
