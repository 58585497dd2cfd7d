//! Where not everything can be set: containers, user namespaces, plain users, file systems without attributes. What is
//! missing is said with its reason, is no change, and is nobody's privilege.

use kit::pipeline::{Script, sh};
use kit::{Image, Layer, Named, Sandbox};

use crate::fixtures::{lacks, lacks_root, stream_of};

/// Owners, special bits, a device, a capability, an attribute.
fn privileged() -> Image {
    Image::new().layer(Layer::text(
        r#"
        drwxr-xr-x 0:0 ./ @5
        -rwsr-xr-x 0:0 su "su" @5
        -rwsr-sr-x 7:8 shell "x" @5
        -rwxr-xr-x 0:0 ping "p" @5 security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        crw-rw---- 0:5 tty 5,0 @5
        -rw------- 7:7 mine "f" @5 user.a="1"
        "#,
    ))
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&privileged()));
    sandbox
}

/// What says that nothing has changed, and that a change is seen with all that the base says of the file.
const UNTOUCHED: &str = "snapshot --base ./image --list root && changes ./image ./root && echo same && \
    printf other > root/shell && snapshot -q --base ./image root | tar tv --numeric-owner | grep shell";

// buildah#3384: what podman's default capabilities, or a user's choice, leave out.
#[test]
fn as_root_what_a_container_can_t_set_is_no_change() {
    if lacks_root() {
        return;
    }
    for dropped in ["-chown", "-mknod", "-setfcap", "-dac_override", "-fowner", "-fsetid", "-all"] {
        let sandbox = sandbox();
        let script = format!(
            "setpriv --bounding-set={dropped} bash -c 'unpack -q root < image && {UNTOUCHED}'"
        );
        let output = sh(&sandbox, &script);
        let out = output.success().out();
        assert!(out.starts_with("same\n-rwsr-sr-x 7/8 "), "{dropped}: {}", output.text());
    }
}

/// Runs a script and compares what it says on standard error.
#[track_caller]
fn check_said(script: &str, expected: &str) {
    let sandbox = sandbox();
    let output = Script::new(&sandbox, script).run();
    let said = &output.success().stderr;
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.join("\n"), expected, "{}", output.text());
}

// podman#19132: the warning blamed the privilege.
#[test]
fn as_root_the_warning_names_the_reason() {
    if lacks_root() {
        return;
    }
    check_said(
        "setpriv --bounding-set=-mknod unpack root < image",
        "unpack: warning: not set, for lack of privilege: 1 device",
    );
    check_said(
        "unshare --mount sh -c 'mkdir m && mount -t ramfs none m && unpack m/root < image'",
        "unpack: warning: not set, since this file system has none: 2 extended attributes",
    );
    check_said(
        "setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user --map-root-user \
         sh -c 'unpack root < image'",
        "unpack: warning: not set, for lack of privilege: 1 device\n\
         unpack: warning: not set, since this user namespace has no such user or group: 2 owners\n\
         unpack: warning: without setuid and setgid bits, since their owners were not set: 1 file",
    );
}

// hpc/charliecloud#155, #955, umoci#181: a stranger's setuid shell became the unpacking user's own, for all to run.
#[test]
fn a_file_that_is_not_given_to_its_owner_gets_no_setuid_bit() {
    let sandbox = sandbox();
    let script = format!(
        "unpack root < image 2> said; find root -perm /6000 -printf '%P %m\\n'; grep -c 'setuid and setgid bits' said
         {UNTOUCHED}
         unpack -q --keep-setuid kept < image; find kept -perm /6000 -printf '%P %m\\n' | sort"
    );
    let output = Script::new(&sandbox, &script).as_plain_user().run();
    let out = output.success().out();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..2], ["1", "same"], "{}", output.text());
    assert!(lines[2].starts_with("-rwsr-sr-x 7/8 "), "{out}");
    assert_eq!(lines[3..], ["shell 6755", "su 4755"], "{out}");
}

#[test]
fn as_root_owners_that_are_ignored_make_no_program_root_s() {
    if lacks_root() {
        return;
    }
    let sandbox = sandbox();
    let script =
        "unpack -q --owner ignore root < image; find root -perm /6000 -printf '%P %m %U\\n'
                  unpack -q other < image; find other -perm /6000 -printf '%P %m %U:%G\\n' | sort";
    // What is root's in the image is nobody else's.
    let expected = "su 4755 0\nshell 6755 7:8\nsu 4755 0:0\n";
    assert_eq!(sh(&sandbox, script).success().out(), expected);
}

