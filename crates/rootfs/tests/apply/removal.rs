//! Removing trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use report::{ErrorKind, HasKind};
use rootfs::{Root, clear, remove_tree};

use crate::tree::{OPTIONS, Place, is_root, quick_dir, show, try_apply, try_apply_in_turn};

#[test]
fn removal_follows_nothing() {
    let place = Place::new();
    let root = place.root();
    for name in ["a", "a/b", "x"] {
        fs::create_dir(root.join(name)).unwrap();
        symlink(place.out(), root.join(name).join("dir")).unwrap();
        symlink(place.out().join("secret"), root.join(name).join("file")).unwrap();
        symlink("..", root.join(name).join("up")).unwrap();
    }
    symlink(place.out(), root.join("l")).unwrap();
    let parent = fs::File::open(&root).unwrap();
    for name in ["a", "l", "missing"] {
        remove_tree(&parent, name.as_bytes()).unwrap();
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    clear(&Root::open(&root).unwrap(), None).unwrap();
    assert_eq!(show(&root), "");
    place.assert_outside_is_unchanged("removal");
}

#[test]
fn as_root_removal_stops_at_a_mount() {
    const SELF: &str = "removal::as_root_removal_stops_at_a_mount";
    let Some(mounted) = std::env::var_os("MOUNTED") else {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("d/m")).unwrap();
        let script = "mount -t tmpfs none \"$MOUNTED/d/m\" && touch \"$MOUNTED/d/m/kept\" && exec \"$0\" --exact \"$1\"";
        let exe = std::env::current_exe().unwrap();
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "sh", "-c"])
            .arg(script)
            .arg(exe)
            .arg(SELF)
            .env("MOUNTED", root.path());
        if is_root()
            && Command::new("unshare")
                .args(["--mount", "true"])
                .status()
                .is_ok_and(|status| status.success())
        {
            assert!(unshare.status().unwrap().success());
        } else {
            kit::peers::skip("a removal", "it needs root or user namespaces");
        }
        return;
    };
    let root = Path::new(&mounted);
    let error = remove_tree(Root::open(root).unwrap(), b"d").unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("d: removing", ErrorKind::Failed));
    assert!(clear(&Root::open(root).unwrap(), None).is_err());
    assert!(root.join("d/m/kept").exists());
}

#[test]
fn depth_is_no_obstacle() {
    let root = quick_dir();
    let name = "n".repeat(200);
    let deep = vec![name.as_str(); 300].join("/");
    let twin = format!("{}/x", vec!["m"; 3000].join("/"));
    let layer = format!("{deep}/f = x\n{twin} = y\n.removing-0/f = z\n.removing-1 = file");
    try_apply_in_turn(root.path(), OPTIONS, &[&layer]).unwrap();
    clear(&Root::open(root.path()).unwrap(), None).unwrap();
    assert_eq!(show(root.path()), "");
    try_apply_in_turn(
        root.path(),
        OPTIONS,
        &[&layer, &format!("{deep}/g => {deep}/f\n- {twin}"), &format!("- {name}\n- m\n! /")],
    )
    .unwrap();
    assert_eq!(show(root.path()), "");
}

#[test]
fn a_crowd_goes_quickly() {
    let root = quick_dir();
    let layer: Vec<_> = (0..100_000).map(|n| format!("d/{n} = ")).collect();
    try_apply(root.path(), OPTIONS, &[&layer.join("\n")]).unwrap();
    let start = Instant::now();
    remove_tree(Root::open(root.path()).unwrap(), b"d").unwrap();
    assert_eq!(show(root.path()), "");
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
