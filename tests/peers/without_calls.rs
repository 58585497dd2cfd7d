//! System calls that a kernel lacks or a filter forbids, as strace has them fail: the results are the same. The base is
//! always named, since without statx nothing is noted of a directory: what it was can only be told by its birth time.

use kit::peers::root_peer;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Registry, Sandbox};

/// The image's user is looked up behind links of its own.
fn image() -> Image {
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 ./
        drwxr-xr-x 0:0 etc/
        lrwxrwxrwx 0:0 etc/passwd -> /../usr/users
        -rw-r--r-- 0:0 etc/group "users:x:100:\nsound:x:29:me\n"
        drwxr-xr-x 0:0 usr/
        lrwxrwxrwx 0:0 usr/lib -> ../etc
        -rw-r--r-- 0:0 usr/users "me:x:1000:100::/home/me:/bin/sh\n"
        -rw-r--r-- 0:0 usr/gone "x"
        "#,
    );
    let above = Layer::text("-rw-r--r-- 7:8 usr/a/b \"b\"\n---------- 0:0 usr/.wh.gone");
    Image::new().layer(layer).layer(above).user("me").entrypoint(&["/bin/app"])
}

/// Everything that touches a root. `$S` stands before each of our programs. What is printed has no times in it.
const SCRIPT: &str = r"
    $S unpack -q --from base:1 root && find root -printf '%P %m %U:%G %T@ %l\n' | sort | grep -v '^ '
    $S unpack -q --from base:1 --bundle b && cat b/config.json
    $S snapshot -q --list root --base base:1
    rm root/etc/group; echo changed > root/usr/users; mkdir root/new; ln root/usr/users root/new/users
    touch -d @5 root root/etc root/usr root/usr/users root/new
    $S snapshot -q --list root --base base:1
    $S snapshot -q root --base base:1 > layer.tar && tar -tvf layer.tar
    $S snapshot -q --checksum --list root --base base:1
    $S snapshot -q -x --list root --base base:1
    $S changes base:1 dir:root || [ $? = 1 ]
    $S commit -q -t new:1 --base base:1 layer.tar
    $S images verify -q
    $S rebase -q new:1 --onto base:1 --from base:1 -t rebased:1; $S inspect --cat usr/users new:1
    $S save -q new:1 > saved.tar; $S save -q new:1 | cmp - saved.tar; sha256sum < saved.tar
    $S load -q --store other saved.tar; $S images digests --store other
    $S flatten -q new:1 | tar -tv; $S flatten -q --no-store - < saved.tar | sha256sum
    $S push -q new:1 $R/new:1; $S pull -q $R/new:1 --store third | $S unpack -q fourth; $S remote tags $R/new
    $S pull -q --no-store $R/new:1 | $S unpack -q fifth; diff -r --no-dereference fourth fifth; $S remote copy $R/new:1 $R/copy:1
    $S union -q new:1 mnt && (find mnt -printf '%P %m %U:%G %l\n' | sort; $S images gc -q; umount mnt)
    $S union -q --upper up new:1 mnt && touch mnt/made && $S union -q --upper up new:1 -- sh || echo $?
    $S union -q --umount mnt && find up -printf '%P %m %U:%G %l\n' | sort && ls -A | grep -v store
    $S unpack -q --from new:1 again && find again -printf '%P %m %U:%G %T@ %l\n' | sort | grep -v '^ '
    find . -name '*strata*'
";

fn run(prefix: &str) -> String {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", image())]);
    let host = registry.host();
    let settings = format!("set -e\nexport SOURCE_DATE_EPOCH=1\nS='{prefix}' R={host}\n");
    let output = sh(&sandbox, &format!("{settings}{SCRIPT}"));
    assert_eq!(output.code(), 0, "{prefix}: {}", output.text());
    output.out().replace(&host, "HOST")
}

/// Runs it with each of these calls failing, or doing nothing.
fn check(faults: &[(&str, &str)]) {
    if root_peer("strace").is_none() {
        return;
    }
    let expected = run("");
    for (calls, answer) in faults {
        let answer = if *answer == "0" { "retval=0".to_owned() } else { format!("error={answer}") };
        let fault = format!("-e trace={calls} -e inject={calls}:{answer}");
        let shown =
            run(&format!("strace -f --seccomp-bpf -qq -o /dev/null -e signal=none {fault}"));
        kit::tree::assert_same(&expected, &shown);
    }
}