/// Runs a script with `m` mounted by bindfs with these options.
fn in_bindfs(options: &str, script: &str) -> Option<String> {
    let sandbox = sandbox();
    if lacks(&["bindfs"]) {
        return None;
    }
    let script = format!(
        "mkdir d m && unshare --mount sh -c 'bindfs {options} d m && {{ {script}; }}; status=$?; umount m; exit $status'
         ls -A d | wc -l"
    );
    Some(sh(&sandbox, &script).success().out())
}

// What root's chown is refused on, or does nothing on: NFS with root_squash, CIFS, 9p, many FUSE file systems. Nothing was
// kept of owners there, and the layer gave all files to one; unpack itself failed where root's files are another's, and
// left a thousand directories.
#[test]
fn as_root_what_a_file_system_does_with_owners_is_no_change() {
    if lacks_root() {
        return;
    }
    let script = "cd m && unpack -q root < ../image && snapshot --base ../image --list root && \
                  changes ../image ./root && find root -type f -perm /6000 -printf \"%P\\n\" | sort && \
                  printf other > root/shell && \
                  snapshot -q --base ../image root | tar tv --numeric-owner | grep -c \"rwsr-sr-x 7/8 .*shell\"; cd ..";
    // The programs that keep special bits: bindfs ignores users alone, unless it gives all to one group.
    let cases = [
        ("--chown-deny", "su\n"),
        ("--chown-ignore", "shell\nsu\n"),
        ("-u 1000 -g 1000 --chown-ignore", ""),
    ];
    for (options, special) in cases {
        let Some(out) = in_bindfs(options, script) else { return };
        assert_eq!(out, format!("{special}1\n1\n"), "{options}");
    }
}

/// Says so where there is nothing to refuse system calls with.
fn lacks_strace() -> bool {
    lacks(&["strace"])
}

/// What a system call of root's unpack is refused with, and what is said of it.
#[track_caller]
fn check_refused(call: &str, errno: &str, flags: &str, status: i32, expected: &str) {
    let sandbox = sandbox();
    if lacks_strace() {
        return;
    }
    let script = format!(
        "strace -f -o /dev/null -e trace={call} -e inject={call}:error={errno} unpack {flags} root < image"
    );
    let output = sh(&sandbox, &script);
    assert_eq!(output.code(), status, "{}", output.text());
    assert!(output.stderr.contains(expected), "{}", output.text());
    assert_eq!(sandbox.path("root").exists(), status == 0, "{}", output.text());
}

// What root has every right to, a security module or a device cgroup may refuse: it is said, with --quiet too, and what is
// no matter of rights ends the run.
#[test]
fn as_root_what_nobody_expects_is_said_and_other_failures_are_errors() {
    if lacks_root() {
        return;
    }
    for flags in ["", "-q"] {
        let check = |call: &str, what: &str| {
            check_refused(
                call,
                "EPERM",
                flags,
                0,
                &format!("warning: not set, for lack of privilege: {what}"),
            );
        };
        check("mknodat", "1 device\n");
        check("fchown", "2 owners\n");
        check("fsetxattr", "2 extended attributes\n");
    }
    for errno in ["ENOSPC", "EIO"] {
        check_refused("mknodat", errno, "-q", 1, "unpack: ");
        check_refused("fchown", errno, "-q", 1, "unpack: ");
        check_refused("fsetxattr", errno, "-q", 1, "unpack: ");
        check_refused("utimensat", errno, "-q", 1, "unpack: ");
    }
    // A time is a matter of rights only for what isn't ours, and all that unpack makes is.
    check_refused("utimensat", "EPERM", "-q", 1, "unpack: ");
}

/// A signature, and attributes that not everybody sees.
const ATTRIBUTED: &str = r#"
    drwxr-xr-x 0:0 ./ @5
    -rwxr-xr-x 0:0 signed "s" @5 security.ima="\x03\x01\xaa\xbb"
    -rw-r--r-- 0:0 trusted "t" @5 trusted.t="tt"
    -rw-r----- 0:0 listed "l" @5 system.posix_acl_access="\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
"#;

fn attributed() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&Image::new().layer(Layer::text(ATTRIBUTED))));
    sandbox
}

// buildah#2127, containers/storage#657: a file's signature was left behind, and a snapshot didn't see it at all.
#[test]
fn as_root_a_signature_of_a_file_is_as_much_an_attribute_as_any() {
    if lacks_root() || lacks(&["setfattr"]) {
        return;
    }
    let script = r"unpack -q root < image && snapshot --base ./image --list root && changes ./image ./root && echo same
        setfattr -n security.ima -v 0x0302cc root/signed
        changes ./image ./root; snapshot --base ./image --list root
        snapshot -q --base ./image root | grep -a -c SCHILY.xattr.security.ima
        setfattr -x security.ima root/signed; echo other > root/signed
        snapshot -q --base ./image root | grep -a -c SCHILY.xattr.security";
    let out = sh(&attributed(), script).out();
    assert_eq!(out, "same\nC signed  xattrs\nC signed\n1\n0\n");
}

