//! System calls that a kernel lacks or a filter forbids, as strace has them fail: the results are the same. The base is
//! always named, since without statx nothing is noted of a directory: what it was can only be told by its birth time.

use kit::peers::root_peer;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Sandbox};

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
    $S save -q new:1 > saved.tar; $S save -q new:1 | cmp - saved.tar; sha256sum < saved.tar
    $S flatten -q new:1 | tar -tv
    $S union -q new:1 mnt && (find mnt -printf '%P %m %U:%G %l\n' | sort; umount mnt)
    $S unpack -q --from new:1 again && find again -printf '%P %m %U:%G %T@ %l\n' | sort | grep -v '^ '
    find . -name '*strata*'
";

fn run(prefix: &str) -> String {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", image())]);
    let output =
        sh(&sandbox, &format!("set -e\nexport SOURCE_DATE_EPOCH=1\nS='{prefix}'\n{SCRIPT}"));
    assert_eq!(output.code(), 0, "{prefix}: {}", output.text());
    output.out()
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
        let shown = run(&format!("strace -f -qq -o /dev/null -e signal=none {fault}"));
        kit::tree::assert_same(&expected, &shown);
    }
}

#[test]
fn as_root_every_program_does_the_same_without_a_call_that_looks() {
    check(&[("openat2", "ENOSYS"), ("openat2", "EPERM"), ("statx", "ENOSYS"), ("statx", "EPERM")]);
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
