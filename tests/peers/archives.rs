//! One image in the archives of every tool: always the same tree, however the archive comes in.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::{Producer, Sandbox, tree};

use crate::{debian, reference};

/// From a pipe, from a file that a program reads or opens itself, and both of them compressed.
const WAYS: [&str; 5] = [
    "cat a.tar | unpack root",
    "unpack root < a.tar",
    "unpack --from ./a.tar root",
    "cat a.tar.gz | unpack root",
    "unpack --from ./a.tar.gz root",
];

/// Unpacks an archive in all ways.
#[track_caller]
fn assert_debian(archive: impl AsRef<[u8]>) {
    let Some(tree) = reference::tree() else { return };
    let sandbox = Sandbox::new();
    sandbox.write("a.tar", archive);
    kit::pipeline::sh(&sandbox, "gzip -1 < a.tar > a.tar.gz").success();
    for way in WAYS {
        println!("{way}");
        tree::assert_same(&reference::made_by(&sandbox, way), tree);
    }
}

#[test]
fn as_root_what_docker_saves_is_unpacked() {
    let (Some(image), Some(docker)) = (debian::image(), Docker::start()) else { return };
    docker.load(Producer::Strata.write(&[debian::named(image)]));
    assert_debian(docker.save(&[debian::NAME]));
}

#[test]
fn as_root_what_podman_saves_is_unpacked() {
    let (Some(image), Some(podman)) = (debian::image(), Podman::new(&[])) else { return };
    podman.load(Producer::Strata.write(&[debian::named(image)]));
    for format in ["docker-archive", "oci-archive"] {
        println!("{format}");
        assert_debian(podman.save(format, debian::NAME));
    }
}

#[test]
fn as_root_what_skopeo_copies_is_unpacked() {
    let (Some(image), Some(skopeo)) = (debian::image(), peer("skopeo")) else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    debian::layout(&sandbox, image);
    for format in ["docker-archive", "oci-archive"] {
        println!("{format}");
        let to = format!("{format}:a.tar:{}", debian::NAME);
        skopeo.program(&sandbox).args(["copy", "oci:in:debian", &to]).run().success();
        assert_debian(sandbox.read("a.tar"));
        std::fs::remove_file(sandbox.path("a.tar")).unwrap();
    }
}

#[test]
fn as_root_what_ctr_exports_is_unpacked() {
    let (Some(image), Some(containerd)) = (debian::image(), Containerd::start()) else { return };
    containerd.import(Producer::Strata.write(&[debian::named(image)]));
    assert_debian(containerd.export(&[debian::NAME]));
}

#[test]
fn as_root_the_layouts_of_tools_that_are_not_here_are_unpacked() {
    let Some(image) = debian::image() else { return };
    for producer in [Producer::Crane, Producer::Docker24] {
        println!("{producer:?}");
        assert_debian(producer.write(&[debian::named(image)]));
    }
}

#[test]
fn as_root_layouts_in_directories_are_unpacked() {
    let (Some(image), Some(tree)) = (debian::image(), reference::tree()) else { return };
    let (Some(skopeo), Some(podman)) = (peer("skopeo"), Podman::new(&[])) else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    debian::layout(&sandbox, image);
    skopeo
        .program(&sandbox)
        .args(["copy", "oci:in:debian", "oci:skopeo:debian:12"])
        .run()
        .success();
    tree::assert_same(&reference::made_by(&sandbox, "unpack --from ./skopeo root"), tree);
    podman.load(Producer::Strata.write(&[debian::named(image)]));
    let save = ["save", "--format", "oci-dir", "--output"];
    podman.command(&save).arg(sandbox.path("podman")).arg(debian::NAME).run().success();
    tree::assert_same(&reference::made_by(&sandbox, "unpack --from ./podman root"), tree);
}