// Who may not set them doesn't see whether they are there: what belongs to a file, and not to its bytes, stays with it.
#[test]
fn as_root_what_can_t_be_seen_stays_with_a_file_that_was_written_to() {
    if lacks_root() {
        return;
    }
    let script = r"setpriv --bounding-set=-sys_admin bash -c '
        unpack -q root < image && snapshot --base ./image --list root && touch root/trusted && echo x >> root/signed
        snapshot -q --base ./image root > layer; tar tf layer
        grep -a -c SCHILY.xattr.trusted.t=tt layer; grep -a -c SCHILY.xattr.security layer'";
    assert_eq!(sh(&attributed(), script).out(), "./\nsigned\ntrusted\n1\n0\n");
}

// podman#19132's kind: the kernel itself answers for access control lists, where a file system holds no attributes.
#[test]
fn as_root_lists_are_no_change_on_a_fuse_file_system_without_attributes() {
    if lacks_root() {
        return;
    }
    let sandbox = attributed();
    if lacks(&["bindfs"]) {
        return;
    }
    let script = r"mkdir d m && unshare --mount sh -c '
        bindfs --xattr-none d m && unpack -q m/root < image 2> /dev/null; snapshot --base ./image --list m/root
        touch m/root/listed; snapshot -q --base ./image m/root | grep -a -c SCHILY.xattr.system.posix_acl_access
        umount m'";
    assert_eq!(sh(&sandbox, script).out(), "1\n");
}

// lxd#6771: the kernel refuses a list with an id that isn't mapped, and systemd's journal has one.
#[test]
fn as_root_a_list_with_an_unknown_id_is_left_out_and_no_change() {
    if lacks_root() {
        return;
    }
    let script = "unshare --user --map-root-user sh -c 'unpack root < image && snapshot --base ./image --list root'";
    let output = Script::new(&attributed(), script).run();
    assert_eq!(output.success().out(), "");
    let said = "not set, since this user namespace has no such user or group: 1 extended attribute";
    assert!(output.stderr.contains(said), "{}", output.text());
}

#[test]
fn as_root_whom_a_user_namespace_does_not_know_is_whom_the_base_names() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./ @5\n-rwsr-xr-x 7:8 su \"s\" @5\n-rw-r--r-- 7:0 f \"f\" @5\ncrw-rw---- 0:5 tty 5,0 @5",
    );
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = "unpack -q root < image; unshare --user --map-root-user snapshot --base ./image --list root
        touch -h root/tty root/su
        unshare --user --map-root-user snapshot -q --base ./image root | tar tvf - --numeric-owner | cut -c 1-14";
    let expected = "drwxr-xr-x 0/0\n-rwsr-xr-x 7/8\ncrw-rw---- 0/5\n";
    assert_eq!(sh(&sandbox, script).out(), expected);
    let script = "unpack -q root < image && unshare --user --map-root-user sh -c '
        snapshot --base ./image --list root && touch root/listed && snapshot --base ./image --list root'
        unshare --user --map-root-user snapshot -q --base ./image root > layer
        commit -q --base ./image --no-store --stream -t new < layer > new && echo good";
    let output = sh(&attributed(), script);
    assert_eq!(output.out(), "C listed\ngood\n", "{}", output.text());
}

// An image can hold a setuid shell for each user of a login node; GNU tar and bsdtar drop the bits of a plain user's own files.
#[test]
fn as_root_a_stranger_s_image_makes_no_plain_user_s_own_file_setuid() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let layer = Layer::text("drwxr-xr-x 0:0 ./ @5\n-rwsr-sr-x 65534:65534 sh \"s\" @5");
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = "unpack root < image 2> said; stat -c %a root/sh; grep -c 'setuid and setgid bits' said
        snapshot --base ./image --list root; unpack -q --keep-setuid kept < image; stat -c %a kept/sh";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    assert_eq!(output.success().out(), "755\n1\n6755\n");
}

