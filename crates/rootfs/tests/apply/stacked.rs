//! Layers in directories of their own, mounted on top of each other.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rootfs::overlay::{Control, Overlay, StandaloneCheck, WritableLayer};
use rootfs::{Applier, Root};
use rustix::process::{Resource, Rlimit};

use crate::tree::{OPTIONS, apply_changes, change, is_root, lines, quick_dir, show};

/// The tree that the layers make, each in the form that it is kept in: by itself if it stands alone, otherwise what a mount
/// of those below it writes.
pub(crate) fn stacked(layers: &[&str]) -> String {
    let dir = quick_dir();
    let floor = directory(dir.path(), "floor");
    let mut lowers = vec![floor];
    for (n, layer) in layers.iter().enumerate() {
        let upper = directory(dir.path(), &format!("layer-{n}"));
        let mut alone = StandaloneCheck::new();
        if lines(layer).all(|line| alone.admits(&change(line).0)) {
            apply(upper.try_clone().unwrap(), layer);
        } else {
            let work = directory(dir.path(), &format!("work-{n}"));
            let upper = Some(WritableLayer { dir: &upper, work: &work });
            apply(mount(&lowers, upper), layer);
        }
        lowers.insert(0, upper);
    }
    let root = mount(&lowers, None);
    show(Path::new(&format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())))
}

fn directory(parent: &Path, name: &str) -> Root {
    fs::create_dir(parent.join(name)).unwrap();
    Root::open(&parent.join(name)).unwrap()
}

fn mount(lowers: &[Root], upper: Option<WritableLayer<'_>>) -> Root {
    let overlay = Overlay { source: "test", lowers, upper, control: Control::Trusted };
    let mount = overlay.mount().unwrap();
    mount.root().unwrap()
}

fn apply(root: Root, layer: &str) {
    let mut applier = Applier::new(root, OPTIONS).unwrap();
    apply_changes(&mut applier, lines(layer).map(change)).unwrap();
    applier.finish().unwrap();
}

#[track_caller]
fn check(layers: &[&str], expected: &str) {
    if is_root() {
        let expected: Vec<_> = lines(expected).collect();
        assert_eq!(stacked(layers).lines().collect::<Vec<_>>(), expected);
    } else {
        kit::peers::skip("layers mounted on each other", "that needs root");
    }
}

#[test]
fn as_root_a_whiteout_over_nothing_cannot_be_seen() {
    check(&["d/\nd/a = a", "- d/nothing\n- e/nothing\n- d/a"], "d/");
}

#[test]
fn as_root_a_parent_that_the_layer_lacks_is_as_it_is_below() {
    check(
        &["[700 7:8 @5 user.x=y] d/\nd/a = a", "d/b = b"],
        "[700 7:8 @5 user.x=y] d/\nd/a = a\nd/b = b",
    );
}

#[test]
fn as_root_whiteouts_of_trees_of_any_depth_take_few_descriptors() {
    // Twigs to come back to, on the way and where it is closed for a while.
    let deep = |n: usize| vec!["d"; n].join("/");
    let twigs = [1, 2, 31, 100, 800, 1499, 1500].map(|n| format!("{}/twig/f = x", deep(n)));
    let lower = format!("{}/f = x\nkept = k\n{}", deep(1500), twigs.join("\n"));
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(512), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, few).unwrap();
    check(&[&lower, "- d"], "kept = k");
    check(&[&lower, "! d"], "[@0] d/\nkept = k");
}

#[test]
fn as_root_a_link_to_a_lower_file_is_a_copy_with_its_attributes() {
    check(&["[4755 7:8 @5 user.x=y] f = f", "g => f"], "[4755 7:8 @5 user.x=y] f = f\ng => f");
}

#[test]
fn as_root_a_directory_made_anew_hides_what_was_below() {
    check(&["d/\nd/a = a", "- d\nd/\nd/b = b"], "d/\nd/b = b");
    check(&["d/\nd/a = a", "d = f\n[@7] d/"], "[@7] d/");
}
