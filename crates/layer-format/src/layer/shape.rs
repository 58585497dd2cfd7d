//! The kind of an entry, from its header, once its name is known.

use super::entry::{Entry, EntryKind, Timestamp};
use super::header::{Dialect, Field, GID, Header, MAJOR, MINOR, MODE, MTIME, UID};
use super::path::{EntryPath, refuse};
use super::pax::Extended;
use super::whiteout::{self, Mark};
use crate::error::Error;

/// The types of entry that the type byte and the name distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    File,
    Hardlink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl Shape {
    pub(super) fn of(typeflag: u8, name: &[u8], size: u64) -> Option<Self> {
        Some(match typeflag {
            // Before there was a type for directories, a slash at the end of the name marked them. Go's reader accepts
            // that for the old type only. GNU tar and libarchive accept it for the new one, too; so do we if there is
            // no content.
            0 if name.ends_with(b"/") => Self::Directory,
            b'0' if name.ends_with(b"/") && size == 0 => Self::Directory,
            0 | b'0' | b'7' | b'S' => Self::File,
            b'1' => Self::Hardlink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' | b'D' => Self::Directory,
            b'6' => Self::Fifo,
            _ => return None,
        })
    }

    /// Whether the size in the header is that of a content. For types that can't have content, it means nothing; Go's
    /// reader ignores it, too. A GNU dump directory has the names of its files as its content.
    pub(super) fn has_content(self, typeflag: u8) -> bool {
        self == Self::File || typeflag == b'D'
    }
}

/// The kind of the entry, for a file without its size; `None` for a hard link to a leftover of AUFS.
pub(super) fn shape_kind(
    header: &Header,
    shape: Shape,
    path: &EntryPath,
    target: &[u8],
) -> Result<Option<EntryKind>, Error> {
    let refuse = |reason| Err(refuse(path.as_bytes(), reason));
    if path.is_root() && shape != Shape::Directory {
        return refuse("the root can only be a directory");
    }
    Ok(Some(match shape {
        Shape::File => EntryKind::File { size: 0, data: None },
        Shape::Directory => EntryKind::Directory,
        Shape::Fifo => EntryKind::Fifo,
        Shape::Symlink if target.is_empty() => return refuse("a symbolic link to nothing"),
        Shape::Symlink if target.contains(&0) => return refuse("a NUL in a link's target"),
        Shape::Symlink => EntryKind::Symlink { target: target.to_vec() },
        Shape::Hardlink => return hard_link(path, target),
        Shape::CharDevice => {
            let (major, minor) = device(header, path)?;
            EntryKind::CharDevice { major, minor }
        }
        Shape::BlockDevice => {
            let (major, minor) = device(header, path)?;
            EntryKind::BlockDevice { major, minor }
        }
    }))
}

fn hard_link(path: &EntryPath, target: &[u8]) -> Result<Option<EntryKind>, Error> {
    let refuse = |reason| Err(refuse(path.as_bytes(), reason));
    let Ok(target) = EntryPath::parse(target) else {
        return refuse("a hard link that leads out of the root");
    };
    if target.is_root() {
        return refuse("a hard link to the root");
    }
    if target == *path {
        return refuse("a hard link to itself");
    }
    if matches!(Mark::of(&target), Ok(Mark::Leftover)) {
        return Ok(None);
    }
    if whiteout::is_reserved(&target) {
        return refuse("a hard link to a whiteout");
    }
    Ok(Some(EntryKind::Hardlink { target }))
}

fn device(header: &Header, path: &EntryPath) -> Result<(u32, u32), Error> {
    if header.dialect() == Dialect::V7 {
        return Ok((0, 0));
    }
    let number = |field| unsigned(header, field, "a device number beyond 32 bits");
    let numbers = number(MAJOR).and_then(|major| Ok((major, number(MINOR)?)));
    numbers.map_err(|reason| refuse(path.as_bytes(), reason))
}

pub(super) fn build(
    header: &Header,
    path: EntryPath,
    kind: EntryKind,
    extended: Extended,
) -> Result<Entry, Error> {
    let refuse = |reason| refuse(path.as_bytes(), reason);
    let mode = header.number(MODE).map_err(refuse)? & 0o7777;
    let mode = u32::try_from(mode).expect("twelve bits are few");
    let uid = extended
        .uid
        .map_or_else(|| unsigned(header, UID, "a uid beyond 32 bits"), Ok)
        .map_err(refuse)?;
    let gid = extended
        .gid
        .map_or_else(|| unsigned(header, GID, "a gid beyond 32 bits"), Ok)
        .map_err(refuse)?;
    let seconds = |seconds| Timestamp { seconds, nanos: 0 };
    let mtime =
        extended.mtime.map_or_else(|| header.number(MTIME).map(seconds), Ok).map_err(refuse)?;
    Ok(Entry { kind, mode, uid, gid, mtime, xattrs: extended.xattrs, path })
}

fn unsigned(header: &Header, field: Field, reason: &'static str) -> Result<u32, &'static str> {
    u32::try_from(header.number(field)?).map_err(|_| reason)
}
