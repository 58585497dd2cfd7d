//! What gc takes and what it leaves.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use layer_format::{Descriptor, Digest};
use store::{Freed, IndexEntry, Store, Sweep};

use crate::kit::{self, image, named};

fn freed(n_blobs: u64, n_partials: u64, bytes: u64) -> Freed {
    let mut freed = Freed::default();
    (freed.n_blobs, freed.n_partials, freed.bytes) = (n_blobs, n_partials, bytes);
    freed
}

fn n_blobs(store: &Store) -> usize {
    store.blobs().unwrap().len()
}

#[test]
fn blobs_go_when_the_last_image_that_has_them_goes() {
    let (_dir, store) = kit::store();
    let (one, two) = (image(&["base", "one"]), image(&["base", "two"]));
    one.store(&store, "one");
    two.store(&store, "two");
    assert_eq!(store.gc(Sweep::Remove).unwrap(), Freed::default());
    let images = store.images().unwrap();
    assert_eq!(store.remove(&images[..1]).unwrap(), images[..1]);
    let bytes = (one.manifest.len() + one.config.len() + 3) as u64;
    assert_eq!(store.gc(Sweep::DryRun).unwrap(), freed(3, 0, bytes));
    assert_eq!(store.gc(Sweep::Remove).unwrap(), freed(3, 0, bytes));
    assert_eq!(store.gc(Sweep::Remove).unwrap(), Freed::default());
    kit::assert_whole(&store, &two.descriptor());
    store.remove(&images).unwrap();
    store.gc(Sweep::Remove).unwrap();
    assert_eq!(n_blobs(&store), 0);
}

#[test]
fn a_name_that_moved_on_keeps_its_old_image() {
    let (_dir, store) = kit::store();
    let old = image(&["old"]).store(&store, "a");
    image(&["new"]).store(&store, "a");
    store.gc(Sweep::Remove).unwrap();
    kit::assert_whole(&store, &old);
    assert_eq!(store.images().unwrap().iter().map(IndexEntry::name).collect::<Vec<_>>()[0], None);
}

#[test]
fn what_is_leased_stays_with_all_that_it_leads_to() {
    let (_dir, store) = kit::store();
    let fixture = image(&["layer"]);
    let lease = store.lease().unwrap();
    let descriptor = fixture.put(&lease);
    store.gc(Sweep::Remove).unwrap();
    assert_eq!(n_blobs(&store), 3);
    let reader = store.hold(&[descriptor.digest]).unwrap().lease().unwrap();
    drop(lease);
    store.gc(Sweep::Remove).unwrap();
    kit::assert_whole(&store, &descriptor);
    drop(reader);
    assert_eq!(store.gc(Sweep::Remove).unwrap().n_blobs, 3);
}

#[test]
fn a_blob_under_way_keeps_its_lease() {
    let (_dir, store) = kit::store();
    let mut partial = store.lease().unwrap().incoming(None).unwrap();
    partial.write_all(b"content").unwrap();
    store.gc(Sweep::Remove).unwrap();
    let digest = partial.commit().unwrap();
    assert!(store.has(&digest, 7).unwrap());
}

#[test]
fn a_tag_may_be_put_on_what_just_lost_its_name() {
    let (_dir, store) = kit::store();
    let descriptor = image(&["layer"]).store(&store, "a");
    let lease = store.hold(&[descriptor.digest]).unwrap().lease().unwrap();
    store.remove(&store.images().unwrap()).unwrap();
    store.gc(Sweep::Remove).unwrap();
    lease.name(&[named("b", descriptor.clone())]).unwrap();
    kit::assert_whole(&store, &descriptor);
}

