//! What is found, who makes it, and what gc takes.

use std::fs;
use std::path::Path;

use layer_format::Digest;

use super::extracted::*;
use super::*;
use crate::error::Error;
use crate::gc::Sweep;
use crate::locked_file;
use crate::store::Store;

fn about(text: &str) -> About {
    let key = Digest::of(text.as_bytes());
    About { key, stands_alone: true, describes_root: true, bytes: 3 }
}

fn make(layers: &Layers, text: &str) -> Extracted {
    let draft = layers.draft().unwrap();
    fs::write(draft.tree().join("file"), text).unwrap();
    draft.finish(about(text)).unwrap()
}

fn remove(garbage: &[Garbage]) {
    for it in garbage {
        fs::remove_dir_all(it.path()).unwrap();
    }
}

#[test]
fn a_layer_is_found_once_it_is_finished() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    let draft = layers.draft().unwrap();
    fs::write(draft.tree().join("file"), "").unwrap();
    assert!(layers.find(&about("a").key).unwrap().is_none());
    draft.finish(about("a")).unwrap();
    let found = layers.find(&about("a").key).unwrap().unwrap();
    assert_eq!(found.about(), &about("a"));
    assert!(found.tree().join("file").is_file());
    assert!(store.layers("other").find(&about("a").key).unwrap().is_none());
    assert!(Extracted::is_one(&found.tree()));
    assert!(!Extracted::is_one(Path::new("/var/lib/docker/overlay2/l/ABC")));
}

#[test]
fn nobody_else_may_go_there() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    make(&layers, "a");
    let mode = fs::metadata(&layers.folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn of_two_that_make_one_layer_the_first_counts() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    let (first, second) = (layers.draft().unwrap(), layers.draft().unwrap());
    fs::write(first.tree().join("first"), "").unwrap();
    first.finish(about("a")).unwrap();
    assert!(second.finish(about("a")).unwrap().tree().join("first").is_file());
    drop(second);
    assert_eq!(layers.leftovers().unwrap().len(), 1);
}

#[test]
fn another_layer_of_the_same_name_is_an_error() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    let made = make(&layers, "a");
    let other = serde_json::to_vec(&about("b")).unwrap();
    fs::write(made.tree().with_file_name(ABOUT), other).unwrap();
    assert!(matches!(layers.find(&about("a").key), Err(Error::Malformed { .. })));
}

#[test]
fn one_at_a_time_makes_a_layer() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    let key = about("a").key;
    let at_work = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        for _ in 0..50 {
            let _build_lock = layers.build_lock(&key).unwrap();
            assert_eq!(at_work.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            at_work.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert!(locked_file::list(&layers.folder).unwrap().is_empty());
}

#[test]
fn gc_takes_what_no_lease_has_and_no_running_program_makes() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    make(&layers, "kept");
    make(&layers, "unused");
    let draft = layers.draft().unwrap();
    drop(layers.draft().unwrap());
    let lease = store.lease().unwrap();
    lease.protect(&[about("kept").key]).unwrap();
    let dry = store.collect_layers(Sweep::DryRun, Proof::Needed).unwrap();
    assert_eq!((dry.n_layers, dry.bytes, dry.garbage.len()), (1, 3, 0));
    let collected = store.collect_layers(Sweep::Remove, Proof::Needed).unwrap();
    assert_eq!((collected.n_layers, collected.bytes, collected.garbage.len()), (1, 3, 2));
    remove(&collected.garbage);
    assert!(layers.find(&about("unused").key).unwrap().is_none());
    assert!(layers.find(&about("kept").key).unwrap().is_some());
    assert!(draft.tree().is_dir());
    drop(lease);
    assert_eq!(store.collect_layers(Sweep::Remove, Proof::Needed).unwrap().n_layers, 1);
}

#[test]
fn what_a_killed_gc_began_the_next_one_ends() {
    let (_dir, store) = Store::temporary();
    let layers = store.layers("kind");
    make(&layers, "unused");
    drop(store.collect_layers(Sweep::Remove, Proof::Needed).unwrap());
    let collected = store.collect_layers(Sweep::Remove, Proof::Needed).unwrap();
    assert_eq!((collected.n_layers, collected.garbage.len()), (0, 1));
}

#[test]
fn a_path_of_a_layer_is_told_from_others() {
    let name = "0123456789abcdef0123";
    for (path, expected) in [
        (format!("/s/strata/layers/trusted/{name}/tree"), true),
        (format!("/s/strata/layers/trusted/{name}/other"), false),
        (format!("/s/{}/tree", &name[1..]), false),
        (format!("/s/{}z/tree", &name[1..]), false),
        ("tree".to_owned(), false),
    ] {
        assert_eq!(Extracted::is_one(Path::new(&path)), expected, "{path}");
    }
}

#[test]
fn a_description_that_can_not_be_read_is_no_missing_one() {
    let place = tempfile::tempdir().unwrap();
    assert!(read_about(place.path()).unwrap().is_none());
    fs::create_dir(place.path().join(ABOUT)).unwrap();
    assert!(matches!(read_about(place.path()), Err(Error::Io { .. })));
}
