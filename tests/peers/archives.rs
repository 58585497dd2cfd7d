//! One image in the archives of every tool: always the same tree, however the archive comes in.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::{Producer, Sandbox, tree};

use crate::{debian, reference};

/// Piped and as a file, plain and compressed.
const WAYS: [&str; 4] = [
    "cat a.tar | unpack root",
    "unpack --from ./a.tar root",
    "gzip -1 < a.tar | tee a.tar.gz | unpack root",
    "unpack root < a.tar.gz",
];

/// Unpacks an archive of [`debian::image`] in all ways.
#[track_caller]
fn assert_debian(archive: impl AsRef<[u8]>) {
    let Some(tree) = reference::tree() else { return };
    let sandbox = Sandbox::new();
    sandbox.write("a.tar", archive);
    for way in WAYS {
        let difference = tree::diff(tree, &reference::made_by(&sandbox, way));
        assert!(difference.is_empty(), "{way}:\n{difference}");
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
        let to = format!("{format}:{format}:{}", debian::NAME);
        skopeo.program(&sandbox).args(["copy", "oci:in:debian", &to]).run().success();
        assert_debian(sandbox.read(format));
    }
}

#[test]
fn as_root_what_ctr_exports_is_unpacked() {
    let (Some(image), Some(containerd)) = (debian::image(), Containerd::start()) else { return };
    containerd.import(Producer::Strata.write(&[debian::named(image)]));
    assert_debian(containerd.export(&[debian::NAME]));
}

#[test]
fn as_root_what_crane_and_older_dockers_write_is_unpacked() {
    let Some(image) = debian::image() else { return };
    for producer in [Producer::Crane, Producer::Docker24] {
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
    let copy = ["copy", "oci:in:debian", "oci:skopeo:debian:12"];
    skopeo.program(&sandbox).args(copy).run().success();
    podman.load(Producer::Strata.write(&[debian::named(image)]));
    let save = ["save", "--format", "oci-dir", "--output"];
    podman.command(&save).arg(sandbox.path("podman")).arg(debian::NAME).run().success();
    for layout in ["skopeo", "podman"] {
        let script = format!("unpack --from ./{layout} root");
        tree::assert_same(&reference::made_by(&sandbox, &script), tree);
    }
}