#[test]
fn kinds_of_document_that_nobody_knows_keep_what_they_name() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    lease.put(b"payload").unwrap();
    let payload = Descriptor::of("payload", b"payload");
    let payload = serde_json::to_string(&payload).unwrap();
    let artifact = format!(r#" {{"blobs":[{payload}],"subject":null}}"#).into_bytes();
    lease.put(&artifact).unwrap();
    let entry = serde_json::to_string(&Descriptor::of("artifact", &artifact)).unwrap();
    let index = format!(
        r#"{{"manifests":[{{"deep":[{entry}],"digest":"{}","size":9}}]}}"#,
        Digest::of(b"absent")
    );
    fs::write(store.path().join("index.json"), index).unwrap();
    drop(lease);
    store.gc(Sweep::Remove).unwrap();
    assert_eq!(n_blobs(&store), 2);
}

#[test]
fn the_index_that_an_image_was_chosen_from_is_kept_without_the_others() {
    let (_dir, store) = kit::store();
    let (chosen, other) = (image(&["chosen"]), image(&["other"]));
    let lease = store.lease().unwrap();
    other.put(&lease);
    let index = lease.put(&kit::index(&[chosen.descriptor(), other.descriptor()])).unwrap();
    lease.name(&[named("a", chosen.put(&lease)).chosen_from(index)]).unwrap();
    drop(lease);
    assert_eq!(store.gc(Sweep::Remove).unwrap().n_blobs, 3);
    assert!(store.blob(&index).unwrap().is_some());
}

#[test]
fn nothing_is_removed_beside_an_entry_that_nobody_understands() {
    let (_dir, store) = kit::store();
    store.lease().unwrap().put(b"orphan").unwrap();
    fs::write(store.path().join("index.json"), r#"{"manifests":[{"digest":"blake3:00"}]}"#)
        .unwrap();
    assert!(store.gc(Sweep::Remove).is_err());
    assert_eq!(n_blobs(&store), 1);
}

#[test]
fn downloads_are_kept_for_a_week_unless_they_are_done() {
    let (_dir, store) = kit::store();
    let partial = |name: &str, content: &str, days: u64| {
        let path = store.path().join("strata/partial").join(name);
        fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        path
    };
    let done = image(&["layer"]).store(&store, "a").digest;
    let name = |content: &[u8]| format!("sha256-{}", Digest::of(content).hex());
    let fresh = partial(&name(b"fresh"), "fre", 6);
    let others = [
        partial(&name(b"old"), "old", 8),
        partial(&name(b"empty"), "", 0),
        partial(&format!("sha256-{}", done.hex()), "done", 0),
        partial("whatever", "x", 0),
    ];
    let lease = store.lease().unwrap();
    let mut busy = lease.partial(&Descriptor::of("layer", b"busy")).unwrap().unwrap();
    busy.write_all(b"bu").unwrap();
    assert_eq!(store.gc(Sweep::DryRun).unwrap(), freed(0, 4, 8));
    assert!(others.iter().all(|path| path.exists()));
    assert_eq!(store.gc(Sweep::Remove).unwrap(), freed(0, 4, 8));
    assert!(fresh.exists() && !others.iter().any(|path| path.exists()));
    busy.write_all(b"sy").unwrap();
    busy.commit().unwrap();
}

#[test]
fn what_dead_programs_left_goes() {
    let (_dir, store) = kit::store();
    let orphan = store.lease().unwrap().put(b"orphan").unwrap();
    fs::write(store.path().join("strata/leases/1-dead"), format!("{orphan}\n")).unwrap();
    fs::write(store.path().join("strata/temp/1-dead"), "half").unwrap();
    assert_eq!(store.gc(Sweep::DryRun).unwrap(), freed(1, 1, 10));
    assert_eq!(store.gc(Sweep::Remove).unwrap(), freed(1, 1, 10));
    kit::assert_sound(&store);
}

#[test]
fn other_tools_files_are_left_alone() {
    let (_dir, store) = kit::store();
    let paths = ["blobs/sha256/.hidden", "blobs/sha256/abc", "blobs/other", "oci-put-blob1"];
    let paths = paths.map(|path| store.path().join(path));
    for path in &paths {
        fs::write(path, "x").unwrap();
    }
    store.gc(Sweep::Remove).unwrap();
    assert!(paths.iter().all(|path| path.exists()));
}
