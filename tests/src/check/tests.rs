//! Does the checker refuse what is not sound?

use serde_json::json;

use super::*;
use crate::archive::{self, Named, Producer};
use crate::image::Image;
use crate::image::random::random;
use crate::{Codec, Layer};

fn sound() -> Vec<u8> {
    Producer::Strata.write(&[Named::new("docker.io/library/a:1", random(3, 2, 6))])
}

#[track_caller]
fn refused(image: &Image, reason: &str) {
    let archive = Producer::Strata.write(&[Named::new("docker.io/library/a:1", image)]);
    let problem = stream(&archive).unwrap_err();
    assert!(problem.0.contains(reason), "{problem}");
}

fn one_layer() -> Image {
    Image::new().layer(Layer::new().file("a", "b"))
}

#[test]
fn every_flipped_byte_of_content_is_refused() {
    let archive = sound();
    let members = tarball::read(&archive).unwrap();
    for member in members {
        let at = member.content.start + member.content.len() / 2;
        let mut flipped = archive.clone();
        flipped[at] ^= 0x20;
        assert!(stream(&flipped).is_err(), "{:?}", String::from_utf8_lossy(&member.path));
    }
}

#[test]
fn every_prefix_is_refused() {
    let archive = sound();
    for length in (0..archive.len()).step_by(97).chain([archive.len() - 512, archive.len() - 1]) {
        assert!(stream(&archive[..length]).is_err(), "{length}");
    }
}

#[test]
fn wrong_sizes_diff_ids_and_counts_are_refused() {
    refused(&one_layer().set_manifest("/layers/0/size", 1), "its descriptor 1");
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    refused(&one_layer().set_config("/rootfs/diff_ids/0", other), "the config says");
    refused(&one_layer().set_config("/rootfs/diff_ids/1", other), "1 layers and 2 diff_ids");
}

#[test]
fn a_lying_media_type_is_refused() {
    let lie =
        one_layer().set_manifest("/layers/0/mediaType", Codec::ZSTD.media_type(crate::Schema::Oci));
    refused(&lie, "is not what");
}

#[test]
fn a_thin_stream_may_lack_only_what_it_declares() {
    let image = random(3, 2, 6);
    let base = image.layer_blobs()[0].digest.clone();
    let named = [Named::new("docker.io/library/a:1", &image)];
    let strata = json!({ "omitted": [{ "digest": base, "size": 1 }] });
    let report = canonical(&archive::thin(&named, &[&base], &strata)).unwrap();
    assert_eq!(report.absent, [base.as_str()]);
    stream(&archive::thin(&named, &[&base], &json!({}))).unwrap_err();
}

#[test]
fn a_layout_with_a_changed_blob_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = one_layer();
    archive::layout(dir.path(), &[Named::new("docker.io/library/a:1", &image)]);
    layout(dir.path()).unwrap();
    let blob = dir.path().join("blobs/sha256").join(image.layer_blobs()[0].hex());
    std::fs::write(&blob, "other").unwrap();
    assert!(layout(dir.path()).unwrap_err().0.contains("really holds"));
    std::fs::remove_file(&blob).unwrap();
    assert!(layout(dir.path()).unwrap_err().0.contains("not there"));
}
