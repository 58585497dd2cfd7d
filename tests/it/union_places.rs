//! Where a union may be mounted, where its changes may go, and what a command in it is to the terminal and to others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kit::pipeline::Script;
use kit::{Image, Layer, Sandbox};
use rustix::process::Signal;

use crate::fixtures::{assert_one_line, lacks_root, names};
use crate::union::{Mounted, mount, union, with_images};

/// Bytes that mean something in the options of a mount, in the list of mounts, or in a shell.
const ODD: &str = "a:b,c\\d e\n'f\u{e9}";

fn with_app() -> Sandbox {
    with_images(&[("app:1", &Image::new().layer(Layer::new().dir("d", 0o755).file("d/a", "a")))])
}

#[test]
fn as_root_a_link_leads_to_where_it_is_mounted() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    fs::create_dir(sandbox.path("dir")).unwrap();
    symlink("dir", sandbox.path("link")).unwrap();
    let mounted = Mounted(sandbox.path("dir"));
    union(&sandbox, &["app:1", "link"]).run().success();
    assert_eq!(names(&mounted.0), ["d"]);
    assert_one_line(union(&sandbox, &["app:1", "link"]).run().fails_with(1), "union");
    union(&sandbox, &["--umount", "link"]).run().success();
    assert!(names(&mounted.0).is_empty());
}

#[test]
fn as_root_names_may_hold_anything() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let (dir, upper) = (format!("m{ODD}"), format!("u{ODD}"));
    let mounted = Mounted(sandbox.path(&dir));
    union(&sandbox, &["app:1", &dir, "--upper", &upper]).run().success();
    fs::write(mounted.0.join("d/new"), "new").unwrap();
    let listed = union(&sandbox, &["--list"]).run().success().out();
    let shown =
        |name: &str| format!("{}/work/{}", sandbox.root().display(), name.replace('\n', "\\n"));
    let line = listed.lines().find(|line| line.contains(&shown(&dir))).unwrap();
    assert!(line.ends_with(&shown(&upper)), "{listed}");
    // No second union writes to it, by whatever name.
    assert_one_line(
        union(&sandbox, &["app:1", "m2", "--upper", &upper]).run().fails_with(1),
        "union",
    );
    union(&sandbox, &["--umount", &dir]).run().success();
    assert_eq!(names(sandbox.path("")), [dir, upper.clone()]);
    assert_eq!(names(sandbox.path(upper).join("d")), ["new"]);
}

#[test]
fn a_plain_users_names_may_hold_anything() {
    let sandbox = with_app();
    sandbox.write("name", ODD);
    let script = "
        name=$(cat name)
        union -q app:1 \"m$name\" --upper \"u$name\" -- sh -c 'echo new > \"m$(cat name)/d/new\"'
        ls \"u$name/d\"; ls -A \"m$name\"
    ";
    assert_eq!(Script::new(&sandbox, script).as_plain_user().run().success().out(), "new\n");
}

#[test]
fn as_root_changes_dont_go_where_the_kernel_cant_work() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let refused = |upper: &str, hint: &str| {
        let output = union(&sandbox, &["app:1", "m", "--upper", upper]).run();
        assert_one_line(output.fails_with(1), "union");
        assert!(output.stderr.contains(hint), "{}", output.text());
        assert!(!sandbox.path("m").exists());
    };
    // The working directory would be beside it, on another file system.
    let disk = Mounted(sandbox.path("disk"));
    fs::create_dir(&disk.0).unwrap();
    rustix::mount::mount_bind(&disk.0, &disk.0).unwrap();
    refused("disk", &format!("hint: --upper {}/upper", disk.0.display()));
    drop(disk);
    // Nor does one writable layer lie in another union's.
    let below = Mounted(sandbox.path("below"));
    union(&sandbox, &["app:1", "below", "--upper", "up"]).run().success();
    refused("below/up", "hint: changes are kept on");
    assert_eq!(names(&below.0), ["d"]);
    drop(below);
    assert!(names(sandbox.path("up")).is_empty());
}

#[test]
fn as_long_as_a_command_runs_no_other_union_writes_where_it_does() {
    let sandbox = with_app();
    // The mount is in the command's own namespace, so that only the lock can tell.
    let script = "
        mkfifo begun go
        union -q app:1 m --upper up -- sh -c 'echo > begun; cat go > m/d/new' & first=$!
        read -r _ < begun
        grep -c $PWD/m /proc/self/mountinfo
        for second in 'app:1 m2 --upper up -- true' 'app:1 --upper up -- true'; do
            union -q $second; echo $?
        done
        echo done > go
        wait $first; echo $?
        union -q app:1 m2 --upper up -- cat m2/d/new
    ";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    assert_eq!(output.success().out(), "0\n125\n125\n0\ndone\n", "{}", output.text());
    let said = output.stderr.matches("another union writes to it").count();
    assert_eq!(said, 2, "{}", output.text());
}

