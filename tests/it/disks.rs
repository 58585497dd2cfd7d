//! Stores on disks that are full, and on disks that may only be read.

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::image::random::Random;
use kit::pipeline::{Script, sh};
use kit::registry::profile::{Login, Mounts, Profile};
use kit::registry::profiles;
use kit::{Codec, Fault, Image, Layer, Named, Producer, Registry, Sandbox, check, tree};

use crate::fixtures::{assert_one_line, lacks_root, names};

const SMALL: &str = "docker.io/library/small:1";
const LARGE: &str = "docker.io/library/large:1";

/// A file system of four megabytes, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }

    fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.arg("-o").arg(format!("remount,{option}")).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn small() -> Image {
    Image::new().layer(Layer::new().file("a", "small\n").tar()).cmd(&["/a"])
}

/// More than the disk has room for.
fn large() -> Image {
    let layer = Layer::new().file("noise", Random::new(1).bytes(5 << 20)).tar();
    small().codec(Codec::None).layer(layer)
}

fn archive(image: &Image, name: &str) -> Vec<u8> {
    Producer::Strata.write(&[Named::new(name, image)])
}

/// All images and blobs; what programs note for themselves aside.
fn state(store: &Path) -> String {
    let lines = tree::show(store);
    let is_image = |line: &&str| !line.contains(" strata/") && !line.contains(" ./ ");
    lines.lines().filter(is_image).collect::<Vec<_>>().join("\n")
}

/// A small disk with a small image.
fn place() -> (Sandbox, Disk) {
    let sandbox = Sandbox::new();
    let disk = Disk::mount(sandbox.store());
    sandbox.write("small.tar", archive(&small(), SMALL));
    sh(&sandbox, "load small.tar && save small:1 > saved.tar").success();
    (sandbox, disk)
}

/// Everything that only reads.
#[track_caller]
fn reads(sandbox: &Sandbox) {
    for line in [
        "images",
        "images --json",
        "images digests",
        "images verify",
        "images verify small:1",
        "inspect small:1",
        "inspect --layers small:1",
        "inspect --files small:1",
        "inspect --cat a small:1",
        "save small:1 | cmp - saved.tar",
        "save small:1 -o again.tar && cmp saved.tar again.tar",
        "unpack --from small:1 root && rm -r root",
        "load --store other $STRATA_STORE",
    ] {
        sh(sandbox, line).success();
    }
}

#[test]
fn as_root_a_full_disk_is_one_line_and_the_store_as_it_was() {
    if lacks_root() {
        return;
    }
    let (sandbox, _disk) = place();
    let registry = Registry::start();
    registry.add("large:1", large());
    sandbox.write("large.tar", archive(&large(), LARGE));
    sh(&sandbox, "load --store other large.tar").success();
    let before = state(&sandbox.store());
    let pull = format!("pull --no-stream {}", registry.name("large:1"));
    for script in [
        "load large.tar",
        "cat large.tar | load",
        &pull,
        "save --store other large:1 -o $STRATA_STORE/out",
        "save --store other large:1 > $STRATA_STORE/out; code=$?; rm $STRATA_STORE/out; (exit $code)",
    ] {
        let output = sh(&sandbox, script);
        assert_eq!(output.code(), 1, "{}", output.text());
        let lines = output.stderr.lines().filter(|line| line.contains("no space left on device"));
        assert_eq!(lines.count(), 1, "{}", output.stderr);
        assert_eq!(state(&sandbox.store()), before, "{script}");
        sh(&sandbox, "images verify").success();
    }
    check::layout(sandbox.store()).unwrap();
    assert!(names(sandbox.store().join("strata/temp")).is_empty());
}

#[test]
fn as_root_nothing_is_kept_twice_nor_anywhere_else() {
    if lacks_root() {
        return;
    }
    let (sandbox, _disk) = place();
    let layer = Layer::new().file("noise", Random::new(1).bytes(3 << 20)).tar();
    let image = small().codec(Codec::None).layer(layer);
    for producer in Producer::ALL {
        sandbox.write("a.tar", producer.write(&[Named::new(LARGE, &image)]));
        let script = "rm -r $STRATA_STORE/*; cat a.tar | load && images verify";
        let script = Script::new(&sandbox, script);
        script.with(|program| program.env("TMPDIR", "/nowhere")).run().success();
    }
}

#[test]
fn as_root_a_disk_without_a_byte_left_is_read_and_loses_no_name() {
    if lacks_root() {
        return;
    }
    let (sandbox, _disk) = place();
    let filler = sandbox.store().join("filler");
    assert!(std::fs::write(&filler, vec![0; 5 << 20]).is_err());
    reads(&sandbox);
    let before = state(&sandbox.store());
    for line in ["images rm small:1", "images tag small:1 other"] {
        assert_one_line(sh(&sandbox, line).fails_with(1), "images");
        assert_eq!(state(&sandbox.store()), before, "{line}");
    }
    std::fs::remove_file(filler).unwrap();
    sh(&sandbox, "images rm small:1 && images gc && images verify").success();
}

