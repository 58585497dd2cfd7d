//! What is mounted in a directory, what keeps no files, and the upper directories of overlays: what gets into a layer.

use kit::pipeline::sh;
use kit::tree::{self, Mtime, Show};
use kit::{Named, Output, Sandbox};

use crate::fixtures::{demo, lacks, lacks_root};

fn unpacked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", demo())]);
    sandbox.command("unpack").args(["--from", "base:1", "root"]).run().success();
    sandbox
}

/// Runs a script with mounts of its own; nothing where mounts can't be made.
fn with_mounts(sandbox: &Sandbox, script: &str) -> Option<Output> {
    sandbox.write("script", format!("set -e\n{script}"));
    let output = sh(sandbox, "unshare -m bash script");
    if output.stderr.lines().any(|line| line.starts_with("unshare:") || line.starts_with("mount:"))
    {
        kit::peers::skip("a mount", "it can't be made");
        return None;
    }
    Some(output)
}

/// A file over one of the base, a file and a directory where the base has nothing: all of the same file system.
const BINDS: &str = "mkdir elsewhere root/mnt; echo secret > elsewhere/secret; touch root/etc/new; \
    mount --bind elsewhere/secret root/etc/passwd; mount --bind elsewhere/secret root/etc/new; \
    mount --bind elsewhere root/mnt; mount --bind elsewhere root/usr/bin\n";

#[test]
fn as_root_whatever_is_mounted_stays_out_of_the_layer_with_x() {
    // kaniko#501, buildah#2816
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let script = "snapshot -x --list root --ignore mtime; snapshot -q -x root > layer.tar";
    let Some(output) = with_mounts(&sandbox, &format!("{BINDS}{script}")) else { return };
    // What the base has there, links of each other too, is neither changed nor gone.
    assert_eq!(output.success().out(), "A mnt\n", "{}", output.text());
    let said = "left out, for something is mounted there: etc/new, etc/passwd, mnt and 1 more";
    assert!(output.stderr.contains(said), "{}", output.stderr);
    let layer = sandbox.read("layer.tar");
    assert!(!layer.windows(6).any(|bytes| bytes == b"secret"));
    sh(&sandbox, "commit -q -t new --base base:1 layer.tar && save new | unpack again").success();
    let shown =
        tree::show_with(sandbox.path("again/mnt"), Show { mtime: Mtime::Hidden, ..Show::ALL });
    assert_eq!(shown, "drwxr-xr-x 0:0 ./\n");
    let again = sandbox.path("again/etc/passwd");
    assert_eq!(std::fs::read_to_string(again).unwrap(), "root:x:0:0:root:\n");
}

#[test]
fn as_root_without_x_what_is_mounted_belongs_to_the_directory() {
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let Some(output) =
        with_mounts(&sandbox, &format!("{BINDS}snapshot --list root --ignore mtime"))
    else {
        return;
    };
    let expected = "A etc/new\nC etc/passwd\nA mnt\nA mnt/secret\nC usr/bin\nD usr/bin/su\nD usr/bin/su2\nA usr/bin/secret\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
}

