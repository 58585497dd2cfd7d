//! An image is one tree however one looks at it: unpacked, mounted, flattened, or as the root of docker's container.
//!
//! All that inodes have is compared, to the nanosecond: type, mode, owner, size, content, time, extended attributes, link
//! target, device number, and which names are one file. What a peer has otherwise is named with its reason.

use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::root_peer;
use kit::pipeline::Script;
use kit::tree::{self, Show};
use kit::{Image, Layer, Named, Producer, Sandbox, pipeline};

use crate::faults::{ANEW, BEFORE_1970, Fault, SETUP, added, assert_same_but, says, time, xattrs};
use crate::union::Mounted;
use crate::{debian, deletions, reference};

const BSDTAR: [Fault; 2] = [
    time("./", "the root gets the time of its making"),
    says(
        "srv/all/old",
        "@-1.5",
        "@-2.5",
        "the fraction of a time before 1970 is taken off the wrong side",
    ),
];
const NAMESPACE: &str =
    "capabilities can be set in a user namespace, where union works, and not outside of it";
const USER: [Fault; 2] = [xattrs("srv/all/capable", NAMESPACE), xattrs("marks/capable", NAMESPACE)];
const PODMAN: [Fault; 2] = [
    time("./", "podman makes directories for its mounts"),
    says(
        "marks/noted/",
        " user.old=\"1\"",
        "",
        "a directory keeps the attributes that a layer's new entry for it doesn't have",
    ),
];
const OLD: Fault = says("srv/all/old", "@0.000000000", "@-2.500000000", BEFORE_1970);
const POINT: &str = "docker mounts something there in every container";
/// What docker adds to an image that has no system's directories.
const BARE: [Fault; 6] = [
    added("dev/", POINT),
    added("dev/pts/", POINT),
    added("dev/shm/", POINT),
    added("etc/", POINT),
    added("proc/", POINT),
    added("sys/", POINT),
];
/// The image's full name.
const NAME: &str = "docker.io/library/app:1";

/// The image, in a sandbox's store as `app:1` and in a file `image`.
fn with(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    let named = Named::new(NAME, image);
    sandbox.write("image", Producer::Strata.write(&[named]));
    pipeline::sh(&sandbox, "load -q < image").success();
    sandbox
}

fn shown(sandbox: &Sandbox, dir: &str) -> String {
    tree::show_with(sandbox.path(dir), Show::ALL)
}

/// Our own ways, and tar's, to the `expected` tree.
fn check_ours(image: &Image, expected: &str) {
    let Some(bsdtar) = root_peer("bsdtar") else { return };
    let sandbox = with(image);
    let same = |dir: &str, script: &str, faults: &[Fault]| {
        pipeline::sh(&sandbox, &format!("mkdir {dir}; {script}")).success();
        assert_same_but(expected, &shown(&sandbox, dir), faults);
    };
    same("root", "unpack -q --from app:1 root", &[]);
    let mounted = Mounted(sandbox.path("mounted"));
    same("mounted", "union -q app:1 mounted", &[]);
    drop(mounted);
    let all = "-xp --numeric-owner --xattrs";
    let gnu = format!("tar -C gnu {all} --xattrs-include='*' --delay-directory-restore");
    same("gnu", &format!("flatten -q ./image | {gnu}"), &[]);
    let bsd = format!("{} -C bsd {all} -f -", bsdtar.path().display());
    same("bsd", &format!("flatten -q app:1 | {bsd}"), &BSDTAR);
}

/// What a plain user mounts is what he unpacks.
fn check_plain_user(image: &Image) {
    let sandbox = with(image);
    // Inside, he may read all.
    let script = "
        unpack -q --from app:1 root
        union -q app:1 m -- sh -c 'for dir in root m; do tar -C $dir \
            --sort=name --format=posix --pax-option=delete=atime,delete=ctime --xattrs -cf $dir.tar .; done'
    ";
    Script::new(&sandbox, script).user(65534).run().success();
    let shown = |dir| {
        let tar = sandbox.read(&format!("{dir}.tar"));
        // In the namespace root's files are given to root, and keep their setuid bits; outside they are given to nobody.
        tree::show_tar(&tar, Show::ALL).replace(" ./", " ").replace("\n-rws", "\n-rwx")
    };
    assert_same_but(&shown("root"), &shown("m"), &USER);
}

