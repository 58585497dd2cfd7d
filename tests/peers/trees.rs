//! `pull | unpack` makes the tree that every other way makes.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::tree::{self, Mtime, Show};
use kit::{Sandbox, pipeline};

use crate::faults::{ANEW, BEFORE_1970, EXPORT, Fault, SETUP, assert_same_but, says, time, xattrs};
use crate::{debian, published, reference};

const PARENT: &str =
    "a directory gets a new time when a layer that has no entry for it changes what is in it";
const TRUSTED: &str = "trusted attributes are not applied";

const PODMAN: [Fault; 7] = [
    time("./", PARENT),
    time("etc/", PARENT),
    time("srv/low/", PARENT),
    time("srv/low/d-opaque/", PARENT),
    time("usr/share/", PARENT),
    says("srv/all/old", "@0.000000000", "@-2.500000000", BEFORE_1970),
    xattrs("srv/all/trusted/", TRUSTED),
];

const CONTAINERD: [Fault; 10] = [
    time("./", PARENT),
    time("etc/", PARENT),
    time("srv/", PARENT),
    time("srv/low/", PARENT),
    time("srv/low/d-opaque/", PARENT),
    time("usr/", PARENT),
    time("usr/share/", PARENT),
    time("var/", PARENT),
    says("srv/all/old", "@0.000000000", "@-2.500000000", BEFORE_1970),
    xattrs("srv/all/trusted/", TRUSTED),
];

#[test]
fn as_root_pull_and_unpack_make_the_tree_that_umoci_makes() {
    let (Some(image), Some(tree)) = (debian::image(), reference::tree()) else { return };
    let Some((_registry, name)) = published::debian(image) else { return };
    let sandbox = Sandbox::new();
    for script in [
        format!("pull --no-store {name} | unpack root"),
        format!("pull {name} | unpack root"),
        // From the store alone.
        format!("unpack --from {name} root"),
        format!("pull {name} | unpack root"),
    ] {
        let ours = reference::made_by(&sandbox, &script);
        tree::assert_same(&ours, tree);
    }
}

/// The lines of the tree that may explain a missing one.
fn about(tree: &str, line: &str) -> String {
    let name = line.split_whitespace().nth(2).unwrap_or_default();
    tree.lines().filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n")
}

#[test]
fn as_root_what_the_layers_do_is_in_the_tree() {
    let Some(tree) = reference::tree() else { return };
    let has = |line: &str| {
        assert!(tree.contains(&format!("\n{line}")), "no {line} in\n{}", about(tree, line));
    };
    let has_no = |path: &str| assert!(!tree.contains(&format!(" {path}")), "{path} is there");
    has("-rwsr-xr-x 0:0 usr/bin/su ");
    has("crw-rw-rw- 0:0 dev/null 1,3 ");
    has("lrwxrwxrwx 0:0 bin -> usr/bin ");
    has("drwxr-xr-x 0:0 var/log/ @1600000000.000000000\n-rw-r--r-- 0:0 var/log/only ");
    has("drwx--x--x 0:0 srv/low/ @1450000000.000000045\n");
    has("-rw-r--r-- 0:0 srv/low/to-dir 13 \"a file again\\n\" ");
    has(
        "drwx--x--x 0:0 srv/low/d-removed/ @1600000000.000000000\n-rw-r--r-- 0:0 srv/low/d-removed/high ",
    );
    has_no("etc/motd");
    has_no("usr/share/keyrings");
    has("drwxr-xr-x 0:0 srv/low/d-opaque/ ");
    has_no("srv/low/d-opaque/high");
}

#[test]
fn as_root_docker_makes_the_same_tree_but_for_its_faults() {
    let Some(image) = debian::image() else { return };
    let (Some(docker), Some((_registry, name))) = (Docker::start(), published::debian(image))
    else {
        return;
    };
    let sandbox = Sandbox::new();
    docker.command(&["pull", "--quiet", &name]).run().success();
    sandbox.write("export.tar", docker.export(&name));
    let untar =
        "mkdir out && tar -C out -xp --numeric-owner --xattrs --xattrs-include='*' -f export.tar";
    pipeline::sh(&sandbox, &format!("{untar} && pull {name} | unpack root")).success();
    // docker export writes whole seconds.
    let show = Show { mtime: Mtime::Seconds, ..Show::ALL };
    let ours = tree::show_with(sandbox.path("root"), show);
    assert_same_but(
        &ours,
        &tree::show_with(sandbox.path("out"), show),
        &[&SETUP[..], &EXPORT, &ANEW].concat(),
    );
}

#[test]
fn as_root_podman_makes_the_same_tree_but_for_its_faults() {
    let Some(image) = debian::image() else { return };
    let Some((registry, name)) = published::debian(image) else { return };
    let Some(podman) = Podman::new(&[&registry.host()]) else { return };
    podman.command(&["pull", "--quiet", &name]).run().success();
    // With the vfs driver that is a directory, not a mount.
    let dir = podman.command(&["image", "mount", &name]).run().success().out();
    let theirs = tree::show_with(dir.trim(), Show::ALL);
    let ours = reference::made_by(&Sandbox::new(), &format!("pull {name} | unpack root"));
    assert_same_but(&ours, &theirs, &PODMAN);
}

#[test]
fn as_root_containerd_makes_the_same_tree_but_for_its_faults() {
    let Some(image) = debian::image() else { return };
    let (Some(containerd), Some((_registry, name))) =
        (Containerd::start(), published::debian(image))
    else {
        return;
    };
    containerd.command(&["images", "pull", "--plain-http", &name]).run().success();
    let theirs = mounted(&containerd, &name);
    let ours = reference::made_by(&Sandbox::new(), &format!("pull {name} | unpack root"));
    assert_same_but(&ours, &theirs, &CONTAINERD);
}

/// The tree of an image of containerd's.
fn mounted(containerd: &Containerd, name: &str) -> String {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("mounted");
    std::fs::create_dir(&dir).expect("the fixture can be made");
    let dir = dir.to_str().expect("the fixture can be made");
    containerd.command(&["images", "mount", name, dir]).run().success();
    // It has to be unmounted whatever happens to the test.
    let shown = std::panic::catch_unwind(|| tree::show_with(dir, Show::ALL));
    containerd.command(&["images", "unmount", dir]).run().success();
    shown.expect("the fixture can be made")
}
