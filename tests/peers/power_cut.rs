//! What a program said was done is there after the power went: a disk of its own, copied the moment the program succeeds
//! and mounted elsewhere, where the file system's journal is replayed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::image::random::Random;
use kit::peers::{peer, root_peer};
use kit::pipeline::sh;
use kit::tree::{self, Show};
use kit::{Codec, Image, Layer, Named, Producer, Registry, Sandbox, check};

const NAME: &str = "docker.io/library/app:1";

/// A file system in a file, mounted as long as this lives.
struct Disk {
    file: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Makes an ext4 in `sandbox` and mounts it on `disk`.
    fn new(sandbox: &Sandbox) -> Self {
        let file = sandbox.path("disk.img");
        let made = fs::File::create(&file).and_then(|made| made.set_len(96 << 20));
        made.expect("a sandbox has room for a disk");
        // Nothing is left to be done in the background.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("/sbin/mkfs.ext4").args(["-q", "-E", options]).arg(&file));
        let disk = Self::mount(file, sandbox.path("disk"));
        disk.sync();
        disk
    }

    fn mount(file: PathBuf, mounted: PathBuf) -> Self {
        fs::create_dir(&mounted).expect("a sandbox has room for a directory");
        // The journal is written when a program asks for it, and not by the clock.
        let options = "loop,noatime,commit=300";
        run(Command::new("mount").args(["-t", "ext4", "-o", options]).arg(&file).arg(&mounted));
        Self { file, mounted }
    }

    fn sync(&self) {
        let root = fs::File::open(&self.mounted).expect("the disk is mounted");
        rustix::fs::syncfs(root).expect("the disk can be synced");
    }