#[test]
fn as_root_file_systems_that_keep_no_files_stay_out_by_themselves() {
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let script = "mkdir root/proc root/sys root/pts root/mqueue; mount -t proc none root/proc; \
        mount -t sysfs none root/sys; mount -t devpts none root/pts; mount -t mqueue none root/mqueue; \
        touch root/etc/uptime; mount --bind /proc/uptime root/etc/uptime; \
        snapshot --list root --ignore mtime; snapshot root --base scratch | tar -t | grep -E '^(proc|sys|pts|mqueue)'; \
        snapshot root --base scratch | sha256sum > 1; snapshot root --base scratch | sha256sum > 2; cmp 1 2; \
        changes -q base:1 dir:root > told || echo $?";
    let Some(output) = with_mounts(&sandbox, script) else { return };
    let expected = "A mqueue\nA proc\nA pts\nA sys\nmqueue/\nproc/\npts/\nsys/\n1\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
    let said = "left out, for something is mounted there: etc/uptime, mqueue, proc and 2 more";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

/// What is done to an overlay of the demo, a line each. A hard link isn't among it: without an index an overlay gives its
/// names different inode numbers, while the upper directory has them together.
const MUTATIONS: &[&str] = &[
    "true",
    "rm mnt/etc/passwd",
    "rm -r mnt/var",
    "echo new > mnt/etc/shadow",
    "echo more >> mnt/etc/passwd",
    "chmod 600 mnt/etc/passwd",
    "chown 5:6 mnt/var/cache",
    "touch -d @7 mnt/var/cache/new",
    "rm -r mnt/var/cache; mkdir mnt/var/cache",
    "rm -r mnt/var/cache; mkdir mnt/var/cache; echo in > mnt/var/cache/in",
    "rm -r mnt/var; mkdir -p mnt/var/cache; echo new > mnt/var/cache/new",
    "rm -r mnt/var/cache; echo file > mnt/var/cache",
    "rm mnt/etc/passwd; mkdir -p mnt/etc/passwd/below",
    "mkdir -p mnt/one/two/three; echo x > mnt/one/two/three/x",
    "mkdir mnt/etc/d; echo x > mnt/etc/d/x; rm -r mnt/etc/d",
    "rm mnt/lib; mkdir mnt/lib; echo x > mnt/lib/x",
    "mv mnt/var/big mnt/etc/big",
    "rm mnt/var/fifo; mkfifo mnt/var/fifo2; mknod mnt/var/null c 1 3",
    "setfattr -n user.a -v b mnt/etc/passwd; setfattr -n trusted.c -v d mnt/etc",
    "touch -r mnt/etc/passwd ref; echo > mnt/etc/x; rm mnt/etc/x",
    "echo x > mnt/usr/bin/x; rm -r mnt/usr/bin; mkdir -p mnt/usr/bin/su",
    "chmod 0700 mnt",
    "chown 5:6 mnt; echo x > mnt/x",
    "setfattr -n user.x -v y mnt",
];

#[test]
fn as_root_the_list_of_an_upper_directory_is_that_of_what_is_mounted() {
    if lacks_root() || lacks(&["setfattr"]) {
        return;
    }
    let sandbox = unpacked();
    // The time of a new upper directory is no change of the root's. All else is: a `C .` of the whole tree for the time
    // alone is left out.
    let one = |(number, mutation): (usize, &&str)| {
        format!(
            "mount -t tmpfs none work; mkdir work/upper work/work\n\
             mount -t overlay overlay -o lowerdir=$PWD/root,upperdir=$PWD/work/upper,workdir=$PWD/work/work mnt\n\
             {mutation}\n\
             snapshot -q --list --upper work/upper --base base:1 > upper.{number}\n\
             snapshot -q --list mnt > mounted.{number}\n\
             snapshot -q --list mnt --base base:1 > whole.{number}\n\
             snapshot -q --list mnt --base base:1 --ignore mtime | grep -qx 'C [.]' || sed -i '/^C [.]$/d' whole.{number}\n\
             umount mnt; umount work\n"
        )
    };
    let each: Vec<_> = MUTATIONS.iter().enumerate().map(one).collect();
    let script = format!("mkdir -p work mnt\n{}", each.concat());
    let Some(output) = with_mounts(&sandbox, &script) else { return };
    output.success();
    for (number, mutation) in MUTATIONS.iter().enumerate() {
        let list =
            |name: &str| String::from_utf8(sandbox.read(&format!("{name}.{number}"))).unwrap();
        assert_eq!(list("upper"), list("whole"), "{mutation}");
        assert_eq!(list("mounted"), list("whole"), "{mutation}");
    }
}

#[test]
fn as_root_what_becomes_of_the_root_of_a_union_is_in_its_snapshots() {
    if lacks_root() || lacks(&["setfattr"]) {
        return;
    }
    let sandbox = unpacked();
    let script = "mkdir mnt; union base:1 mnt --upper upper; touch mnt/new; rm mnt/new
        snapshot -q mnt | tar -t > untouched
        chmod 0750 mnt; chown 5:6 mnt; setfattr -n user.x -v y mnt
        snapshot -q mnt > mounted.tar; snapshot --list mnt > mounted; union --umount mnt
        snapshot -q --upper upper > upper.tar; snapshot --list --upper upper > upper.list";
    let Some(output) = with_mounts(&sandbox, script) else { return };
    output.success();
    assert_eq!(sandbox.read("untouched"), b"");
    assert_eq!(sandbox.read("mounted"), b"C .\n");
    assert_eq!(sandbox.read("upper.list"), b"C .\n");
    assert_eq!(sandbox.read("mounted.tar"), sandbox.read("upper.tar"));
    sh(&sandbox, "commit -q -t new --base base:1 upper.tar && unpack -q --from new again")
        .success();
    let shown = tree::show_with(sandbox.path("again"), Show { mtime: Mtime::Hidden, ..Show::ALL });
    assert_eq!(shown.lines().next(), Some("drwxr-x--- 5:6 ./ user.x=\"y\""));
}

#[test]
fn marks_of_fuse_overlayfs_in_an_upper_directory_are_read() {
    // fuse-overlayfs#306
    let sandbox = unpacked();
    let lines = "-rw-r--r-- 0:0 etc/.wh.passwd 0\n\
        -rw-r--r-- 0:0 etc/kept 1 \"k\" user.fuseoverlayfs.origin=\"x\" user.mine=\"1\"\n\
        drwxr-xr-x 0:0 var/ user.fuseoverlayfs.opaque=\"y\"\n\
        -rw-r--r-- 0:0 var/.wh..wh..opq 0\n\
        -rw-r--r-- 0:0 var/a 1 \"a\"\n\
        drwxr-xr-x 0:0 fresh/\n\
        -rw-r--r-- 0:0 fresh/.wh..wh..opq 0";
    tree::build(sandbox.path("upper"), lines);
    let layer = sh(&sandbox, "snapshot --upper upper --base base:1").success().stdout.clone();
    let show = Show { mtime: Mtime::Hidden, owner: false, ..Show::ALL };
    let expected = "drwxr-xr-x etc/\n---------- etc/.wh.passwd 0\n-rw-r--r-- etc/kept 1 \"k\" user.mine=\"1\"\n\
        drwxr-xr-x fresh/\n---------- fresh/.wh..wh..opq 0\n\
        drwxr-xr-x var/\n---------- var/.wh..wh..opq 0\n-rw-r--r-- var/a 1 \"a\"\n";
    assert_eq!(tree::show_tar(&layer, show), expected);
    let list = sh(&sandbox, "snapshot --list --upper upper --base base:1 --ignore mtime,owner");
    let expected = "D etc/passwd\nA etc/kept\nA fresh\nD var/big\nD var/cache\nD var/fifo\nD var/gr\u{f6}\u{df}e\\x20\\xff\nA var/a\n";
    assert_eq!(list.success().out().replace("größe \\xff", "größe\\x20\\xff"), expected);
}

#[test]
fn owners_that_fuse_overlayfs_keeps_in_attributes_are_refused() {
    let sandbox = unpacked();
    let line = "-rw-r--r-- 0:0 etc/x 1 \"x\" user.fuseoverlayfs.override_stat=\"5:6:100644\"";
    tree::build(sandbox.path("upper"), line);
    let output = sh(&sandbox, "snapshot --upper upper --base base:1 > layer.tar");
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("etc/x: fuse-overlayfs keeps its owner"), "{}", output.stderr);
    assert!(sandbox.read("layer.tar").is_empty());
}

