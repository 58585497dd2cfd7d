//! Whiteouts: entries that remove what lower layers hold (image-spec, layer.md, "Whiteouts").
//!
//! | base name       | means                                                       |
//! |-----------------|-------------------------------------------------------------|
//! | `.wh..wh..opq`  | nothing of the lower layers is left in this directory       |
//! | `.wh..wh.*`     | bookkeeping of AUFS that old Docker packed too; left out    |
//! | `.wh.NAME`      | NAME of the lower layers is gone                            |
//!
//! Only the name makes an entry a marker; its kind doesn't matter (AUFS has hard links).

use super::path::{EntryPath, refuse};
use crate::error::Error;

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The meaning of an entry's path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// An ordinary entry.
    Plain,
    /// A leftover of AUFS, or something below one.
    Leftover,
    /// A whiteout of this path.
    Remove(EntryPath),
    /// An opaque whiteout of this directory.
    Opaque(EntryPath),
}

impl Mark {
    /// Classifies a path.
    pub(super) fn of(path: &EntryPath) -> Result<Self, Error> {
        let Some(at) = path.components().position(|name| name.starts_with(PREFIX)) else {
            return Ok(Self::Plain);
        };
        let mut components = path.components().skip(at);
        let marker = components.next().unwrap_or_default();
        if is_leftover(marker) {
            return Ok(Self::Leftover);
        }
        if components.next().is_some() {
            return Err(refuse(path.as_bytes(), "a whiteout can't be a directory"));
        }
        let parent = path.parent().unwrap_or_default();
        match &marker[PREFIX.len()..] {
            b"" | b"." | b".." => {
                Err(refuse(path.as_bytes(), "a whiteout of nothing, `.` or `..`"))
            }
            _ if marker == OPAQUE => Ok(Self::Opaque(parent)),
            name => Ok(Self::Remove(parent.join(name))),
        }
    }

    /// The path of the marker that removes `path`.
    pub(super) fn removing(path: &EntryPath) -> Result<EntryPath, Error> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !is_reserved(path) => {
                Ok(parent.join(&[PREFIX, name].concat()))
            }
            (None, _) | (_, None) => Err(refuse(path.as_bytes(), "a whiteout of the root")),
            _ => Err(refuse(path.as_bytes(), RESERVED)),
        }
    }

    /// The path of the marker that empties `directory`.
    pub(super) fn emptying(directory: &EntryPath) -> Result<EntryPath, Error> {
        if is_reserved(directory) {
            return Err(refuse(directory.as_bytes(), RESERVED));
        }
        Ok(directory.join(OPAQUE))
    }
}

/// The reason why a name can't be in a layer.
pub(super) const RESERVED: &str = "names that begin with .wh. mean whiteouts in a layer";

/// Whether a layer would take the last name of the path, or one above it, for a marker.
pub(super) fn is_reserved(path: &EntryPath) -> bool {
    path.components().any(is_reserved_name)
}

/// Whether a layer would take a file name for a marker.
pub fn is_reserved_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

fn is_leftover(name: &[u8]) -> bool {
    name.starts_with(META_PREFIX) && name != OPAQUE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(name: &str, expected: Option<&Mark>) {
        assert_eq!(Mark::of(&path(name)).ok().as_ref(), expected, "{name}");
    }

    #[test]
    fn markers_are_known_by_their_names() {
        check("a/b", Some(&Mark::Plain));
        check("", Some(&Mark::Plain));
        check("a.wh.b/.wh", Some(&Mark::Plain));
        check(".wh.a", Some(&Mark::Remove(path("a"))));
        check("a/.wh.b", Some(&Mark::Remove(path("a/b"))));
        check("a/.wh....", Some(&Mark::Remove(path("a/..."))));
        check(".wh..wh", Some(&Mark::Remove(path(".wh"))));
        check(".wh..wh..opq", Some(&Mark::Opaque(EntryPath::root())));
        check("a/.wh..wh..opq", Some(&Mark::Opaque(path("a"))));
    }

    #[test]
    fn leftovers_of_aufs_are_not_entries() {
        for name in
            [".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.orph/x/.wh.y", "a/.wh..wh.", ".wh..wh..opqx"]
        {
            check(name, Some(&Mark::Leftover));
        }
    }

    #[test]
    fn markers_of_nothing_and_markers_with_children_are_refused() {
        for name in [
            ".wh.",
            ".wh..",
            ".wh...",
            "a/.wh...",
            ".wh.a/b",
            "a/.wh..wh..opq/b",
            ".wh.a/.wh..wh.plnk",
        ] {
            check(name, None);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let removed = path("a/b");
        assert_eq!(
            Mark::of(&Mark::removing(&removed).unwrap()).unwrap(),
            Mark::Remove(removed.clone())
        );
        assert_eq!(Mark::of(&Mark::emptying(&removed).unwrap()).unwrap(), Mark::Opaque(removed));
        assert_eq!(Mark::emptying(&EntryPath::root()).unwrap(), path(".wh..wh..opq"));
        for name in ["", ".wh.a", "a/.wh..opq", ".wh.a/b"] {
            assert!(Mark::removing(&path(name)).is_err(), "{name}");
        }
    }
}
