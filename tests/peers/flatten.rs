//! `flatten` makes a tar that every builder of disks, and docker, turn into the tree of `unpack`, which is umoci's. Tar itself
//! does so in [`crate::same`].

use std::path::Path;

use kit::peers::docker::Docker;
use kit::peers::{Peer, root_peer};
use kit::tree::{self, Mtime, Show};
use kit::{Named, Producer, Sandbox, pipeline};

use crate::faults::{EXPORT, Fault, SETUP, added, assert_same_but, says, time, xattrs};
use crate::{debian, reference};

const ROOT: &str = "the root gets the time of its making";
const FRACTION: &str = "the fraction of a time before 1970 is taken off the wrong side";
const UNSIGNED: &str = "times are 32 bits without a sign";
const SIGNED: &str = "times are cut to 32 bits";

const NONE: [Fault; 0] = [];
const EROFS: [Fault; 1] = [says("srv/all/old", "@-1.5", "@-2.5", FRACTION)];
const SQFSTAR: [Fault; 3] = [
    time("./", ROOT),
    says("srv/all/late", "@410065408", "@9000000000", SIGNED),
    says("srv/all/old", "@4294967295", "@-2", UNSIGNED),
];
const TAR2SQFS: [Fault; 2] = [
    says("srv/all/late", "@4294967295", "@9000000000", UNSIGNED),
    says("srv/all/old", "@0", "@-2", UNSIGNED),
];
const OF_TAR: &str = "of a tar, it takes capabilities and no other extended attribute";
const MKE2FS_OF_TAR: [Fault; 5] = [
    added("lost+found/", "every ext4 has one"),
    xattrs("srv/all/noted", OF_TAR),
    xattrs("srv/all/trusted/", OF_TAR),
    says("srv/all/late", "@2147483647", "@9000000000", SIGNED),
    says("srv/all/old", "@-1", "@-2", FRACTION),
];
const MKE2FS: [Fault; 3] = [
    time("./", ROOT),
    added("lost+found/", "every ext4 has one"),
    says("srv/all/late", "@410065408", "@9000000000", SIGNED),
];

/// All but what lies below a second.
const SECONDS: Show = Show { mtime: Mtime::Seconds, ..Show::ALL };
const UNTAR: &str = "(mkdir out && tar -C out -xp --numeric-owner --delay-directory-restore --xattrs --xattrs-include='*')";

/// A tool, a sandbox with the image in a file, and the tree that it must become.
fn with(tool: &str) -> Option<(Peer, Sandbox, &'static str)> {
    let tool = root_peer(tool)?;
    let (image, tree) = (debian::image()?, reference::tree()?);
    let sandbox = Sandbox::new();
    sandbox.write("image", Producer::Strata.write(&[Named::new("debian:12", image)]));
    Some((tool, sandbox, tree))
}

/// Runs a script in which the tool is `TOOL`, without the variable that makes some set all times.
fn run(tool: &Peer, sandbox: &Sandbox, script: &str) {
    let script = script.replace("TOOL", &tool.path().display().to_string());
    pipeline::sh(sandbox, &format!("unset SOURCE_DATE_EPOCH; {script}")).success();
}

/// Mounts the file system in the file `disk` and shows what is in it.
fn mounted(sandbox: &Sandbox, show: Show) -> String {
    let run = |words: &str| pipeline::sh(sandbox, &format!("PATH=/usr/sbin:/sbin:$PATH; {words}"));
    run("mkdir mnt && mount -o ro,loop disk mnt").success();
    // It has to be unmounted whatever happens to the test.
    let shown = std::panic::catch_unwind(|| tree::show_with(sandbox.path("mnt"), show));
    run("umount mnt").success();
    shown.expect("the fixture can be made")
}

/// A tree with whole seconds.
fn seconds(tree: &str) -> String {
    let cut = |line: &str| {
        let point = line.rfind(" @").and_then(|at| Some(at + line[at..].find('.')?));
        point.map_or_else(|| line.to_owned(), |at| format!("{}{}", &line[..at], &line[at + 10..]))
    };
    tree.lines().map(|line| cut(line) + "\n").collect()
}

/// It takes the root's entry of no tar, and gives everybody the right to write there.
const SQFSTAR_ROOT: &str = "-root-mode 0755 -root-uid 0 -root-gid 0";

#[test]
fn as_root_sqfstar_makes_a_disk_of_the_same_tree() {
    let Some((tool, sandbox, tree)) = with("sqfstar") else { return };
    let script =
        format!("flatten ./image | TOOL -quiet -no-progress -comp lz4 {SQFSTAR_ROOT} disk");
    run(&tool, &sandbox, &script);
    assert_same_but(&seconds(tree), &mounted(&sandbox, SECONDS), &SQFSTAR);
}

#[test]
fn as_root_tar2sqfs_makes_a_disk_of_the_same_tree() {
    let Some((tool, sandbox, tree)) = with("tar2sqfs") else { return };
    run(&tool, &sandbox, "flatten ./image | TOOL --quiet --compressor lz4 disk");
    assert_same_but(&seconds(tree), &mounted(&sandbox, SECONDS), &TAR2SQFS);
}