/// The files that a shell consists of, from this machine.
const SHELL: &str = "
    mkdir tree; cd tree
    mkdir dev proc sys etc lib; touch etc/resolv.conf
    for file in $(readlink -f /bin/sh) $(ldd /bin/sh | grep -o '/[^ ]*'); do
        mkdir -p ./$(dirname $file); cp -L $file ./$file
    done
    mkdir -p bin; [ -e bin/sh ] || cp -L /bin/sh bin/sh
    cd ..; tar -C tree -cf layer.tar . && commit -q --base scratch -t shell:1 layer.tar > digest
";

#[test]
fn a_command_in_a_union_has_the_systems_own_trees() {
    let sandbox = with_app();
    let script = format!(
        "set -e; {SHELL}
        union -q shell:1 -- /bin/sh -c '
            echo here > /dev/null
            for file in /proc/self/status /sys/kernel /dev/zero /dev/null /etc/resolv.conf; do
                [ -e $file ] && echo $file
            done
            [ -c /dev/null ] && echo a device
            read -r line < /etc/resolv.conf; echo \"$line\"
            while read -r _ _ _ _ point _; do
                case $point in /|/proc|/sys|/dev|/etc/resolv.conf) echo $point;; esac
            done < /proc/self/mountinfo
            [ -e {root} ] || echo and nothing else'
        head -n 1 /etc/resolv.conf
        ls -A tree/dev tree/proc tree/sys",
        root = sandbox.root().display()
    );
    let output = Script::new(&sandbox, &script).as_plain_user().run();
    let out = output.success().out();
    let (inside, after) =
        out.split_once("and nothing else\n").unwrap_or_else(|| panic!("{}", output.text()));
    let (first, _) = after.split_once('\n').unwrap();
    assert_eq!(after, format!("{first}\ntree/dev:\n\ntree/proc:\n\ntree/sys:\n"));
    let mut lines: Vec<_> = inside.lines().collect();
    let mut points = lines.split_off(7);
    points.sort_unstable();
    points.dedup();
    let expected = [
        "/proc/self/status",
        "/sys/kernel",
        "/dev/zero",
        "/dev/null",
        "/etc/resolv.conf",
        "a device",
        first,
    ];
    assert_eq!(lines, expected, "{}", output.text());
    assert_eq!(points, ["/", "/dev", "/etc/resolv.conf", "/proc", "/sys"], "{}", output.text());
}

#[test]
fn as_root_the_root_of_a_writable_layer_has_all_that_the_images_has() {
    if lacks_root() {
        return;
    }
    let layer = Layer::text(
        "drwxr-x--x 3:4 ./ @1400000000.25 user.x=\"1\" user.y=\"2\"\n\
         -rw-r--r-- 0:0 f \"f\"",
    );
    let sandbox = with_images(&[("app:1", &Image::new().layer(layer))]);
    let mounted = Mounted(sandbox.path("m"));
    union(&sandbox, &["app:1", "m", "--upper", "up"]).run().success();
    let root = |path: &Path| {
        let shown = kit::tree::show_with(path, kit::tree::Show::ALL);
        shown.lines().next().unwrap().to_owned()
    };
    let expected = "drwxr-x--x 3:4 ./ @1400000000.250000000 user.x=\"1\" user.y=\"2\"";
    assert_eq!(root(&mounted.0), expected);
    drop(mounted);
    let upper = root(&sandbox.path("up"));
    // The kernel's marks are any bytes, spaces among them.
    let (before, marks) = upper.split_once(" trusted.overlay.").unwrap_or((&upper, ""));
    let own = marks.find(" user.x=").map_or("", |at| &marks[at..]);
    assert_eq!(format!("{before}{own}"), expected);
}

