//! Does the text say what is on the disk?

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use rustix::fs::{Mode, OFlags};

use super::*;

#[test]
fn a_built_tree_is_shown_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let lines = format!(
        "\
drwxr-xr-x {uid}:{gid} ./ @1600000000.000000000
-rw-r--r-- {uid}:{gid} a 6 \"hello\\n\" @1600000000.000000000
drwxrwxrwt {uid}:{gid} a-dir/ @-5.000000001
-rw-r--r-- {uid}:{gid} a-dir/again = a @1600000000.000000000
-rwsr-xr-x {uid}:{gid} a-dir/\\xff\\x20x 0 @12.500000000
prw-r--r-- {uid}:{gid} fifo @1600000000.000000000
lrwxrwxrwx {uid}:{gid} link -> /etc/passwd @7.000000000
"
    );
    build(dir.path(), &lines);
    assert_same(&show_with(dir.path(), Show::ALL), &lines);
}

#[test]
fn the_text_agrees_with_stat() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, vec![1; 70_000]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o2640)).unwrap();
    symlink("f", dir.path().join("link")).unwrap();
    let stat = fs::metadata(&file).unwrap();
    let hash = &crate::digest(&vec![1; 70_000])[..19];
    let expected = format!(
        "-rw-r-S--- {}:{} f 70000 {hash} @{}.{:09}",
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec()
    );
    let shown = show_with(dir.path(), Show::ALL);
    assert_eq!(shown.lines().nth(1).unwrap(), expected);
    assert!(shown.lines().nth(2).unwrap().contains("link -> f"), "{shown}");
}

#[test]
fn xattrs_are_shown_in_order() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), "-rw-r--r-- f \"x\" user.b=\"\\x00\\xff\" user.a=\"\"\n");
    let shown = show_with(dir.path(), Show { owner: false, ..Show::PLAIN });
    assert!(shown.ends_with("-rw-r--r-- f 1 \"x\" user.a=\"\" user.b=\"\\x00\\xff\"\n"), "{shown}");
}

#[test]
fn depth_beyond_path_max_and_open_files_is_no_limit() {
    let dir = tempfile::tempdir().unwrap();
    let name = CString::new("d".repeat(200)).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
    for _ in 0..1200 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    let shown = show(dir.path());
    assert_eq!(shown.lines().count(), 1201);
    assert_eq!(shown.lines().last().unwrap().matches('/').count(), 1200);
    // tempfile's own removal takes a descriptor a level; the directory is moved away flat.
    drop(at);
    let status = std::process::Command::new("rm").arg("-rf").arg(dir.path()).status().unwrap();
    assert!(status.success());
}

#[test]
fn as_root_devices_are_shown_by_their_numbers() {
    if !rustix::process::geteuid().is_root() {
        return crate::peers::skip("devices", "they need root");
    }
    let dir = tempfile::tempdir().unwrap();
    let lines = "drwxr-xr-x 0:0 ./\nbrw-rw---- 3:6 b 259,65537\ncrw-rw-rw- 0:0 null 1,3\n";
    build(dir.path(), lines);
    assert_same(&show(dir.path()), lines);
}

#[test]
fn a_layer_is_shown_in_its_own_order() {
    let tar = crate::Layer::new().file("z", "1").whiteout("a").hardlink("h", "z").tar();
    assert_eq!(
        show_tar(&tar, Show::PLAIN),
        "-rw-r--r-- 0:0 z 1 \"1\"\n-rw-r--r-- 0:0 .wh.a 0\n-rw-r--r-- 0:0 h = z\n"
    );
}

#[test]
fn a_difference_is_told_line_by_line() {
    assert_eq!(diff("a\nb\nc\n", "a\nB\nc\nd\n"), "-b\n+B\n+d\n");
    assert_eq!(diff("a\n", "a\n"), "");
    let many = (0..50).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
    assert!(diff(&many, "").ends_with("-39\nand 10 more\n"));
}

#[test]
fn holes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), "-rw-r--r-- hole 1048576\n-rw-r--r-- full \"x\"\n");
    assert_eq!(extents(dir.path().join("hole")), []);
    assert_eq!(extents(dir.path().join("full")).len(), 1);
}