#[test]
fn as_root_an_upper_directory_that_was_named_from_elsewhere_is_asked_for() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let mount = "mkdir l u w m; mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m; echo new > m/new\n";
    let script = "mkdir sub; cd sub; code=0; snapshot ../m 2> ../said || code=$?; echo $code\n\
                  cd ..; snapshot -q --upper u --list; snapshot -q m --base dir:l --list --ignore mtime";
    let Some(output) = with_mounts(&sandbox, &format!("{mount}{script}")) else { return };
    assert_eq!(output.success().out(), "2\nA new\nA new\n", "{}", output.text());
    let said = String::from_utf8(sandbox.read("said")).unwrap();
    assert!(said.contains("snapshot: ../m: its upper directory was named u"), "{said}");
    assert!(said.contains("hint: name the upper directory itself with --upper"), "{said}");
}

// What the kernel changes in a mount without telling the directory's own file system.
#[test]
fn as_root_what_does_not_keep_still_in_a_mount_gets_the_hint_to_x() {
    if lacks_root() {
        return;
    }
    for (mount, is_hinted) in [("mount -t tmpfs t root/mnt", true), ("true", false)] {
        let sandbox = Sandbox::new();
        let script = format!(
            "mkdir -p root/mnt; {mount}; head -c 3000000 /dev/zero > root/a; echo > root/mnt/b; mkfifo layer
            code=0; snapshot -q --base scratch root > layer & exec 3< layer; head -c 4096 <&3 > start
            rm root/mnt/b; cat <&3 > rest; wait $! || code=$?; echo $code"
        );
        let Some(output) = with_mounts(&sandbox, &script) else { return };
        assert_eq!(output.success().out(), "1\n", "{}", output.text());
        let said = "snapshot: mnt/b: vanished while it was being read";
        assert!(output.stderr.contains(said), "{}", output.stderr);
        let hint = "hint: something is mounted there; -x leaves out all that is mounted";
        assert_eq!(output.stderr.contains(hint), is_hinted, "{}", output.stderr);
    }
}

#[test]
fn as_root_what_vanishes_from_an_upper_directory_is_removed_only_from_what_had_it() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let script = "mkdir l u w root; echo old > l/old
        mount -t overlay o -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w root
        head -c 3000000 /dev/zero > root/a; echo changed > root/old; echo > root/new; mkfifo layer
        snapshot -q --base scratch --retry-changed 1 root > /dev/null
        snapshot -q --retry-changed 1 root > layer & exec 3< layer; head -c 4096 <&3 > start
        rm root/old root/new; cat <&3 > rest; wait $!; cat start rest | tar -t";
    let Some(output) = with_mounts(&sandbox, script) else { return };
    assert_eq!(output.success().out(), "a\n.wh.old\n", "{}", output.text());
}