#[test]
fn changes_know_which_image_they_were_made_to() {
    let other = Image::new().layer(Layer::new().file("other", "o"));
    let app = Image::new().layer(Layer::new().dir("d", 0o755).file("d/a", "a"));
    let sandbox = with_images(&[("app:1", &app), ("other:1", &other)]);
    let sh = |script: &str| Script::new(&sandbox, script).as_plain_user().run();
    let said =
        |image: &str| sh(&format!("union {image} m --upper up -- true")).success().stderr.clone();
    assert!(!said("other:1").contains("another"));
    // Nothing was changed.
    assert!(!said("app:1").contains("another"));
    sh("union -q app:1 m --upper up -- sh -c 'echo new > m/d/new; rm m/d/a'").success();
    sh("snapshot -q --upper up | commit -q -t app:2 && unpack -q --from app:2 root").success();
    assert_eq!(names(sandbox.path("root/d")), ["new"]);
    // As a directory that an image was unpacked to it would be a removal of all that it doesn't hold.
    let output = sh("snapshot -q up");
    assert!(output.fails_with(2).stderr.contains("hint: say so with --base"), "{}", output.text());
    let manifest = &app.digest()["sha256:".len()..][..12];
    let warning = format!("up holds changes that were made to another image, {manifest}");
    assert!(said("other:1").contains(&warning), "{}", said("other:1"));
    assert!(!said("other:1").contains("another"));
}

#[test]
fn a_command_has_the_streams_and_the_signals() {
    let sandbox = with_app();
    let output =
        Script::new(&sandbox, "union -q app:1 m -- cat").input("in\n").as_plain_user().run();
    assert_eq!(output.success().out(), "in\n");
    let wait = "trap \"exit 9\" TERM; touch begun; while :; do sleep 0.01; done";
    let script = Script::new(&sandbox, &format!("exec union -q app:1 m -- sh -c '{wait}'"));
    let script = script.as_plain_user();
    let running = script.start();
    while !sandbox.path("begun").exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), 9);
}

/// The one difference to `unpack` that the kernel makes: it copies a file up under one of its names.
#[test]
fn as_root_a_link_to_one_of_several_names_below_leaves_the_others_there() {
    if lacks_root() {
        return;
    }
    let base = Layer::new().file("a", "one file\n").hardlink("b", "a");
    let sandbox =
        with_images(&[("app:1", &Image::new().layer(base).layer(Layer::new().hardlink("c", "a")))]);
    let mounted = mount(&sandbox, "app:1", "m");
    let shown = kit::tree::show(&mounted.0);
    let (_, files) = shown.split_once('\n').unwrap();
    insta::assert_snapshot!(files, @r#"
    -rw-r--r-- 0:0 a 9 "one file\n"
    -rw-r--r-- 0:0 b 9 "one file\n"
    -rw-r--r-- 0:0 c = a
    "#);
}

/// Descriptors that the command was given are closed, so that nothing but the mount tells of it.
const HOLD: &str = "for n in $(ls /proc/$$/fd | grep -v '^[012]$'); do eval \"exec $n>&-\"; done; echo > ready; cat go";

/// What is said of a writable layer that is in use, by the name that it was given and by its path.
fn in_use(name: &str, path: &Path) -> String {
    format!(
        "union: {name}: another union writes to it\n\
         hint: which programs have its mount: grep -l {} /proc/[0-9]*/mountinfo\n",
        path.display()
    )
}

#[test]
fn a_writable_layer_is_one_unions_for_as_long_as_its_command_runs() {
    let sandbox = with_app();
    sandbox.write("hold", HOLD);
    let script = "mkfifo ready go; union -q app:1 m --upper up -- bash hold &
        read x < ready
        union -q app:1 m2 --upper up -- true; echo $?
        echo > go; wait
        union -q app:1 m2 --upper up -- true; echo $?";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    assert_eq!(output.success().out(), "125\n\n0\n", "{}", output.text());
    assert_eq!(output.stderr, in_use("up", &sandbox.path("up")));
}

#[test]
fn as_root_a_union_of_another_mount_namespace_is_another_union_too() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    sandbox.write("hold", HOLD);
    fs::create_dir(sandbox.path("real")).unwrap();
    symlink("real", sandbox.path("link")).unwrap();
    let script = "mkfifo ready go
        unshare -m sh -c 'union -q app:1 m --upper real/up; bash hold' &
        read x < ready
        union -q app:1 m2 --upper link/up; echo $?
        union -q app:1 m2 --upper real/up -- true; echo $?
        echo > go; wait
        union -q app:1 m2 --upper link/up -- true; echo $?";
    let output = Script::new(&sandbox, script).run();
    assert_eq!(output.success().out(), "1\n125\n\n0\n", "{}", output.text());
    let up = sandbox.path("real/up");
    assert_eq!(output.stderr, in_use("link/up", &up) + &in_use("real/up", &up));
}

