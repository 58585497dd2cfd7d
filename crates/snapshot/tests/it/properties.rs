//! Whatever is done to a tree, the base and a snapshot of it make the same tree again, every attribute.

use std::fs;
use std::path::{Path, PathBuf};

use kit::command::plain_user::run_as_plain_user;
use kit::tree;
use kit::{Codec, Image, Named, Producer};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::steps::{Step, perform, step};
use crate::{apply, is_root, quick_dir, show, snapshot};

/// The layers as an archive, for `--base`.
pub(crate) fn archive(dir: &Path, codec: Codec, layers: &[&[u8]]) -> PathBuf {
    let image = layers.iter().fold(Image::new().codec(codec), |image, layer| image.layer(*layer));
    let path = dir.join("base.tar");
    fs::write(&path, Producer::Strata.write(&[Named::new("localhost/base:1", image)])).unwrap();
    path
}

/// Three trees, each made from the one before.
fn check(steps: &[Vec<Step>; 3], codec: Codec) {
    let place = quick_dir();
    let dir = |name: &str| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let first = dir("first");
    steps[0].iter().for_each(|step| perform(&first, step));
    let first_layer = snapshot(&first, "scratch", &[]);
    assert_eq!(first_layer, snapshot(&first, "scratch", &[]), "twice the same");
    let second = dir("second");
    apply(&second, &[&first_layer]);
    tree::assert_same(&show(&first), &show(&second));
    assert_eq!(snapshot(&second, "scratch", &[]), first_layer, "whatever the inodes are");

    let base = format!("dir:{}", first.display());
    assert_eq!(snapshot(&second, &base, &["--list"]), b"");
    steps[1].iter().for_each(|step| perform(&second, step));
    let second_layer = snapshot(&second, &base, &[]);
    let third = dir("third");
    apply(&third, &[&first_layer, &second_layer]);
    tree::assert_same(&show(&second), &show(&third));

    let base = archive(place.path(), codec, &[&first_layer, &second_layer]);
    let base = base.to_str().unwrap();
    assert_eq!(snapshot(&third, base, &["--list", "--checksum"]), b"");
    steps[2].iter().for_each(|step| perform(&third, step));
    let third_layer = snapshot(&third, base, &[]);
    let last = dir("last");
    apply(&last, &[&first_layer, &second_layer, &third_layer]);
    tree::assert_same(&show(&third), &show(&last));
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..most)
}

/// Where seeds that failed are kept, and tried first from then on.
const SEEDS: FileFailurePersistence = FileFailurePersistence::Direct("tests/it/properties.seeds");

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn base_and_snapshot_make_the_tree_again(
        first in steps(25),
        second in steps(10),
        third in steps(10),
        codec in prop::sample::select(vec![Codec::GZIP, Codec::ZSTD]),
    ) {
        check(&[first, second, third], codec);
    }
}

#[test]
fn as_root_it_is_no_different_for_a_plain_user() {
    if !is_root() {
        // It has run as one already.
        return kit::peers::skip("a plain user's turn", "it needs root");
    }
    run_as_plain_user("properties::base_and_snapshot_make_the_tree_again", &[]);
}
