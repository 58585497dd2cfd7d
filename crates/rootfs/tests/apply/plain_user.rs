//! What someone without privileges gets. These run in a child that has given its privileges up, if there are any.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use kit::command::plain_user::run_as_plain_user;
use rootfs::{Skipped, clear};

use crate::tree::{OPTIONS, is_root, lines, show, try_apply};

/// Runs the named test once more as a plain user, if this process is root's. The result is whether it did.
fn done_as_plain_user(test: &str) -> bool {
    if is_root() {
        run_as_plain_user(test, &[]);
    }
    is_root()
}

#[test]
fn what_is_refused_is_counted() {
    if done_as_plain_user("plain_user::what_is_refused_is_counted") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let layer = "[4755 0:0] su = x\n[0:0] d/\n[0:0] l -> su\n[660 0:0] null %c 1:3\ntty => null\n[600 0:0] p |\n\
                 [trusted.a=1 user.b=2] f = y\ni/j/k = z\nhard => f";
    let report = try_apply(root.path(), OPTIONS, &[layer, "null2 => null"]).unwrap();
    assert_eq!(
        report.skipped,
        Skipped { owners: 4, special_bits: 1, devices: 3, xattrs: 1, ..Skipped::default() }
    );
    assert_eq!((report.n_entries, report.bytes), (10, 3));
    assert_eq!(
        show(root.path()).lines().collect::<Vec<_>>(),
        lines("d/\n[user.b=2] f = y\nhard => f\n[@0] i/\n[@0] i/j/\ni/j/k = z\nl -> su\n[600] p |\n[755] su = x").collect::<Vec<_>>()
    );
}

#[test]
fn as_root_of_a_namespace_what_is_refused_is_counted() {
    let mapped = fs::read_to_string("/proc/self/uid_map").unwrap();
    if is_root() && mapped.split_whitespace().nth(2) != Some("1") {
        let unshare = ["unshare", "--user", "--map-root-user"];
        if !Command::new(unshare[0])
            .args(&unshare[1..])
            .arg("true")
            .uid(65534)
            .gid(65534)
            .status()
            .unwrap()
            .success()
        {
            return kit::peers::skip("root of a namespace", "no user namespaces");
        }
        let test = "plain_user::as_root_of_a_namespace_what_is_refused_is_counted";
        return run_as_plain_user(test, &unshare);
    }
    if !is_root() {
        return kit::peers::skip("what is refused", "it needs root of some namespace");
    }
    let root = tempfile::tempdir().unwrap();
    let layer = "[1:2] a = x\n[0:0] b = y\n[0:7] c/\nnull %c 1:3\n[trusted.a=1] d = z";
    let report = try_apply(root.path(), OPTIONS, &[layer]).unwrap();
    assert_eq!(
        report.skipped,
        Skipped { unmapped_owners: 2, devices: 1, xattrs: 1, ..Skipped::default() }
    );
    assert_eq!(show(root.path()), "a = x\nb = y\nc/\nd = z\n");
}

#[test]
fn directories_without_permissions_fill() {
    if done_as_plain_user("plain_user::directories_without_permissions_fill") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let first = "[0 @5] none/\nnone/a = 1\n[111 @6] none/d/\nnone/d/b = 2\n[555] r/\nr/c = 3\n[0] root = x\n[400] ro/";
    let second = "none/d/e = 4\nnone/f => none/d/b\n- none/a\nr/g => none/d/e\n[311] none/d/deep/\nro/x/y/z = 5\n[200] ro/x/\n! r\nr/new = 6";
    try_apply(root.path(), OPTIONS, &[first, second]).unwrap();
    let mode =
        |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("none"), mode("r"), mode("ro")), (0, 0o555, 0o400));
    let unlock = |name: &str| {
        let mode = mode(name);
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        mode
    };
    let modes = ["none", "none/d", "none/d/deep", "r", "ro", "ro/x"].map(unlock);
    assert_eq!(modes, [0, 0o111, 0o311, 0o555, 0o400, 0o200]);
    let expected = "[@5] none/\n[@6] none/d/\nnone/d/b = 2\nnone/d/deep/\nnone/d/e = 4\nnone/f => none/d/b\nr/\nr/g => none/d/e\nr/new = 6\n\
                    ro/\nro/x/\n[@0] ro/x/y/\nro/x/y/z = 5\n[0] root = permission denied";
    assert_eq!(show(root.path()).lines().collect::<Vec<_>>(), lines(expected).collect::<Vec<_>>());
}

#[test]
fn what_nobody_may_read_can_be_removed() {
    if done_as_plain_user("plain_user::what_nobody_may_read_can_be_removed") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let locked =
        "[0] a/\na/b = 1\n[0] a/c/\na/c/d = 2\n[555] a/c/e/\na/c/e/f/\n[111] a/g/\na/g/h = 3";
    try_apply(root.path(), OPTIONS, &[locked, "- a"]).unwrap();
    assert_eq!(show(root.path()), "");
    let deep: Vec<_> = (1..100).map(|n| format!("[0] {}", "d/".repeat(n))).collect();
    try_apply(root.path(), OPTIONS, &[locked, &deep.join("\n")]).unwrap();
    clear(&rootfs::Root::open(root.path()).unwrap(), None).unwrap();
    assert_eq!(show(root.path()), "");
}