/// What docker puts together as the root of a container.
fn check_docker(image: &Image, expected: &str, faults: &[Fault]) {
    let Some(docker) = Docker::start() else { return };
    docker.load(Producer::Strata.write(&[Named::new(NAME, image)]));
    let Some(layers) = docker.layers("app:1") else { return };
    let sandbox = Sandbox::new();
    let mounted = Mounted(sandbox.path("m"));
    let script = format!("mkdir m && mount -t overlay -o ro,lowerdir={layers} docker m");
    pipeline::sh(&sandbox, &script).success();
    let faults = [&SETUP, faults].concat();
    assert_same_but(expected, &tree::show_with(&mounted.0, Show::ALL), &faults);
}

/// What podman mounts.
fn check_podman(image: &Image, expected: &str, faults: &[Fault]) {
    let Some(podman) = Podman::new(&[]) else { return };
    podman.load(Producer::Strata.write(&[Named::new(NAME, image)]));
    let dir = podman.command(&["image", "mount", NAME]).run().success().out();
    assert_same_but(expected, &tree::show_with(dir.trim(), Show::ALL), faults);
}

#[test]
fn as_root_debian_is_one_tree_in_all_ways() {
    let (Some(image), Some(tree)) = (debian::image(), reference::tree()) else { return };
    check_ours(image, tree);
    check_plain_user(image);
    check_docker(image, tree, &[&ANEW[..], &[OLD]].concat());
}

#[test]
fn as_root_what_deletions_leave_is_one_tree_in_all_ways() {
    let image = deletions::image();
    check_ours(&image, deletions::TREE);
    check_plain_user(&image);
    check_docker(&image, deletions::TREE, &BARE);
    check_podman(&image, deletions::TREE, &PODMAN);
}

#[test]
fn as_root_many_files_are_one_tree_in_all_ways() {
    if root_peer("umoci").is_none() {
        return;
    }
    debian::prefer_memory();
    let image = many();
    let tree = reference::umoci(&image, Show::ALL);
    assert_eq!(tree.lines().count(), 19_691);
    check_ours(&image, &tree);
    check_plain_user(&image);
    check_docker(&image, &tree, &BARE);
}

/// About twenty thousand files in a hundred directories: added, replaced, removed and linked by five layers.
fn many() -> Image {
    let files = |content: &str, range: std::ops::Range<u32>| {
        dirs().fold(Layer::new().dir("./", 0o755).mtime(7, 0), |layer, dir| {
            let layer = layer.dir(&dir, 0o750).mtime(9, range.start);
            range.clone().fold(layer, |layer, n| {
                let layer = layer.file(format!("{dir}/{n:03}"), format!("{content} {dir} {n}\n"));
                layer.mode(0o600 | (n % 0o100)).mtime(1_000_000_000 + i64::from(n), n)
            })
        })
    };
    let removed = dirs().fold(Layer::new().dir("./", 0o755).mtime(7, 0), |layer, dir| {
        if dir.ends_with('0') {
            return layer.whiteout(&dir);
        }
        let layer = layer.dir(&dir, 0o705).mtime(9, 0);
        let layer = layer.whiteout(format!("{dir}/010")).whiteout(format!("{dir}/120"));
        let (link, own) = (format!("{dir}/link"), format!("{dir}/own"));
        layer.symlink(&link, "000").file(&own, &own).hardlink(format!("{own}-2"), &own)
    });
    [
        files("low", 0..100),
        files("more", 100..150),
        files("high", 90..130),
        removed,
        files("last", 200..260),
    ]
    .into_iter()
    .fold(Image::new().cmd(&["/bin/none"]), Image::layer)
}

fn dirs() -> impl Iterator<Item = String> {
    (0..100).map(|n| format!("d{n:02}"))
}
