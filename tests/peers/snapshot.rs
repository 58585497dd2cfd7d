//! What `snapshot` writes makes the same tree in other tools, which unpack each layer apart or over the others.

use std::path::Path;
use std::process::Command;

use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::root_peer;
use kit::tree::{self, Mtime, Show};
use kit::{Image, Layer, Named, Sandbox, pipeline};

use crate::faults::{
    BEFORE_1970, CONTAINER, Fault, XATTRS, added, assert_same_but, says, time, xattrs,
};

const DOCKER: [Fault; 15] = [
    added(".dockerenv", CONTAINER),
    added("dev/console", CONTAINER),
    added("dev/", CONTAINER),
    added("dev/pts/", CONTAINER),
    added("dev/shm/", CONTAINER),
    added("proc/", CONTAINER),
    added("sys/", CONTAINER),
    added("etc/", CONTAINER),
    added("etc/hosts", CONTAINER),
    added("etc/hostname", CONTAINER),
    added("etc/mtab", CONTAINER),
    added("etc/resolv.conf", CONTAINER),
    time("./", CONTAINER),
    says("old", "@0", "@-2", BEFORE_1970),
    xattrs("noted", XATTRS),
];

const PODMAN: [Fault; 2] = [
    time("./", "the root has the time of its mounting"),
    says("old", "@0.000000000", "@-2.500000000", BEFORE_1970),
];

/// Something for every kind of change to happen to.
const BASE: &str = r#"
    drwxr-xr-x 0:0 ./
    drwxrwx--x 3:4 srv/ @1400000000.5
    -rw-r--r-- 0:0 srv/kept "kept" @1400000001
    -rw-r--r-- 0:0 srv/gone "gone"
    -rw-r--r-- 0:0 srv/edited "before"
    drwx--x--x 5:6 srv/deep/ @1400000002
    drwxr-x--x 5:6 srv/deep/er/ @1400000003.000000003
    -rw-r--r-- 0:0 srv/deep/er/file "deep"
    drwxr-xr-x 0:0 srv/to-file/
    -rw-r--r-- 0:0 srv/to-file/inside "x"
    -rw-r--r-- 0:0 srv/to-dir "file"
    lrwxrwxrwx 0:0 srv/link -> deep
    -rw-r--r-- 0:0 group-1 "group"
    -rw-r--r-- 7:8 other-1 "other"
    -rw-r--r-- 7:8 lonely "lonely"
"#;

/// A sandbox with the base unpacked, changed and committed as `new`; `root` is the tree that must come out.
fn committed() -> Sandbox {
    let sandbox = Sandbox::new();
    let layer = Layer::text(BASE)
        .hardlink("group-2", "group-1")
        .hardlink("group-3", "group-1")
        .hardlink("other-2", "other-1");
    let image = Image::new().cmd(&["/none"]).layer(layer);
    sandbox.load(&[Named::new("docker.io/library/base:1", image)]);
    pipeline::sh(&sandbox, "unpack --from base:1 root").success();
    change(&sandbox.path("root"));
    let script = "unset SOURCE_DATE_EPOCH; snapshot root | commit -q -t new";
    pipeline::sh(&sandbox, script).success();
    sandbox
}

fn change(root: &Path) {
    // Its directories stay what they are: tools that unpack each layer apart must be told of them.
    let script = "rm srv/gone srv/to-dir srv/link group-2; rm -r srv/to-file; \
                  printf deeper > srv/deep/er/file; printf after > srv/edited; \
                  ln other-1 other-0; ln lonely srv/less-lonely";
    let status = Command::new("sh").args(["-e", "-c", script]).current_dir(root).status();
    assert!(status.is_ok_and(|status| status.success()));
    let long = "n".repeat(200);
    let lines = format!(
        r#"
        -rw-r--r-- 0:0 srv/to-file "a file now" @1500000000.123456789
        -rw-r--r-- 0:0 srv/to-dir/inside 0 @5
        drwxr-xr-x 0:0 srv/to-dir/ @6
        lrwxrwxrwx 9:9 srv/link -> kept @1500000000.25
        -rw-r--r-- 0:0 group-2 "of its own"
        -rwsr-xr-x 0:0 setuid "s"
        -rw-r--r-- 3000000:4000000 far "an id above 21 bits"
        -rw-r--r-- 0:0 old 0 @-2.5
        -rw-r--r-- 0:0 noted 0 user.note="a note"
        -rwxr-xr-x 0:0 capable "c" security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        prw-r--r-- 0:0 fifo
        crw-rw---- 0:5 null 1,3
        -rw-r--r-- 0:0 {long}/{long} "long"
        -rw-r--r-- 0:0 caf\xe9 0
        "#
    );
    tree::build(root, &lines);
}