#[test]
fn as_root_a_disk_that_may_only_be_read_is_read() {
    if lacks_root() {
        return;
    }
    let (sandbox, disk) = place();
    disk.remount("ro");
    reads(&sandbox);
    for line in ["load -q small.tar", "images rm small:1", "images tag small:1 b", "images gc"] {
        let output = sh(&sandbox, line);
        assert_one_line(output.fails_with(1), line.split(' ').next().unwrap());
        assert!(output.stderr.contains("read-only file system"), "{}", output.stderr);
    }
}

/// Who comes second can't have it from the disk, but from the first.
#[test]
fn as_root_a_layer_of_a_stream_reaches_two_repositories_where_the_disk_is_too_small_for_it() {
    if lacks_root() {
        return;
    }
    let layer = Layer::new().file("noise", Random::new(6).bytes(9 << 20)).tar();
    let image = small().codec(Codec::None).layer(layer);
    let (source, sandbox) = (Registry::start(), Sandbox::new());
    source.add("large:1", &image);
    let _disk = Disk::mount(sandbox.path("disk"));
    let push = |profile: Profile| {
        let registry = Registry::with_profile(&profile);
        let (from, a, b) = (source.name("large:1"), registry.name("a:1"), registry.name("b:1"));
        let script = "export TMPDIR=$PWD/disk; pull --no-store FROM | timeout 60 push -";
        (sh(&sandbox, &format!("{} {a} {b}", script.replace("FROM", &from))), registry)
    };
    for profile in [profiles::SPEC, Profile { login: Login::None, ..profiles::ECR }] {
        let (output, registry) = push(profile);
        output.success();
        assert!(registry.manifest("b:1").is_some());
    }
    let (output, registry) = push(Profile { mounts: Mounts::Never, ..profiles::SPEC });
    assert_eq!(output.code(), 5, "{}", output.text());
    assert!(output.stderr.contains("a stream can't be read again"), "{}", output.stderr);
    assert!(registry.manifest("a:1").is_some() && registry.manifest("b:1").is_none());
}

/// A disk of 10 MiB, and three layers of 4 that two repositories get: what waits to be mounted makes room.
#[test]
fn as_root_layers_of_a_stream_that_wait_for_a_mount_give_up_their_room() {
    if lacks_root() {
        return;
    }
    let layer = |n| Layer::new().file("noise", Random::new(n).bytes((4 << 20) + 1000)).tar();
    let image = small().codec(Codec::None).layer(layer(3)).layer(layer(4)).layer(layer(5));
    let (source, sandbox) = (Registry::start(), Sandbox::new());
    source.add("large:1", &image);
    let disk = Disk::mount(sandbox.path("disk"));
    disk.remount("size=10m");
    let registry = Registry::with_profile(&Profile { login: Login::None, ..profiles::ECR });
    let (from, a, b) = (source.name("large:1"), registry.name("a:1"), registry.name("b:1"));
    let script = "export TMPDIR=$PWD/disk; pull --no-store FROM | push -";
    sh(&sandbox, &format!("{} {a} {b}", script.replace("FROM", &from))).success();
    for blob in image.layer_blobs() {
        assert!(registry.blob("b", &blob.digest).is_some(), "{}", registry.log());
    }
    assert!(registry.manifest("b:1").is_some());
    assert!(names(sandbox.path("disk")).is_empty());
    // The last one had all the room that it needs, so that it can be sent where it can't be mounted.
    let registry = Registry::with_profile(&Profile { login: Login::None, ..profiles::ECR });
    let last = image.layer_blobs().pop().unwrap();
    registry.fault(Fault::on(&last.digest["sha256:".len()..]).method("POST").status(404));
    let (a, b) = (registry.name("a:1"), registry.name("b:1"));
    sh(&sandbox, &format!("{} {a} {b}", script.replace("FROM", &from))).success();
    assert!(registry.blob("b", &last.digest).is_some(), "{}", registry.log());
}

/// A disk of 4 MiB, and a layer of 9: it still goes through, but not twice.
#[test]
fn as_root_a_layer_of_a_stream_passes_where_the_disk_is_too_small_for_it() {
    if lacks_root() {
        return;
    }
    let layer = Layer::new().file("noise", Random::new(2).bytes(9 << 20)).tar();
    let image = small().codec(Codec::None).layer(layer);
    let (source, sandbox) = (Registry::start(), Sandbox::new());
    source.add("large:1", &image);
    let _disk = Disk::mount(sandbox.path("disk"));
    let push = |registry: &Registry| {
        let (from, to) = (source.name("large:1"), registry.name("x:1"));
        sh(&sandbox, &format!("export TMPDIR=$PWD/disk; pull --no-store {from} | push - {to}"))
    };
    let registry = Registry::start();
    push(&registry).success();
    let layers = image.layer_blobs();
    let large = layers.iter().max_by_key(|blob| blob.bytes.len()).unwrap();
    assert_eq!(registry.blob("x", &large.digest).as_ref(), Some(&large.bytes));
    // Where the registry wants it once more, what is gone is told.
    let registry = Registry::start();
    let busy = Fault::on(&large.digest.replace(':', "%3A")).method("PUT").times(1).status(503);
    registry.fault(busy.header("Retry-After", "0"));
    let output = push(&registry);
    assert_eq!(output.code(), 5, "{}", output.text());
    assert!(output.stderr.contains("a stream can't be read again"), "{}", output.stderr);
    assert!(registry.manifest("x:1").is_none());
    assert!(names(sandbox.path("disk")).is_empty());
}