#[test]
fn as_root_mke2fs_makes_a_disk_of_the_same_tree() {
    let Some((tool, sandbox, tree)) = with("mke2fs") else { return };
    run(&tool, &sandbox, &format!("flatten ./image | {UNTAR} && TOOL -q -t ext4 -d out disk 1G"));
    assert_same_but(&seconds(tree), &mounted(&sandbox, SECONDS), &MKE2FS);
}

#[test]
fn as_root_mkfs_erofs_makes_a_disk_of_the_same_tree() {
    let Some((tool, sandbox, tree)) = with("mkfs.erofs") else { return };
    run(&tool, &sandbox, &format!("flatten ./image | {UNTAR} && TOOL --quiet disk out"));
    assert_same_but(tree, &mounted(&sandbox, Show::ALL), &NONE);
}

#[test]
fn as_root_mkfs_erofs_makes_a_disk_of_the_tar_itself() {
    let Some((tool, sandbox, tree)) = with("mkfs.erofs") else { return };
    let Some(tool) = tar_reader(&tool, &sandbox) else { return };
    let script = format!("unset SOURCE_DATE_EPOCH; flatten ./image | {tool} --quiet --tar=f disk");
    pipeline::sh(&sandbox, &script).success();
    assert_same_but(tree, &mounted(&sandbox, Show::ALL), &EROFS);
}

#[test]
fn as_root_mke2fs_makes_a_disk_of_the_tar_itself() {
    let Some((_, sandbox, tree)) = with("mke2fs") else { return };
    let newer = debian::kept("trixie-e2fsprogs-1", |dir| {
        debian::extract("trixie", "e2fsprogs,libarchive13t64", &dir.join("root"))
    });
    let Some(newer) = newer else { return };
    let mke2fs = in_root(&newer.join("root"), "sbin/mke2fs");
    let script =
        format!("unset SOURCE_DATE_EPOCH; flatten ./image | {mke2fs} -q -t ext4 -d - disk 2G");
    pipeline::sh(&sandbox, &script).success();
    assert_same_but(&seconds(tree), &mounted(&sandbox, SECONDS), &MKE2FS_OF_TAR);
}

/// A program of another Debian, with its own libraries: those here are too old for it.
fn in_root(root: &Path, program: &str) -> String {
    let root = root.join("usr").display().to_string();
    let libraries = "$(echo ROOT/lib/*-linux-*)";
    let loader = format!("LD_LIBRARY_PATH={libraries} $(echo ROOT/lib64/ld-*.so.*)");
    format!("{loader} --library-path {libraries} ROOT/{program}").replace("ROOT", &root)
}

/// A mkfs.erofs that reads tars: the one that is here, if it is new enough, or else that of the next Debian.
fn tar_reader(tool: &Peer, sandbox: &Sandbox) -> Option<String> {
    let help = tool.program(sandbox).arg("--help").run();
    if (help.out() + &help.stderr).contains("--tar=") {
        return Some(tool.path().display().to_string());
    }
    let dir = debian::kept("trixie-erofs-utils-1", |dir| {
        debian::extract("trixie", "erofs-utils", &dir.join("root"))
    })?;
    Some(in_root(&dir.join("root"), "bin/mkfs.erofs"))
}

#[test]
fn as_root_docker_imports_the_same_tree() {
    let Some((_, sandbox, tree)) = with("docker") else { return };
    let Some(docker) = Docker::start() else { return };
    let script = pipeline::Script::new(&sandbox, "flatten ./image | docker import - flat:1");
    script.with(|program| docker.configure(program)).run().success();
    sandbox.write("export.tar", docker.export("flat:1"));
    pipeline::sh(&sandbox, &format!("{UNTAR} < export.tar")).success();
    assert_same_but(
        &seconds(tree),
        &tree::show_with(sandbox.path("out"), SECONDS),
        &[&SETUP[..], &EXPORT].concat(),
    );
}

#[test]
fn as_root_docker_loads_a_flat_image_with_its_config() {
    let Some((_, sandbox, tree)) = with("docker") else { return };
    let Some(docker) = Docker::start() else { return };
    let script = "flatten ./image --as-image flat:1 | docker load";
    let script = pipeline::Script::new(&sandbox, script).with(|program| docker.configure(program));
    assert!(script.run().success().out().contains("flat:1"));
    let format = "{{json .Config.Cmd}} {{json .Config.Env}} {{len .RootFS.Layers}}";
    let output = docker.command(&["inspect", "--format", format, "flat:1"]).run();
    let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(output.success().out(), format!("[\"/bin/sh\"] [\"{path}\"] 1\n"));
    sandbox.write("export.tar", docker.export("flat:1"));
    pipeline::sh(&sandbox, &format!("{UNTAR} < export.tar")).success();
    assert_same_but(
        &seconds(tree),
        &tree::show_with(sandbox.path("out"), SECONDS),
        &[&SETUP[..], &EXPORT].concat(),
    );
}
