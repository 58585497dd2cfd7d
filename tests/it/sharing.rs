//! Who may use a store: its owner, or whom its directory was prepared for.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use kit::pipeline::sh;
use kit::{Image, Layer, Named, Output, Producer, Sandbox};
use rustix::fs::{FlockOperation, flock};

use crate::fixtures::{assert_one_line, lacks_root};

const NOBODY: u32 = 65534;
/// Two users, and the group of both.
const USERS: [u32; 2] = [4001, 4002];
const GROUP: u32 = 4000;

fn archive(name: &str) -> Vec<u8> {
    let image = Image::new().layer(Layer::new().dir("./", 0o755).file("f", name).tar());
    Producer::Strata.write(&[Named::new(&format!("docker.io/library/{name}:1"), image)])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Checks that every directory and file beneath has these modes.
fn assert_modes(dir: &Path, of_dir: u32, of_file: u32) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_eq!(mode(&path), of_dir, "{}", path.display());
            assert_modes(&path, of_dir, of_file);
        } else {
            assert_eq!(mode(&path), of_file, "{}", path.display());
        }
    }
}

#[test]
fn a_store_is_made_for_its_owner_alone_and_all_in_it_follows_the_umask() {
    for umask in [0o000, 0o002, 0o022, 0o077] {
        let sandbox = Sandbox::new();
        sandbox.write("a.tar", archive("a"));
        let script = format!(
            "umask {umask:o} && load a.tar && unpack --from a:1 root && touch root/new && \
             snapshot root | commit -t b:1 && images tag a:1 c:1 && inspect --files a:1"
        );
        sh(&sandbox, &script).success();
        assert_eq!(mode(&sandbox.store()), 0o700, "{umask:o}");
        assert_modes(&sandbox.store(), 0o777 & !umask, 0o666 & !umask);
    }
}

#[test]
fn as_root_other_users_see_nothing_of_a_store() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("a.tar", archive("a"));
    sh(&sandbox, "umask 000 && load a.tar").success();
    let nobody = format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups");
    for line in ["images", "save a:1", "images rm a:1", "load a.tar", "inspect a:1"] {
        let output = sh(&sandbox, &format!("{nobody} {line}"));
        let program = line.split(' ').next().unwrap();
        assert_one_line(output.fails_with(1), program);
        assert!(output.stderr.contains("ermission denied"), "{}", output.text());
    }
    sh(&sandbox, &format!("! {nobody} flock --nonblock $STRATA_STORE/strata/lock true")).success();
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    for mode_before in [0o755, 0o711, 0o2775] {
        let sandbox = Sandbox::new();
        sandbox.write("a.tar", archive("a"));
        let store = sandbox.store();
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(mode_before)).unwrap();
        sh(&sandbox, "load a.tar && images gc").success();
        assert_eq!(mode(&store), mode_before);
    }
}

/// A store for a group of two.
fn group() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = sandbox.store();
    fs::create_dir(&store).unwrap();
    chown(&store, None, Some(GROUP)).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o2775)).unwrap();
    for name in ["one", "two"] {
        sandbox.write(&format!("{name}.tar"), archive(name));
    }
    sandbox
}

/// Runs a script as one of the two.
fn as_user(sandbox: &Sandbox, user: usize, script: &str) -> Output {
    let uid = USERS[user];
    let who = format!("setpriv --reuid {uid} --regid {uid} --groups {GROUP}");
    sh(sandbox, &format!("umask 002 && {who} bash -e -o pipefail -c '{script}'"))
}

