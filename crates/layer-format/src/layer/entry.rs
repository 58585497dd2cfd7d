//! Entries of a layer: files, directories and others, each with its path.

use super::path::EntryPath;

/// A time with nanoseconds. It may lie before 1970, and far in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970. The fraction is added to them, also if they are negative.
    pub seconds: i64,
    /// The fraction in nanoseconds, from 0 to 999,999,999.
    pub nanos: u32,
}

/// A file, directory or other object with its path and attributes, but without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path inside the image.
    pub path: EntryPath,
    /// The kind, with the fields that only this kind has.
    pub kind: EntryKind,
    /// The permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// The numeric user ID of the owner.
    pub uid: u32,
    /// The numeric group ID.
    pub gid: u32,
    /// The time of the last change of the content.
    pub mtime: Timestamp,
    /// The extended attributes by full name (`user.x`, `security.capability`), sorted by name. A value may be empty.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The kinds of entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The length in bytes, holes included.
        size: u64,
        /// The pieces with data if the archive says that the file is sparse: `(offset, length)` in bytes, ascending,
        /// within `size`, none of them empty. The entry's content is then these pieces, one after the other.
        data: Option<Vec<(u64, u64)>>,
    },
    /// A symbolic link.
    Symlink {
        /// The target, which may be any bytes, because it isn't normalised.
        target: Vec<u8>,
    },
    /// Another name for a file of this layer or of one below.
    Hardlink {
        /// The path of that file.
        target: EntryPath,
    },
    /// A character device.
    CharDevice {
        /// The major number, which selects the driver.
        major: u32,
        /// The minor number, which selects the device.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The major number, which selects the driver.
        major: u32,
        /// The minor number, which selects the device.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// The number of bytes of content that follow in the layer, without the holes.
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
    /// Make this entry at its path. The layer reader gives the content right after it, if there is any.
    Add(Entry),
    /// A whiteout: remove the lower layers' file or tree at this path, which is never the root.
    Remove(EntryPath),
    /// An opaque whiteout: remove the lower layers' children of this directory, which may be the root.
    Opaque(EntryPath),
}
