//! One entry of a layer: what a path becomes.

use super::path::EntryPath;

/// A moment, to the nanosecond, before 1970 and far ahead too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970; the fraction is added to it, also when negative.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What lies at a path, attributes included, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// Extended attributes by full name (`user.x`, `security.capability`), sorted by name. Values may be empty.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The kinds of entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Where data lies if the archive said that the file is sparse: `(offset, length)`, ascending, within `size`,
        /// none of them empty. The entry's content is then these pieces, one after the other.
        data: Option<Vec<(u64, u64)>>,
    },
    /// A symbolic link.
    Symlink {
        /// Any bytes: a link's target is data, not a path of ours.
        target: Vec<u8>,
    },
    /// Another name for a file of this layer or of one below.
    Hardlink {
        /// That file.
        target: EntryPath,
    },
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// How many bytes of content follow in the layer, holes not counted.
    pub fn content_size(&self) -> u64 {
        match self {
            Self::File { data: Some(data), .. } => data.iter().map(|(_, length)| length).sum(),
            Self::File { size, data: None } => *size,
            _ => 0,
        }
    }
}

/// One step of a layer, in the archive's order (image-spec, layer.md, "Representing Changes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make this. Its content, if any, is read from the layer reader right after.
    Add(Entry),
    /// A whiteout: the lower layers' file or tree at this path is gone. Never the root.
    Remove(EntryPath),
    /// An opaque whiteout: the lower layers' children of this directory are gone. May be the root.
    Opaque(EntryPath),
}