#[test]
fn as_root_a_directory_that_was_prepared_for_a_group_is_shared_by_it() {
    if lacks_root() {
        return;
    }
    let sandbox = group();
    let store = sandbox.store();
    as_user(&sandbox, 0, "load one.tar").success();
    assert_eq!(fs::metadata(&store).unwrap().uid(), 0);
    // The other one reads, adds, names, and makes an image of the first one's.
    as_user(&sandbox, 1, "images verify && save one:1 | load --store mine && load two.tar")
        .success();
    let script = "unpack --from one:1 root && touch root/new && snapshot root | commit -t made:1";
    as_user(&sandbox, 1, script).success();
    as_user(&sandbox, 0, "images tag made:1 mine:1 && unpack --from mine:1 other").success();
    assert!(sandbox.path("other/new").exists());
    // What one of them left behind, the other one sweeps: a dead program's lease, a half-made file, an old download.
    for (user, other) in [(0, 1), (1, 0)] {
        for folder in ["leases", "temp", "partial"] {
            let script = format!("echo -n > $STRATA_STORE/strata/{folder}/1-dead");
            as_user(&sandbox, user, &script).success();
        }
        as_user(&sandbox, other, "images gc").success();
        for folder in ["leases", "temp", "partial"] {
            assert!(!store.join("strata").join(folder).join("1-dead").exists(), "{folder}");
        }
    }
    // What one of them loaded, the other one removes.
    as_user(&sandbox, 1, "images rm one:1 made:1 mine:1 two:1").success();
    let freed = as_user(&sandbox, 0, "images gc");
    assert!(freed.success().out().starts_with("freed "), "{}", freed.text());
    assert_eq!(fs::read_dir(store.join("blobs/sha256")).unwrap().count(), 0);
}

// A stranger's image with a setuid shell of root, unpacked by one user of a login node, made every other user of it that one:
// hpc/charliecloud#155, #955. A bundle of root's, whose setuid programs are root's own, is closed to others: umoci#181.
#[test]
fn as_root_no_user_of_a_login_node_becomes_another_by_a_setuid_program() {
    if lacks_root() {
        return;
    }
    let sandbox = group();
    let program = fs::read("/usr/bin/id").unwrap();
    let layer = Layer::new().dir("./", 0o755).file("id", program).mode(0o6755).owner(0, 0);
    let image = Image::new().layer(layer.tar());
    let archive = Producer::Strata.write(&[Named::new("docker.io/library/id:1", image)]);
    sandbox.write("id.tar", archive);
    let here = sandbox.path("").display().to_string();
    let first = format!("{}:{}", USERS[0], USERS[1]);
    let becomes = |user: usize, program: &str| {
        let output = as_user(&sandbox, user, &format!("{here}{program} -u"));
        output.out().trim().to_owned()
    };
    as_user(&sandbox, 0, "unpack -q root < id.tar; unpack -q --keep-setuid kept < id.tar")
        .success();
    assert_eq!(format!("{}:{}", becomes(0, "root/id"), becomes(1, "root/id")), first);
    // Asked for, it does: so the line above would have seen it.
    assert_eq!(becomes(1, "kept/id"), USERS[0].to_string());
    // Root gives the program to root, as the image says; another owner's bits are gone with --owner ignore (containers.rs).
    sh(&sandbox, "unpack -q --from ./id.tar --bundle b && unpack -q --from ./id.tar open")
        .success();
    assert_eq!(becomes(1, "open/id"), "0");
    assert_eq!(becomes(1, "b/rootfs/id"), "");
}

#[test]
fn as_root_a_lease_of_one_user_keeps_its_blobs_from_the_others_gc() {
    if lacks_root() {
        return;
    }
    let sandbox = group();
    as_user(&sandbox, 0, "load one.tar").success();
    // A running program's: who holds its lock is alive.
    let script = "grep -o \"sha256:[0-9a-f]*\" $STRATA_STORE/index.json | head -n 1 > $STRATA_STORE/strata/leases/1-a";
    as_user(&sandbox, 0, script).success();
    let held = fs::File::open(sandbox.store().join("strata/leases/1-a")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let gc = as_user(&sandbox, 1, "images rm one:1 >&2 && images gc");
    assert!(gc.success().out().contains(": 0 blobs"), "{}", gc.text());
    drop(held);
    let gc = as_user(&sandbox, 1, "images gc");
    assert!(gc.success().out().contains(": 3 blobs"), "{}", gc.text());
}

#[test]
fn as_root_layers_that_one_user_extracted_are_his_to_collect() {
    if lacks_root() {
        return;
    }
    let sandbox = group();
    as_user(&sandbox, 0, "load one.tar && union -q one:1 m -- true").success();
    let layers = sandbox.store().join("strata/layers");
    let kind = fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&kind) & 0o077, 0);
    let n_layers = || fs::read_dir(&kind).unwrap().count();
    let before = n_layers();
    assert!(before > 0);
    as_user(&sandbox, 1, "images gc").success();
    assert_eq!(n_layers(), before);
    as_user(&sandbox, 0, "images gc --force").success();
    assert_eq!(n_layers(), 0);
}
