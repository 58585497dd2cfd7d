//! What registries hold besides OCI images of gzip layers: the same trees and digests.

use kit::peers::docker::Docker;
use kit::peers::docker_registry::{DockerRegistry, Setup};
use kit::peers::root_peer;
use kit::tree::{self, Show};
use kit::{Codec, Image, Index, Named, Producer, Sandbox, check, pipeline};

use crate::layers::small;
use crate::{published, reference};

/// A registry, and a name for an image in it.
fn registry() -> Option<(DockerRegistry, String)> {
    let registry = DockerRegistry::start(&Setup::PLAIN)?;
    let name = format!("{}/app:1", registry.host());
    Some((registry, name))
}

/// Checks that a name in a registry becomes the tree of [`small`], and that manifests of this type were read for it.
#[track_caller]
fn assert_small(name: &str, media_type: &str) {
    let Some(_) = root_peer("umoci") else { return };
    let sandbox = Sandbox::new();
    let ours = reference::made_by(&sandbox, &format!("pull {name} | unpack root"));
    tree::assert_same(&ours, &reference::umoci(&small(Image::new()), Show::ALL));
    let index = std::fs::read_to_string(sandbox.store().join("index.json"));
    assert!(index.as_ref().is_ok_and(|text| text.contains(media_type)), "{index:?}");
}

#[test]
fn as_root_a_schema_2_image_that_skopeo_converted_is_unpacked() {
    let Some((registry, name)) = registry() else { return };
    let Some(()) = published::push(small(Image::new()), &registry, &name, &["--format=v2s2"])
    else {
        return;
    };
    assert_small(&name, "application/vnd.docker.distribution.manifest.v2+json");
}

#[test]
fn as_root_a_schema_2_image_that_docker_pushed_is_unpacked() {
    let (Some((_registry, name)), Some(docker)) = (registry(), Docker::start()) else { return };
    docker.load(Producer::Strata.write(&[Named::new(&name, small(Image::new()))]));
    docker.command(&["push", &name]).run().success();
    assert_small(&name, "application/vnd.docker.distribution.manifest.v2+json");
}

#[test]
fn as_root_zstd_layers_are_unpacked() {
    let Some((registry, name)) = registry() else { return };
    let image = small(Image::new().codec(Codec::ZSTD));
    let Some(()) = published::push(&image, &registry, &name, &[]) else { return };
    assert_small(&name, "application/vnd.oci.image.manifest.v1+json");
    let sandbox = Sandbox::new();
    let pulled = pipeline::sh(&sandbox, &format!("pull {name} | cat"));
    assert_eq!(check::canonical(&pulled.success().stdout).unwrap().manifests, [image.digest()]);
}

#[test]
fn as_root_of_several_platforms_this_machines_is_unpacked() {
    let Some((registry, name)) = registry() else { return };
    let (own, other) = (small(Image::new()), Image::new().platform("linux/s390x"));
    let index = Index::new().image(&other).image(&own);
    for (flag, media_type) in [
        ("--format=oci", "application/vnd.oci.image.manifest.v1+json"),
        ("--format=v2s2", "application/vnd.docker.distribution.manifest.v2+json"),
    ] {
        let Some(()) = published::push(&index, &registry, &name, &[flag]) else { return };
        assert_small(&name, media_type);
    }
}