#[test]
fn as_root_another_programs_overlay_on_a_writable_layer_counts_as_a_union() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    // What it was named when it was mounted says nothing by itself.
    let script =
        "mkdir lower up work m && mount -t overlay o -o lowerdir=lower,upperdir=up,workdir=work m";
    Script::new(&sandbox, script).run().success();
    let _mounted = Mounted(sandbox.path("m"));
    let output = union(&sandbox, &["app:1", "m2", "--upper", "up"]).run();
    assert_eq!(output.fails_with(1).stderr, in_use("up", &sandbox.path("up")));
}

#[test]
fn as_root_another_programs_overlay_is_not_listed_and_not_taken_away() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let script =
        "mkdir lower other m && touch file && mount -t overlay o -o lowerdir=lower:other m";
    Script::new(&sandbox, script).run().success();
    let _mounted = Mounted(sandbox.path("m"));
    let listed = union(&sandbox, &["--list"]).run();
    let root = sandbox.root().to_str().unwrap();
    assert!(!listed.success().out().contains(root), "{}", listed.text());
    for (place, status, text) in [
        ("m", 3, "m: no union is mounted there"),
        ("lower", 3, "lower: no union is mounted there"),
        ("none", 3, "none: no union is mounted there"),
        ("file/x", 1, "file/x: not a directory"),
    ] {
        let output = union(&sandbox, &["--umount", place]).run();
        assert!(output.fails_with(status).stderr.contains(text), "{}", output.text());
    }
    Script::new(&sandbox, "mountpoint -q m").run().success();
    // A union takes its place all the same.
    union(&sandbox, &["app:1", "m"]).run().success();
    let _union = Mounted(sandbox.path("m"));
    assert!(sandbox.path("m/d/a").exists());
}

#[test]
fn as_root_a_union_of_a_store_that_cannot_be_written_is_warned_of() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let script = "union -q app:1 -- none; S=$STRATA_STORE; \
        unshare -m sh -c \"mount --bind $S $S && mount -o remount,ro,bind $S && union app:1 -- none\"";
    let output = Script::new(&sandbox, script).run();
    let text = "union: warning: the store is read-only here: where it isn't, images gc may take the layers away\n";
    assert!(output.fails_with(127).stderr.contains(text), "{}", output.text());
}

// podman#22680, bubblewrap#135: the root directory of a chroot is no mount point.
#[test]
fn as_root_a_command_runs_in_a_chroot_and_its_mounts_stay_there() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let inside = format!(
        "set -e; cd /host{work}; export PATH=$(echo :$PATH | sed s,:/,:/host/,g):$PATH STRATA_STORE=/host$STRATA_STORE
        {SHELL}
        union -q shell:1 -- /bin/sh -c 'echo > /dev/null; [ -e /host/tmp ] || echo and alone'
        union -q app:1 m -- sh -c 'cat m/d/a; echo; ls /host{work}/m'
        union -q app:1 m --upper up -- sh -c 'echo new > m/d/b'; cat up/d/b; ls m",
        work = sandbox.root().join("work").display()
    );
    sandbox.write("inside", inside);
    // The mounts below the root are such that others see; nothing may be left of ours.
    let script = "mkdir -p r/proc r/dev r/host m; ln -s host/bin host/lib host/lib64 host/usr host/etc host/sys r/
        unshare -m --propagation shared sh -c 'mount --rbind / r/host && mount -t proc proc r/proc && mount --rbind /dev r/dev \
            && cp /proc/self/mountinfo before && /usr/sbin/chroot r sh /host/$PWD/inside; echo $?; cmp before /proc/self/mountinfo'";
    let output = Script::new(&sandbox, script).run();
    let expected = "and alone\na\nd\nnew\n0\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
}

#[test]
fn as_root_a_layer_that_can_not_be_collected_is_told() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    // Nothing can rename what is a mount point; that this isn't about permission must not pass in silence.
    let script = "union -q app:1 -- none; images rm -q app:1; L=$STRATA_STORE/strata/layers; \
        unshare -m sh -c \"for d in $L/*/*; do mount --bind \\$d \\$d; done; images gc\"";
    let output = Script::new(&sandbox, script).run();
    let text = "/store/strata/layers/trusted/.gone-";
    assert!(output.fails_with(1).stderr.contains(text), "{}", output.text());
}

#[test]
fn as_root_without_a_command_a_union_is_for_all_to_see() {
    if lacks_root() {
        return;
    }
    let layer = Layer::new().file("f", "f");
    let sandbox = with_images(&[("app:1", &Image::new().layer(layer))]);
    let mounted = Mounted(sandbox.path("m"));
    union(&sandbox, &["app:1", "m", "--"]).run().success();
    assert!(mounted.0.join("f").exists());
}
