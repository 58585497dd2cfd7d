//! One entry as it is kept: 48 bytes, its name, link target and attributes elsewhere.

use layer_format::layer::Timestamp;
use rustix::fs::FileType;

use super::look::Look;

/// No number of a directory or of a list of attributes.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of an inode, under one of its names.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) inode: u64,
    /// Of a file its size, of a device its number, of a directory the number of its contents, of a link how long its target
    /// is, which follows its name.
    pub(super) value: u64,
    seconds: i64,
    /// With [`LINKED`] and [`PASSED`].
    nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Where its name ends among the texts of its directory; it begins where those of the one before end.
    pub(super) name_end: u32,
    pub(super) xattrs: u32,
    /// The file system, by its number among those met.
    pub(super) device: u16,
    mode: u16,
}

/// A time has no more nanoseconds than 30 bits hold; the other two say something else.
const NANOS: u32 = (1 << 30) - 1;
const LINKED: u32 = 1 << 30;
const PASSED: u32 = 1 << 31;

impl Node {
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

    /// Makes it stand for what a mount hides. A directory looks as if its parent's owner had just made it.
    pub(super) fn pass(&mut self, parent: &Look) {
        self.nanos = self.nanos & NANOS | PASSED;
        if self.kind() == FileType::Directory {
            self.mode = (self.mode & !0o7777) | 0o755;
            (self.uid, self.gid) = (parent.uid, parent.gid);
            self.seconds = parent.seconds;
            self.nanos = parent.nanos & NANOS | PASSED;
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode.into())
    }

    /// Permission bits with setuid, setgid and sticky.
    pub(super) fn mode(&self) -> u32 {
        u32::from(self.mode) & 0o7777
    }

    /// Whether it has more names than this one.
    pub(super) fn is_linked(&self) -> bool {
        self.nanos & LINKED != 0
    }

    /// Whether something is mounted there that wasn't looked at.
    pub(super) fn is_passed(&self) -> bool {
        self.nanos & PASSED != 0
    }

    /// Where its name, and a link's target, end among the texts of its directory.
    pub(super) fn texts_end(&self) -> usize {
        let target = if self.kind() == FileType::Symlink { low_half(self.value) } else { 0 };
        self.name_end as usize + target as usize
    }

    pub(super) fn mtime(&self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanos: self.nanos & NANOS }
    }

    /// Major and minor number of a device.
    pub(super) fn number(&self) -> (u32, u32) {
        (low_half(self.value >> 32), low_half(self.value))
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
