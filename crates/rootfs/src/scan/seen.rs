//! What a look at one name has shown.

use layer_format::layer::{EntryKind, Timestamp};
use rustix::fs::FileType;

use super::node::Node;
use crate::xattrs::Xattr;

/// An inode under one of its names, wherever its parts are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(super) node: &'a Node,
    /// Where it leads, if it is a symbolic link.
    pub(super) target: &'a [u8],
    pub(super) xattrs: &'a [Xattr],
}

impl<'a> Seen<'a> {
    /// What it is, hard links aside. A socket, which no layer can hold, is `None`.
    pub(crate) fn kind(&self) -> Option<EntryKind> {
        let (major, minor) = self.node.number();
        Some(match self.node.kind() {
            FileType::Directory => EntryKind::Directory,
            FileType::RegularFile => EntryKind::File { size: self.node.value, data: None },
            FileType::Symlink => EntryKind::Symlink { target: self.target.to_vec() },
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            _ => return None,
        })
    }

    /// Permission bits with setuid, setgid and sticky.
    pub(crate) fn mode(&self) -> u32 {
        self.node.mode()
    }

    /// The numeric owner and group.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.node.uid, self.node.gid)
    }

    /// When the content last changed.
    pub(crate) fn mtime(&self) -> Timestamp {
        self.node.mtime()
    }

    /// The extended attributes that an image may carry, sorted by name.
    pub(crate) fn xattrs(&self) -> &'a [Xattr] {
        self.xattrs
    }
}
