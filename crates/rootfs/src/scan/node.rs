//! One entry of a scan as it is kept: 48 bytes. Its name, link target and attributes are kept by its directory.

use layer_format::layer::{EntryKind, Timestamp};
use rustix::fs::FileType;

use super::look::Look;
use crate::error::SystemError;
use crate::ids::MappedIds;
use crate::xattrs::Xattr;

/// Stands for no directory, and for no list of attributes.
pub(super) const NONE: u32 = u32::MAX;

/// An inode, under one of its names.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) inode: u64,
    /// The size of a file; the number of a device; the number of a directory among those that were read; the length of a link's
    /// target, which follows its name.
    pub(super) value: u64,
    seconds: i64,
    /// Nanoseconds, with [`LINKED`] and [`PASSED`].
    nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The offset at which its name ends in the texts of its directory. It begins where the texts of the node before end.
    pub(super) name_end: u32,
    /// The number of its attributes in its directory, or [`NONE`].
    pub(super) xattrs: u32,
    /// The number of the file system among those of the scan.
    pub(super) device: u16,
    mode: u16,
}

/// The bits of the nanoseconds. The two others are free.
const NANOS: u32 = (1 << 30) - 1;
/// The bit of an inode with other names.
const LINKED: u32 = 1 << 30;
/// The bit of an inode on which something is mounted that was not looked at.
const PASSED: u32 = 1 << 31;

impl Node {
    /// What a look has shown. `device` is the number of the file system.
    pub(super) fn of(look: &Look, device: u16) -> Self {
        let kind = FileType::from_raw_mode(look.mode);
        let number = u64::from(look.number.0) << 32 | u64::from(look.number.1);
        let is_linked = look.is_linked && kind != FileType::Directory;
        Self {
            inode: look.inode,
            value: match kind {
                FileType::CharacterDevice | FileType::BlockDevice => number,
                FileType::Directory => NONE.into(),
                _ => look.size,
            },
            seconds: look.seconds,
            nanos: look.nanos & NANOS | if is_linked { LINKED } else { 0 },
            uid: look.uid,
            gid: look.gid,
            name_end: 0,
            xattrs: NONE,
            device,
            mode: u16::try_from(look.mode & 0xffff).expect("16 bits are left"),
        }
    }

    /// Makes it stand for what a mount hides. A directory gets the owner and the time of its parent.
    pub(super) fn pass(&mut self, parent: &Look) {
        self.nanos = self.nanos & NANOS | PASSED;
        if self.kind() == FileType::Directory {
            self.mode = (self.mode & !0o7777) | 0o755;
            self.uid = parent.uid;
            self.gid = parent.gid;
            self.seconds = parent.seconds;
            self.nanos = parent.nanos & NANOS | PASSED;
        }
    }

    /// Makes the owner that of the image.
    pub(super) fn map_owner(&mut self, ids: &MappedIds) -> Result<(), SystemError> {
        (self.uid, self.gid) = ids.owner_in_image((self.uid, self.gid))?;
        Ok(())
    }

    /// The type.
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode.into())
    }

    /// Permission bits with setuid, setgid and sticky.
    pub(super) fn mode(&self) -> u32 {
        u32::from(self.mode) & 0o7777
    }

    /// Whether it has other names, and is no directory.
    pub(super) fn is_linked(&self) -> bool {
        self.nanos & LINKED != 0
    }

    /// Whether something is mounted on it that was not looked at.
    pub(super) fn is_passed(&self) -> bool {
        self.nanos & PASSED != 0
    }

    /// The offset at which its name, and a link's target, end in the texts of its directory.
    pub(super) fn texts_end(&self) -> usize {
        let target = if self.kind() == FileType::Symlink { low_half(self.value) } else { 0 };
        self.name_end as usize + target as usize
    }

    /// The time of modification.
    pub(super) fn mtime(&self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanos: self.nanos & NANOS }
    }

    /// The major and the minor number of a device.
    pub(super) fn number(&self) -> (u32, u32) {
        (low_half(self.value >> 32), low_half(self.value))
    }
}

/// A node with the parts that are kept elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(super) node: &'a Node,
    /// The target of a symbolic link; empty for all else.
    pub(super) target: &'a [u8],
    pub(super) xattrs: &'a [Xattr],
}

impl<'a> Seen<'a> {
    /// The kind of the entry, as if there were no hard links. `None` for a socket, which no layer can hold.
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

    /// The time of modification.
    pub(crate) fn mtime(&self) -> Timestamp {
        self.node.mtime()
    }

    /// The extended attributes that an image may carry, sorted by name.
    pub(crate) fn xattrs(&self) -> &'a [Xattr] {
        self.xattrs
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("32 bits are left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_size_that_it_is_said_to_have() {
        assert_eq!(size_of::<Node>(), 48);
    }

    #[test]
    fn what_else_the_nanoseconds_hold_is_no_part_of_the_time() {
        let look = |mode: u32, is_linked| Look {
            inode: 1,
            size: 2,
            seconds: -3,
            nanos: 999_999_999,
            uid: u32::MAX - 1,
            gid: 5,
            mode,
            is_linked,
            device: (0, 0),
            number: (0, 0),
            is_mount: None,
        };
        let file = Node::of(&look(0o104_755, true), 7);
        assert_eq!(file.mtime(), Timestamp { seconds: -3, nanos: 999_999_999 });
        assert_eq!((file.kind(), file.mode()), (FileType::RegularFile, 0o4755));
        assert!(file.is_linked() && !file.is_passed());
        let mut directory = Node::of(&look(0o041_777, true), 7);
        assert!(!directory.is_linked() && !directory.is_passed());
        directory.pass(&Look { seconds: 8, nanos: 9, uid: 10, ..look(0o040_700, false) });
        assert_eq!(directory.mtime(), Timestamp { seconds: 8, nanos: 9 });
        assert_eq!((directory.mode(), directory.uid), (0o755, 10));
        assert!(directory.is_passed());
    }
}