#[test]
fn as_root_umoci_makes_the_same_tree_of_a_snapshot() {
    let Some(umoci) = root_peer("umoci") else { return };
    let sandbox = committed();
    let there = format!("{}:docker.io/library/new:latest", sandbox.store().display());
    umoci.program(&sandbox).args(["raw", "unpack", "--image", &there, "theirs"]).run().success();
    let show = |dir: &str| tree::show_with(sandbox.path(dir), Show::ALL);
    tree::assert_same(&show("root"), &show("theirs"));
}

#[test]
fn as_root_docker_makes_the_same_tree_of_a_snapshot() {
    let Some(docker) = Docker::start() else { return };
    let sandbox = committed();
    docker.load(sandbox.command("save").arg("new").run().success().stdout.clone());
    sandbox.write("export.tar", docker.export("new"));
    let untar =
        "mkdir out && tar -C out -xp --numeric-owner --xattrs --xattrs-include='*' -f export.tar";
    pipeline::sh(&sandbox, untar).success();
    // docker export writes whole seconds.
    let show =
        |dir: &str| tree::show_with(sandbox.path(dir), Show { mtime: Mtime::Seconds, ..Show::ALL });
    assert_same_but(&show("root"), &show("out"), &DOCKER);
}

#[test]
fn as_root_podman_makes_the_same_tree_of_a_snapshot() {
    let Some(podman) = Podman::new(&[]) else { return };
    let sandbox = committed();
    podman.load(sandbox.command("save").arg("new").run().success().stdout.clone());
    let dir = podman.command(&["image", "mount", "new"]).run().success().out();
    let theirs = tree::show_with(dir.trim(), Show::ALL);
    assert_same_but(&tree::show_with(sandbox.path("root"), Show::ALL), &theirs, &PODMAN);
}

/// What is done below a fuse-overlayfs of [`BASE`]-like files, a script each.
const IN_FUSE: &str = "rm m/a; rm -r m/d; mkdir m/d; echo n > m/d/n; echo x >> m/e/c; mkdir -p m/new/deep; \
    echo y > m/new/deep/y; rm -r m/g; echo file > m/g; chmod 700 m/h; mv m/i m/j";

#[test]
fn as_root_the_upper_directory_of_a_fuse_overlayfs_is_what_it_shows() {
    // fuse-overlayfs#306
    if root_peer("fuse-overlayfs").is_none() {
        return;
    }
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 a \"a\"\n-rw-r--r-- 0:0 d/b \"b\"\n-rw-r--r-- 0:0 e/c \"c\"\n\
         -rw-r--r-- 0:0 g/x \"x\"\n-rw-r--r-- 0:0 h/x \"x\"\n-rw-r--r-- 7:8 i \"i\"",
    );
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", Image::new().layer(layer))]);
    let script = format!(
        "unpack -q --from base:1 l && mkdir u w m && fuse-overlayfs -o lowerdir=l,upperdir=u,workdir=w m || exit 77\n\
         {IN_FUSE}\n\
         snapshot -q --list m --base base:1 | grep -v '^C [.]$' > mounted\n\
         cp -a m copy; umount m\n\
         snapshot -q --list --upper u --base base:1 > upper\n\
         snapshot -q --upper u --base base:1 | commit -q -t new - && unpack -q --from new again"
    );
    let output = pipeline::sh(&sandbox, &script);
    if output.code() == 77 {
        return kit::peers::skip("fuse-overlayfs", "it can't mount");
    }
    assert_eq!(output.code(), 0, "{}", output.text());
    let list = |name: &str| String::from_utf8(sandbox.read(name)).unwrap();
    assert_eq!(list("upper"), list("mounted"));
    let show = Show { mtime: Mtime::Hidden, ..Show::ALL };
    let below = |dir: &str| tree::show_with(sandbox.path(dir), show);
    tree::assert_same(&below("copy"), &below("again"));
}

// FUSE with a cache for writing brings a file's bytes home after its attributes, and the kernel takes the capability for that.
#[test]
fn as_root_capabilities_and_special_bits_survive_a_fuse_overlayfs() {
    if root_peer("fuse-overlayfs").is_none() {
        return;
    }
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./\n-rwxr-xr-x 0:0 ping \"p\" security.capability=\"\\x01\\x00\\x00\\x02\\x00\\x20\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"\n\
         -rwsr-sr-x 7:8 su \"s\"",
    );
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", Image::new().layer(layer))]);
    let script = "mkdir l u w m && fuse-overlayfs -o lowerdir=l,upperdir=u,workdir=w m || exit 77\n\
         unpack -q --from base:1 m/root && snapshot -q --list m/root; umount m\n\
         getfattr -m security -d u/root/ping | grep -c security.capability; stat -c %a u/root/su";
    let output = pipeline::sh(&sandbox, script);
    if output.code() == 77 {
        return kit::peers::skip("fuse-overlayfs", "it can't mount");
    }
    assert_eq!(output.success().out(), "1\n6755\n");
}