#[test]
fn as_root_every_program_does_the_same_without_a_call_that_looks() {
    check(&[("openat2", "ENOSYS"), ("openat2", "EPERM"), ("statx", "ENOSYS"), ("statx", "EPERM")]);
}

/// What Linux 4.18 has not, and a filter that is older than a call doesn't know. With `?` before it, strace passes over a call
/// that it doesn't know itself.
const NEWER: &str = "fsopen,fsconfig,fsmount,fspick,move_mount,open_tree,openat2,close_range,faccessat2,?fchmodat2,pidfd_open,pidfd_getfd,pidfd_send_signal,epoll_pwait2,\
    io_uring_setup,landlock_create_ruleset,landlock_add_rule,landlock_restrict_self,mount_setattr,?statmount,?listmount,\
    process_madvise,futex_waitv,?cachestat";

/// What every kernel has, and a sandbox, a file system or an emulator may refuse.
const REFUSED: &[&str] = &[
    "copy_file_range,splice,sendfile,tee,vmsplice",
    "memfd_create",
    "fallocate,fadvise64,sync_file_range,readahead,madvise",
    "sched_getaffinity,sched_setaffinity,setpriority,prlimit64,sysinfo,capget,prctl",
    "getrandom",
    "name_to_handle_at,open_by_handle_at,inotify_init1,userfaultfd,bpf,perf_event_open,ptrace",
];

#[test]
fn as_root_every_program_does_the_same_on_a_kernel_that_is_older_than_its_calls() {
    // The C library itself takes EPERM for an answer where it asks for these two.
    let all = format!("{NEWER},clone3,rseq");
    check(&[(&all, "ENOSYS"), (NEWER, "EPERM")]);
}

#[test]
fn as_root_every_program_does_the_same_where_calls_are_refused() {
    let each = REFUSED.iter().flat_map(|calls| [(*calls, "ENOSYS"), (*calls, "EPERM")]);
    check(&each.collect::<Vec<_>>());
}

#[test]
fn as_root_every_program_does_the_same_without_a_call_that_copies() {
    check(&[
        ("copy_file_range", "ENOSYS"),
        ("copy_file_range", "EPERM"),
        ("splice,sendfile,copy_file_range", "ENOSYS"),
        ("splice,sendfile,copy_file_range", "EPERM"),
        // Some file systems answer so instead of saying that they don't know the call.
        ("copy_file_range", "0"),
        ("splice,sendfile,copy_file_range", "0"),
    ]);
}

#[test]
fn as_root_every_program_does_the_same_without_a_call_that_names() {
    check(&[
        ("renameat2", "ENOSYS"),
        // Old kernels and some file systems know the call, and not that nothing may be replaced.
        ("renameat2", "EINVAL"),
        // What can't be linked by its descriptor alone can by its magic link, with the next call.
        ("linkat", "ENOENT:when=1+2"),
        ("linkat", "EPERM:when=1+2"),
    ]);
}

/// What a union is and does, as a tree and as a command's root. The upper directory isn't taken a second time: as long as another
/// process's mount namespace has a copy of the mount, it is in use.
const UNION: &str = r"
    $S union -q box:1 m && ls m m/etc && images gc -q && ls m/bin && $S union -q --umount m
    $S union -q --upper up box:1 m && echo new > m/etc/new; $S union -q --upper up box:1 -- sh || echo $?
    $S union -q --umount m && find up | sort
    cp -a up anew; $S union -q --upper anew box:1 -- sh -c 'cat /etc/new; ls /dev /etc; cat /proc/1/comm; : < /dev/null && : > /other' && ls anew
    $S union -q box:1 m -- cat m/etc/x; ls -A | grep -v store
";

