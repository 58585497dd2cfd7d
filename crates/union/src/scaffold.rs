//! The lowest directory of a union: empty, or with the places where a command's root has something mounted.
//!
//! It lies below the image, so where the image has any of this, that is what counts; and a writable layer never has it.

use layer_format::Digest;
use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use rootfs::{Applier, Root};

use crate::cache::Floor;
use crate::extract::OPTIONS;

/// Where the names of hosts are looked up.
pub(crate) const RESOLV_CONF: &str = "etc/resolv.conf";
/// Where the system's own directory of this name is mounted.
pub(crate) const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// The cache's key of it.
pub(crate) fn key(floor: Floor) -> Digest {
    Digest::of(match floor {
        Floor::Bare => b"floor: empty",
        Floor::Scaffold => b"floor: dev, proc, sys, etc/resolv.conf",
    })
}

/// Makes it, in an empty directory: root's, and without a time.
pub(crate) fn fill(root: &Root, floor: Floor) -> anyhow::Result<()> {
    let mut applier = Applier::new(root.try_clone()?, OPTIONS)?;
    let mut add = |path: &str, kind, mode| {
        let path = EntryPath::parse(path.as_bytes()).unwrap_or_default();
        let (mtime, xattrs) = (Timestamp::default(), vec![]);
        let entry = Entry { path, kind, mode, uid: 0, gid: 0, mtime, xattrs };
        applier.apply(&Change::Add(entry), &mut std::io::empty())
    };
    add("", EntryKind::Directory, 0o755)?;
    if floor == Floor::Scaffold {
        for name in MOUNT_POINTS {
            add(name, EntryKind::Directory, 0o755)?;
        }
        add(RESOLV_CONF, EntryKind::File { size: 0, data: None }, 0o644)?;
    }
    applier.finish()?;
    Ok(())
}
