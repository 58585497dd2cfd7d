//! docs/with-others.md: other programs make of our images the tree that `unpack` makes, but for what the page says.
//!
//! Tests whose names begin with `machines_` are for `cargo xtask machines`: their programs are in no package of Debian 12.

use kit::{Image, Layer, Named, Output, Producer, Sandbox, pipeline};

use crate::{debian, transcripts};

const TOOLS: &[&str] = &[
    "skopeo",
    "umoci",
    "buildah",
    "lxc-create",
    "lxc-usernsexec",
    "ch-convert",
    "runc",
    "tar2sqfs",
    "sqfstar",
    "mke2fs",
    "casync",
    "setfacl",
    "setfattr",
    "setcap",
    "newuidmap",
];

/// Where these programs keep what they make, and the ids that root may map.
const BEFORE: &str = r#"
    export USER=root LXC_CACHE_PATH=$PWD/tmp/lxc CONTAINERS_STORAGE_CONF=$PWD/tmp/storage.conf
    [ -e store ] || ln -s ../store store; export STRATA_STORE=store
    lxc-usernsexec() {
        echo root:100000:65536 > tmp/ids
        unshare -m sh -c 'mount --bind tmp/ids /etc/subuid; mount --bind tmp/ids /etc/subgid; exec lxc-usernsexec "$@"' - "$@"
    }
    mkdir -p tmp; printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' $PWD/tmp/graph $PWD/tmp/run > tmp/storage.conf
    "#;

#[test]
fn as_root_the_page_shows_what_a_terminal_shows() {
    transcripts::check("docs/with-others.md", TOOLS, BEFORE);
}

/// What apptainer adds to every tree.
const APPTAINER: &[&str] = &[
    ".exec",
    ".run",
    ".shell",
    ".singularity.d",
    ".test",
    "environment",
    "etc/hosts",
    "etc/resolv.conf",
    "home",
    "singularity",
    "var/tmp",
];

/// Runs a script in another Debian's root, in which this directory is `/w`. Nothing that it does to the root stays.
const IN_ROOT: &str = r"
    mkdir -p kept && mount -t tmpfs none kept && mkdir kept/upper kept/work kept/root || exit
    mount -t overlay -o lowerdir=ROOT,upperdir=kept/upper,workdir=kept/work none kept/root || exit
    mkdir kept/root/w kept/root/old && touch kept/root/etc/hosts kept/root/etc/resolv.conf kept/root/etc/localtime && mount --bind . kept/root/w || exit
    cd kept/root && mount -t proc proc proc && mount --rbind /dev dev && mount --rbind /sys sys && mount -t tmpfs none tmp || exit
    /usr/sbin/pivot_root . old && exec /bin/sh /w/script
    ";

/// Runs a script in a root.
#[track_caller]
fn run_in(root: &std::path::Path, sandbox: &Sandbox, script: &str) -> Output {
    sandbox.write("script", script);
    sandbox.write("enter", IN_ROOT.replace("ROOT", &root.display().to_string()));
    pipeline::sh(sandbox, "unshare -m --propagation private sh ./enter < /dev/null")
}

#[test]
fn machines_apptainer_makes_the_same_tree_of_archives_and_of_the_store_and_runs_ours() {
    // sylabs/singularity#2935: its extractor makes no parents.
    if !kit::peers::are_machines_asked_for("apptainer") {
        return;
    }
    let root = debian::kept("sid-apptainer-1", |dir| {
        debian::install("sid", "singularity-container", &dir.join("root"))
    });
    let (Some(root), Some(image)) = (root, debian::image()) else { return };
    let sandbox = Sandbox::new();
    sandbox.write("app.tar", Producer::Strata.write(&[debian::named(image)]));
    let digest = image.digest();
    let before = "load -q app.tar && cp -a ../store . && unpack -q --no-sync --from debian:12 root && chmod 755 .";
    pipeline::sh(&sandbox, before).success();
    let script = format!(
        "for from in oci-archive:/w/app.tar docker-archive:/w/app.tar oci:/w/store@{digest}; do
             rm -rf /w/sandbox-$((n += 1)); apptainer -q build --sandbox /w/sandbox-$n $from || exit
         done
         apptainer -q exec -u /w/root /bin/cat /etc/debian_version || exit
         apptainer -q exec -u /w/sandbox-1 /bin/cat /etc/debian_version"
    );
    let output = run_in(&root.join("root"), &sandbox, &script);
    assert_eq!(output.success().out().lines().count(), 2, "{}", output.text());
    for n in 1..=3 {
        let script = format!("changes -q dir:root dir:sandbox-{n}");
        let output = pipeline::sh(&sandbox, &script);
        let out = output.out();
        let is_known = |line: &&str| {
            let path = line[2..].split("  ").next().unwrap_or_default();
            let is_added = |it: &&str| path == *it || path.starts_with(&format!("{it}/"));
            match &line[..1] {
                "A" => APPTAINER.iter().any(&is_added),
                "C" => [".", "etc"].contains(&path) || APPTAINER.iter().any(is_added),
                _ => false,
            }
        };
        let others: Vec<&str> = out.lines().filter(|line| !is_known(line)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

#[test]
fn machines_desync_keeps_all_but_hard_links_and_the_times_of_links() {
    if !kit::peers::are_machines_asked_for("desync") {
        return;
    }
    let root =
        debian::kept("sid-desync-1", |dir| debian::extract("sid", "desync", &dir.join("root")));
    let Some(root) = root else { return };
    let sandbox = Sandbox::new();
    let layer = Layer::new()
        .dir("srv", 0o755)
        .mtime(1_700_000_000, 0)
        .file("srv/file", "hi")
        .owner(7, 8)
        .mtime(1_700_000_000, 500_000_000)
        .xattr("user.note", "x")
        .hardlink("srv/same", "srv/file")
        .symlink("srv/link", "file")
        .mtime(1_700_000_000, 0);
    sandbox.load(&[Named::new("docker.io/library/app:1", Image::new().layer(layer.tar()))]);
    let programs = root.join("root").join("usr/bin");
    let script = format!(
        "unpack -q --no-sync --from app:1 root; mkdir chunks out; PATH=$PATH:{}
         desync tar -i -s chunks app.caidx root && desync untar -i -s chunks app.caidx out && changes dir:root dir:out",
        programs.display()
    );
    let output = pipeline::sh(&sandbox, &script);
    let expected = "C srv/file  links\nC srv/link  mtime\nC srv/same  links\n";
    assert_eq!(output.out(), expected, "{}", output.text());
}