// Linux before 5.2 has none of them, and 4.18 no option metacopy.
#[test]
fn as_root_union_mounts_by_the_old_call_where_a_newer_one_is_missing() {
    let (Some(_), Ok(busybox)) = (root_peer("strace"), std::fs::read("/bin/busybox")) else {
        return;
    };
    let tools = ["sh", "cat", "ls"];
    let layer = Layer::new().dir("bin", 0o755).file("bin/busybox", busybox).mode(0o755);
    let layer =
        tools.iter().fold(layer, |layer, tool| layer.symlink(format!("bin/{tool}"), "busybox"));
    let above = Layer::text("-rw-r--r-- 0:0 etc/x \"x\"\n---------- 0:0 bin/.wh.nothing");
    let image = Image::new().layer(layer.tar()).layer(above).env(&["PATH=/bin"]);
    let run = |fault: &str| {
        let sandbox = Sandbox::new();
        sandbox.load(&[Named::new("docker.io/library/box:1", image.clone())]);
        let strace = "strace -f --seccomp-bpf -qq -o /dev/null -e signal=none";
        let prefix = if fault.is_empty() { String::new() } else { format!("{strace} {fault}") };
        let output = sh(&sandbox, &format!("S='{prefix}'\n{UNION}"));
        assert_eq!(output.code(), 0, "{fault}: {}", output.text());
        output
    };
    let expected = run("").out();
    assert!(expected.contains("125\n") && expected.contains("up/etc/new"), "{expected}");
    let all = "fsopen,fsconfig,fsmount,move_mount,open_tree,openat2";
    for calls in [all, "fsopen", "fsconfig", "fsmount", "move_mount", "open_tree"] {
        for errno in ["ENOSYS", "EPERM"] {
            let fault = format!("-e trace={calls} -e inject={calls}:error={errno}");
            let found = run(&fault);
            assert_eq!(found.out(), expected, "{fault}: {}", found.text());
        }
    }
    // Of the calls in a thread of its own, the first makes its mounts private, and the second has an option too many.
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/box:1", image.clone())]);
    let older =
        "-e trace=fsopen,mount -e inject=fsopen:error=ENOSYS -e inject=mount:error=EINVAL:when=2+3";
    let script = format!("strace -f -qq -o /dev/null {older} union -q box:1 m -- ls m");
    let output = sh(&sandbox, &script);
    assert_eq!(output.success().out(), "bin\netc\n", "{}", output.text());
}

// Docker's filter refuses all calls that mount, whatever the capabilities.
#[test]
fn as_root_union_says_what_it_needs_where_no_call_mounts() {
    if root_peer("strace").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", image())]);
    let calls = "mount,fsopen,fsconfig,fsmount,move_mount,open_tree";
    let strace = format!(
        "strace -f --seccomp-bpf -qq -o /dev/null -e signal=none -e trace={calls} -e inject={calls}:error=EPERM"
    );
    for rest in ["m", "-- true"] {
        let output = sh(&sandbox, &format!("{strace} union -q base:1 {rest}"));
        assert!(matches!(output.code(), 1 | 125), "{}", output.text());
    }
    let output = sh(&sandbox, &format!("{strace} union -q base:1 m; ls"));
    assert!(
        output.stderr.contains("hint: that takes root, or a user namespace"),
        "{}",
        output.text()
    );
    assert!(!output.out().contains('m'), "{}", output.text());
}

#[test]
fn as_root_mounted_files_stay_out_where_statx_is_missing() {
    if root_peer("strace").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", image())]);
    let script = "S='strace -f -qq -o /dev/null -e trace=statx -e inject=statx:error=ENOSYS'\n\
        unpack -q --from base:1 root; echo secret > secret; mkdir root/proc\n\
        mount --bind secret root/etc/group; mount -t proc none root/proc\n\
        $S snapshot --list -x root --base base:1 --ignore mtime && $S snapshot --list root --base base:1 --ignore mtime\n\
        mount -t tmpfs none /proc\n\
        $S snapshot --list -x root --base base:1 --ignore mtime";
    sandbox.write("script", script);
    let output = sh(&sandbox, "unshare -m bash script");
    assert_eq!(output.code(), 1, "{}", output.text());
    assert_eq!(output.out(), "A proc\nC etc/group\nA proc\n", "{}", output.text());
    // Without /proc nothing can be known of mounts, and nothing gets into a layer.
    assert!(output.stderr.contains("finding out what is mounted"), "{}", output.stderr);
}
