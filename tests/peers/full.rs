//! The real registry on a disk of its own, which is full before the image is there, or can't be written to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit::image::random::Random;
use kit::peers::docker_registry::Setup;
use kit::peers::root_peer;
use kit::{Codec, Image, Layer, pipeline};

use crate::push::Place;

/// A file system in memory, unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(options: &str) -> Option<Self> {
        let disk = Self { dir: tempfile::tempdir().ok()? };
        disk.mount(options).then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        run("mount", &["-t", "tmpfs", "-o", options, "strata-tests"], self.dir.path())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.dir.path());
    }
}

fn run(program: &str, args: &[&str], dir: &Path) -> bool {
    Command::new(program).args(args).arg(dir).status().is_ok_and(|status| status.success())
}

#[test]
fn as_root_a_full_registry_is_one_line_and_room_is_all_that_the_next_push_needs() {
    if root_peer("mount").is_none() {
        return;
    }
    let big = Layer::new().file("big", Random::new(5).bytes(24 << 20));
    let image = Image::new().codec(Codec::None).layer(big);
    for push in ["push -q app:1", "push -q - < in"] {
        let disk = Disk::new("size=16m").expect("root mounts a tmpfs");
        let setup = Setup { storage: Some(disk.path()), ..Setup::PLAIN };
        let Some(place) = Place::with(&setup, &image) else { return };
        let script = format!("{push} {}", place.name("app:1"));
        let output = pipeline::Script::new(&place.sandbox, &script)
            .with(|program| program.patience(Duration::from_secs(60)))
            .run();
        assert_eq!(output.code(), 5, "{}", output.text());
        assert!(output.stdout.is_empty(), "{}", output.text());
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.text());
        assert!(place.text(&output).contains(": [REGISTRY] answered 500"), "{}", output.text());
        assert!(output.stderr.contains("No space left on device"), "{}", output.text());
        assert!(disk.mount("remount,size=128m"));
        let pushed = format!("{}@{}\n", place.name("app"), image.digest());
        assert_eq!(place.sh(&script).success().out(), pushed);
        let pull = format!("pull --no-stream --store other {}", place.name("app:1"));
        assert_eq!(place.sh(&pull).success().out().trim_end(), image.digest());
    }
}

#[test]
fn as_root_a_registry_that_can_not_write_says_why() {
    if root_peer("mount").is_none() {
        return;
    }
    let disk = Disk::new("size=16m").expect("root mounts a tmpfs");
    let setup = Setup { storage: Some(disk.path()), ..Setup::PLAIN };
    let image = Image::new().layer(Layer::new().file("a", "a"));
    let Some(place) = Place::with(&setup, &image) else { return };
    assert!(disk.mount("remount,ro"));
    let output = place.sh(&format!("push -q app:1 {}", place.name("app:1")));
    assert_eq!(output.code(), 5, "{}", output.text());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.text());
    assert!(output.stderr.contains("Read-only file system"), "{}", output.text());
}
