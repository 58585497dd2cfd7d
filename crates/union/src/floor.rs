//! The lowest directory of a union: empty, or with the places where a command's root has something mounted.
//!
//! It lies below the image, so what the image has at one of these places counts; and a writable layer never has any of them.

use layer_format::Digest;
use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use rootfs::{Applier, Options, Owner, Root, SpecialBits, SymlinkedDirs};

/// The file that names the host's DNS servers, which is mounted from the system.
pub(crate) const RESOLV_CONF: &str = "etc/resolv.conf";
/// The directories that are mounted from the system, at the same names.
pub(crate) const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// How layers are applied: as unpack does without options.
pub(crate) const OPTIONS: Options = Options {
    owner: Owner::Keep,
    special_bits: SpecialBits::WithOwner,
    symlinked_dirs: SymlinkedDirs::Replace,
    reserved: None,
};

/// What the lowest directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// For nothing: the union shows the image and no more.
    Bare,
    /// For a command, whose root needs mount points that the image may lack.
    Scaffold,
}

impl Floor {
    /// The key of the directory in the layer cache.
    pub(crate) fn key(self) -> Digest {
        Digest::of(match self {
            Self::Bare => b"floor: empty",
            Self::Scaffold => b"floor: dev, proc, sys, etc/resolv.conf",
        })
    }

    /// Makes what the floor has in an empty directory, owned by root and with times of 0.
    pub(crate) fn fill(self, root: &Root) -> anyhow::Result<()> {
        let mut applier = Applier::new(root.try_clone()?, OPTIONS)?;
        let directory = EntryKind::Directory;
        applier.apply(&add("", directory.clone(), 0o755), &mut std::io::empty())?;
        if self == Self::Scaffold {
            for name in MOUNT_POINTS {
                applier.apply(&add(name, directory.clone(), 0o755), &mut std::io::empty())?;
            }
            let file = EntryKind::File { size: 0, data: None };
            applier.apply(&add(RESOLV_CONF, file, 0o644), &mut std::io::empty())?;
        }
        applier.finish()?;
        Ok(())
    }
}

/// The change that makes a file or directory of root's, without a time.
fn add(path: &str, kind: EntryKind, mode: u32) -> Change {
    Change::Add(Entry {
        path: EntryPath::parse(path.as_bytes()).unwrap_or_default(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: vec![],
    })
}
