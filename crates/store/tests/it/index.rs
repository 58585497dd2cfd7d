//! `index.json`: names, and what other tools put there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use layer_format::Digest;
use proptest::prelude::*;
use report::{ErrorKind, HasKind};
use store::{Error, Store};

use crate::kit::{self, image, named};

#[test]
fn an_image_has_its_full_name_in_the_index() {
    let (_dir, store) = kit::store();
    let descriptor = image(&["layer"]).store(&store, "nginx");
    let text = fs::read_to_string(store.path().join("index.json")).unwrap();
    let digest = descriptor.digest;
    let expected = format!(
        concat!(
            r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"#,
            r#""annotations":{{"org.opencontainers.image.ref.name":"docker.io/library/nginx:latest"}}}}],"#,
            r#""mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}}"#
        ),
        digest, descriptor.size
    );
    assert_eq!(text, expected);
    let mode = |path: &str| fs::metadata(store.path().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("index.json") & 0o7777, 0o644);
    assert_eq!(mode(&digest.blob_path()) & 0o7777, 0o644);
    assert_eq!(mode("blobs/sha256") & 0o7777, 0o755);
}

#[test]
fn an_image_with_a_hole_gets_no_name() {
    let (_dir, store) = kit::store();
    let before = fs::read(store.path().join("index.json")).unwrap();
    let (whole, holed) = (image(&["1"]), image(&["2"]));
    let lease = store.lease().unwrap();
    whole.put(&lease);
    lease.put(&holed.manifest).unwrap();
    lease.put(&holed.config).unwrap();
    let images = [named("whole", whole.descriptor()), named("holed", holed.descriptor())];
    let Err(Error::Incomplete { digest, missing }) = lease.name(&images) else { panic!() };
    assert_eq!((digest, missing), (holed.descriptor().digest, vec![Digest::of(b"2")]));
    assert_eq!(fs::read(store.path().join("index.json")).unwrap(), before);
}

#[test]
fn an_index_may_be_here_for_some_of_its_platforms() {
    let (_dir, store) = kit::store();
    let (here, elsewhere) = (image(&["1"]), image(&["2"]));
    let lease = store.lease().unwrap();
    here.put(&lease);
    let index = kit::index(&[here.descriptor(), elsewhere.descriptor()]);
    lease.put(&index).unwrap();
    let descriptor = layer_format::Descriptor::of("index", &index);
    lease.name(&[named("both", descriptor.clone())]).unwrap();
    drop(lease);
    store.gc(store::Sweep::Remove).unwrap();
    kit::assert_whole(&store, &here.descriptor());
    assert_eq!(store.images().unwrap()[0].descriptor.digest, descriptor.digest);
}

#[test]
fn naming_again_changes_nothing_on_disk() {
    let (_dir, store) = kit::store();
    image(&["layer"]).store(&store, "nginx");
    let time = || fs::metadata(store.path().join("index.json")).unwrap().modified().unwrap();
    let before = time();
    image(&["layer"]).store(&store, "nginx");
    assert_eq!(time(), before);
}

#[test]
fn a_broken_index_is_an_error_and_stays_as_it_is() {
    let (_dir, store) = kit::store();
    let path = store.path().join("index.json");
    let image = image(&["layer"]);
    for broken in ["", "<html>", r#"{"manifests":[}"#, r#"{"schemaVersion":1}"#] {
        fs::write(&path, broken).unwrap();
        let lease = store.lease().unwrap();
        let descriptor = image.put(&lease);
        let errors = [
            lease.name(&[named("a", descriptor)]).unwrap_err(),
            store.images().unwrap_err(),
            store.remove(&[]).unwrap_err(),
            store.gc(store::Sweep::Remove).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Untrusted);
            assert!(error.to_string().contains("index.json"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
}

#[test]
fn a_read_only_store_can_be_read() {
    let (_dir, store) = kit::store();
    let descriptor = image(&["layer"]).store(&store, "nginx");
    fs::remove_dir_all(store.path().join("strata")).unwrap();
    let again = Store::open_existing(store.path()).unwrap().unwrap();
    assert_eq!(again.find("nginx").unwrap().descriptor.digest, descriptor.digest);
    kit::assert_whole(&again, &descriptor);
    assert!(!store.path().join("strata").exists());
}

#[test]
fn many_images_take_linear_time() {
    let (_dir, store) = kit::store();
    let descriptor = image(&["layer"]).store(&store, "first");
    let lease = store.lease().unwrap();
    let images: Vec<_> =
        (0..5000).map(|i| named(&format!("x/image-{i}:t"), descriptor.clone())).collect();
    let begin = std::time::Instant::now();
    lease.name(&images).unwrap();
    lease.name(&images).unwrap();
    assert_eq!(store.images().unwrap().len(), 5001);
    assert_eq!(store.remove(&images).unwrap().len(), 5000);
    assert!(begin.elapsed().as_secs() < 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever another tool's entry says, ours beside it leave its bytes alone.
    #[test]
    fn strangers_entries_outlive_ours(key in "[a-z]{1,8}", value in "\\PC{0,20}", number in any::<f64>()) {
        let (_dir, store) = kit::store();
        let value = serde_json::to_string(&value).unwrap();
        let entry = format!(
            r#"{{ "size": 0,  "digest":"{}", "x-{key}":{{"{key}":{value},"n":{number:?}}} }}"#,
            Digest::of(b"theirs")
        );
        let entry = if number.is_finite() { entry } else { entry.replace(&format!("{number:?}"), "0") };
        let path = store.path().join("index.json");
        fs::write(&path, format!(r#"{{"x":{value},"manifests":[{entry}],"schemaVersion":2}}"#)).unwrap();
        image(&["1"]).store(&store, "a");
        image(&["2"]).store(&store, "a");
        let ours = store.images().unwrap().split_off(1);
        store.remove(&ours).unwrap();
        store.gc(store::Sweep::Remove).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        prop_assert_eq!(text, format!(r#"{{"manifests":[{entry}],"schemaVersion":2,"x":{value}}}"#));
    }
}

#[test]
fn a_fifo_in_the_place_of_a_layout_s_file_is_not_waited_for() {
    for name in ["index.json", "oci-layout"] {
        let (dir, store) = kit::store();
        let path = store.path().join(name);
        fs::remove_file(&path).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        let opened = Store::open_existing(store.path()).and_then(|store| match store {
            Some(store) => store.images().map(drop),
            None => Ok(()),
        });
        let text = std::error::Error::source(&opened.unwrap_err()).unwrap().to_string();
        assert_eq!(text, "not a regular file", "{name}");
        drop(dir);
    }
}