    /// What is on the disk at this moment, mounted on `cut`.
    fn cut(&self, sandbox: &Sandbox) -> Self {
        let file = sandbox.path("cut.img");
        run(Command::new("cp").arg("--sparse=always").arg(&self.file).arg(&file));
        Self::mount(file, sandbox.path("cut"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.mounted).status().ok();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}

/// Files of many sizes, so that some are in the journal's own blocks and others far from it.
fn image() -> Image {
    let mut layer = Layer::new().dir("./", 0o755).dir("d", 0o700);
    for (n, size) in (0..).zip([0, 1, 59, 4095, 4096, 70_000, 3 << 20]) {
        layer = layer.file(format!("d/{n}"), Random::new(n).bytes(size));
    }
    Image::new().layer(layer.symlink("l", "d/1").hardlink("h", "d/5")).cmd(&["/d/1"])
}

fn archive() -> Vec<u8> {
    Producer::Strata.write(&[Named::new(NAME, image())])
}

fn tools_are_here() -> bool {
    root_peer("mkfs.ext4").is_some() && peer("mount").is_some()
}

/// Runs `prepare`, and brings that to the disk; runs `script`, cuts the power, and compares what is at `path` with what it
/// should be.
#[track_caller]
fn survives(prepare: &str, script: &str, paths: &[&str]) {
    let sandbox = Sandbox::new();
    let disk = Disk::new(&sandbox);
    sandbox.write("in", archive());
    sh(&sandbox, prepare).success();
    disk.sync();
    sh(&sandbox, script).success();
    let cut = disk.cut(&sandbox);
    for path in paths {
        let (expected, found) = (disk.mounted.join(path), cut.mounted.join(path));
        assert!(found.exists(), "{script}: {path} is gone");
        tree::assert_same(&show(&expected), &show(&found));
    }
}

/// A tree, or a file, as text.
fn show(path: &Path) -> String {
    if path.is_dir() {
        return tree::show_with(path, Show::ALL);
    }
    let bytes = fs::read(path).expect("a file of the disk is readable");
    format!("{} bytes, {}\n", bytes.len(), kit::image::digest(&bytes))
}

#[test]
fn as_root_a_directory_is_whole_after_a_power_cut() {
    if !tools_are_here() {
        return;
    }
    survives("true", "unpack -q disk/root < in", &["root"]);
    survives("mkdir disk/root", "unpack -q disk/root < in", &["root"]);
    survives("true", "unpack -q --bundle disk/b < in", &["b"]);
}

#[test]
fn as_root_a_directory_that_is_not_synced_is_not_whole_after_a_power_cut() {
    if !tools_are_here() {
        return;
    }
    // Somebody else on this machine may sync everything at the wrong moment.
    let is_whole = || {
        let sandbox = Sandbox::new();
        let disk = Disk::new(&sandbox);
        sandbox.write("in", archive());
        sh(&sandbox, "unpack -q --no-sync disk/root < in").success();
        let cut = disk.cut(&sandbox);
        let found = cut.mounted.join("root");
        found.exists() && show(&found) == show(&disk.mounted.join("root"))
    };
    assert!((0..3).any(|_| !is_whole()), "the test sees nothing");
}

#[test]
fn as_root_an_archive_is_whole_after_a_power_cut() {
    if !tools_are_here() {
        return;
    }
    survives("load -q < in", "save -q app:1 -o disk/out.tar", &["out.tar"]);
    survives(
        "load -q < in; echo old > disk/out.tar",
        "save -q app:1 -o disk/out.tar",
        &["out.tar"],
    );
}

/// Runs a script that changes the store on the disk, cuts the power, and checks that the store has these images whole.
#[track_caller]
fn keeps(prepare: &str, script: &str, names: &[&str]) {
    let sandbox = Sandbox::new();
    let disk = Disk::new(&sandbox);
    let registry = Registry::start();
    registry.add("app:1", image());
    sandbox.write("in", archive());
    let place = |script: &str| script.replace("REGISTRY", &registry.name("app:1"));
    sh(&sandbox, &format!("export STRATA_STORE=disk/store\n{}", place(prepare))).success();
    disk.sync();
    sh(&sandbox, &format!("export STRATA_STORE=disk/store\n{}", place(script))).success();
    let cut = disk.cut(&sandbox);
    check::layout(cut.mounted.join("store")).expect("a sound store");
    let look = "export STRATA_STORE=cut/store; images verify >&2 && images --json";
    let listed = sh(&sandbox, look).success().out();
    let expected = sh(&sandbox, "STRATA_STORE=disk/store images --json").success().out();
    assert_eq!(listed, expected, "{script}");
    for name in names {
        let name = place(name);
        // What the store only remembers may be torn, and then is as if it were not there.
        let read = "unpack -q --from NAME cut/root && snapshot --list cut/root && rm -r cut/root
            inspect --files NAME > /dev/null && flatten NAME > /dev/null && save NAME > /dev/null";
        let read = format!("export STRATA_STORE=cut/store; {}", read.replace("NAME", &name));
        assert_eq!(sh(&sandbox, &read).success().out(), "", "{script}");
    }
}

#[test]
fn as_root_a_store_has_what_it_was_given_after_a_power_cut() {
    if !tools_are_here() {
        return;
    }
    keeps("true", "load -q < in", &["app:1"]);
    keeps("true", "pull -q --no-stream REGISTRY", &["REGISTRY"]);
    keeps("true", "pull -q REGISTRY | unpack -q disk/root", &["REGISTRY"]);
    let commit = "unpack -q --from app:1 root && echo new > root/new && snapshot -q root | commit -q -t mine:1";
    keeps("load -q < in", commit, &["app:1", "mine:1"]);
    keeps("load -q < in", "images tag app:1 other:2", &["app:1", "other:2"]);
    keeps("load -q < in; images tag app:1 other:2", "images rm app:1", &["other:2"]);
}

#[test]
fn as_root_a_store_of_plain_layers_is_whole_after_a_power_cut() {
    if !tools_are_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = Disk::new(&sandbox);
    let image = image().codec(Codec::None).layer(Layer::new().file("x", vec![0; 1 << 20]));
    sandbox.write("in", Producer::Strata.write(&[Named::new(NAME, &image)]));
    // From a file, by the kernel's own copying.
    sh(&sandbox, "load -q --store disk/store in").success();
    let cut = disk.cut(&sandbox);
    assert_eq!(check::layout(cut.mounted.join("store")).unwrap().manifests, [image.digest()]);
}
