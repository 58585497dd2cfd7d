//! Disks that are full, and disks that may only be read.

use std::path::Path;
use std::process::Command;

use layer_format::Descriptor;
use report::{ErrorKind, HasKind};
use store::{Store, Sweep};
use tempfile::TempDir;

use crate::kit::{self, image, named};

/// A file system of one MiB, for as long as this lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, with a word, for those who can't mount.
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(disk.path());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        let required = std::env::var("STRATA_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "a small disk can't be mounted, and STRATA_REQUIRE_PEERS is set");
        eprintln!("skipped: needs the right to mount");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.path()).status().ok();
    }
}

#[test]
fn as_root_a_full_disk_leaves_the_store_as_it_was() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = Store::open(disk.path()).unwrap();
    let descriptor = image(&["layer"]).store(&store, "a");
    let large = vec![7; 2 << 20];
    let wanted = Descriptor::of("layer", &large);
    let mut partial = store.lease().unwrap().partial(&wanted).unwrap().unwrap();
    partial.write_all(&large[..1000]).unwrap();
    drop(partial);
    let before = kit::tree(disk.path());

    let lease = store.lease().unwrap();
    let mut partial = lease.partial(&wanted).unwrap().unwrap();
    let failed = large[1000..].chunks(64 << 10).try_for_each(|chunk| partial.write_all(chunk));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(partial.offset(), 1000);
    drop(partial);
    let mut incoming = lease.incoming(None).unwrap();
    assert_eq!(incoming.write_all(&large).unwrap_err().kind(), ErrorKind::Failed);
    drop(incoming);
    assert_eq!(lease.put(&large).unwrap_err().kind(), ErrorKind::Failed);
    drop(lease);
    assert_eq!(kit::tree(disk.path()), before);
    kit::assert_whole(&store, &descriptor);
}

#[test]
fn as_root_a_disk_without_a_byte_left_loses_no_name() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = Store::open(disk.path()).unwrap();
    let descriptor = image(&["layer"]).store(&store, "a");
    let lease = store.lease().unwrap();
    let orphan = lease.put(&vec![7; 100_000]).unwrap();
    let filler = disk.path().join("filler");
    assert!(std::fs::write(&filler, vec![7; 2 << 20]).is_err());
    let before = kit::tree(disk.path());
    assert!(lease.name(&[named("b", descriptor.clone())]).is_err());
    assert!(lease.put(b"more").is_err());
    assert!(store.remove(&store.images().unwrap()).is_err());
    assert_eq!(kit::tree(disk.path()), before);
    // A reader does without a lease, and is told.
    let hold = store.hold(&[orphan]).unwrap();
    assert!(hold.warning().unwrap().contains("no space left on device"), "{hold:?}");
    drop(lease);
    // gc needs no room, and makes some.
    assert_eq!(store.gc(Sweep::Remove).unwrap().n_blobs, 1);
    assert!(store.blob(&orphan).unwrap().is_none());
    image(&["layer"]).store(&store, "b");
    kit::assert_sound(&store);
}

#[test]
fn as_root_a_read_only_disk_can_be_read() {
    let Some(disk) = SmallDisk::mount() else { return };
    let descriptor = image(&["layer"]).store(&Store::open(disk.path()).unwrap(), "a");
    let mut remount = Command::new("mount");
    assert!(remount.args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap().success());
    let store = Store::open(disk.path()).unwrap();
    assert_eq!(store.find("a").unwrap().descriptor.digest, descriptor.digest);
    kit::assert_whole(&store, &descriptor);
    let hold = store.hold(&[descriptor.digest]).unwrap();
    // It is as it was meant to be.
    assert_eq!((hold.warning(), hold.lease().is_none()), (None, true));
    assert_eq!(store.lease().unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(store.remove(&store.images().unwrap()).unwrap_err().kind(), ErrorKind::Failed);
}