// A device cgroup, a filter of system calls or a security module takes what the capabilities promise, and some filters do
// nothing and call it done (charliecloud --seccomp): what is asked is whether it works.
#[test]
fn as_root_what_is_refused_or_ignored_against_all_capabilities_is_no_change() {
    if lacks_root() {
        return;
    }
    let sandbox = sandbox();
    if lacks_strace() {
        return;
    }
    for (calls, how) in [
        ("fchown,fchownat,chown,lchown", "error=EPERM"),
        ("fchown,fchownat,chown,lchown", "retval=0"),
        ("fsetxattr,setxattr", "error=EPERM"),
        ("fsetxattr,setxattr", "retval=0"),
    ] {
        let strace = format!("strace -f -o /dev/null -e trace={calls} -e inject={calls}:{how}");
        let script = format!(
            "rm -rf root; {strace} unpack -q root < image 2> /dev/null; \
             {strace} snapshot --base ./image --list root && {strace} changes ./image ./root && echo same"
        );
        let output = sh(&sandbox, &script);
        assert_eq!(output.out(), "same\n", "{calls} {how}: {}", output.text());
    }
}

// A plain user's scan gives directories permissions for a while; another one took that for a change, 93 times of 240.
#[test]
fn two_snapshots_of_a_tree_at_once_see_no_change_in_each_other() {
    let sandbox = Sandbox::new();
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./ @5\nd--------- 0:0 none/ @5\n-rw-r--r-- 0:0 none/f \"f\" @5\nd-wx-wx-wx 0:0 write/ @5\n\
         -rw-r--r-- 0:0 write/f \"f\" @5\ndr-------- 0:0 read/ @5\n---------- 0:0 read/f \"f\" @5",
    );
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = "unpack -q root < image; for n in $(seq 20); do
            snapshot --base ./image --list root & snapshot --base ./image --list root &
            changes --checksum ./image ./root & wait
        done; find root -type d -printf '%m\n' | sort";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    assert_eq!(output.out(), "0\n333\n400\n755\n", "{}", output.text());
}

/// A store with what only root can unpack, for programs whose system calls strace refuses; `None` without root or strace.
fn traced() -> Option<Sandbox> {
    if lacks_root() {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/app:1", privileged())]);
    (!lacks_strace()).then_some(sandbox)
}

// A device cgroup (LXC, systemd-nspawn) takes what the capability promises, device by device: what unpack could not make was
// removed by the next commit.
#[test]
fn as_root_a_device_that_a_cgroup_refused_is_not_taken_for_removed() {
    let Some(sandbox) = traced() else { return };
    let script =
        "strace -f -o /dev/null -e trace=mknod,mknodat -e inject=mknod,mknodat:error=EPERM \\
            unpack -q --from app:1 root 2> /dev/null
        snapshot --list root; rm root/su; snapshot --list root";
    let output = sh(&sandbox, script);
    assert_eq!(output.out(), "C .\nD su\n", "{}", output.text());
}

// mergerfs refuses attributes as if they weren't there, and some filters of system calls as if the file system had none.
#[test]
fn as_root_attributes_that_the_file_system_is_said_to_lack_are_not_taken_for_removed() {
    let Some(sandbox) = traced() else { return };
    for errno in ["EOPNOTSUPP", "ENODATA"] {
        let strace = format!(
            "strace -f -o /dev/null -e trace=setxattr,fsetxattr -e inject=setxattr,fsetxattr:error={errno}"
        );
        let script = format!(
            "rm -rf root; {strace} unpack -q --from app:1 root 2> /dev/null; {strace} snapshot --list root
             touch root/ping; {strace} snapshot -q root | grep -a -c SCHILY.xattr"
        );
        // With the new time goes the capability, as with new bytes.
        let output = sh(&sandbox, &script);
        assert_eq!(output.out(), "0\n", "{errno}: {}", output.text());
    }
}

#[test]
fn two_comparisons_of_two_trees_the_one_way_and_the_other_do_not_wait_for_each_other() {
    let sandbox = Sandbox::new();
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./ @5\nd--------- 0:0 none/ @5\n-rw-r--r-- 0:0 none/f \"f\" @5",
    );
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = "unpack -q a < image; unpack -q b < image
        for n in $(seq 20); do changes ./a ./b > /dev/null & changes ./b ./a > /dev/null & wait; done; echo over";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    assert_eq!(output.out(), "over\n", "{}", output.text());
}

#[test]
fn as_root_all_in_one_starts_without_proc() {
    if lacks_root() {
        return;
    }
    let script = "unshare --mount sh -ec 'mount -t tmpfs none /proc; strata images --version; strata pull --nope'";
    let output = sh(&Sandbox::new(), script);
    assert!(output.fails_with(2).out().starts_with("images (strata) "), "{}", output.text());
    assert!(output.stderr.contains("pull: "), "{}", output.text());
}
