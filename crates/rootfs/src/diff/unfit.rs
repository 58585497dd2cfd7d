//! What no layer can hold.

use layer_format::layer::{EntryKind, EntryPath, INCOMPLETE, is_reserved_name};

use crate::scan::ScanEntry;

/// Why no layer can hold something whatever its name is; `None` if a layer can.
pub(super) fn unfit_kind(found: ScanEntry<'_>) -> Option<&'static str> {
    let is_whiteout = matches!(found.kind(), Some(EntryKind::CharDevice { major: 0, minor: 0 }));
    is_whiteout
        .then_some("a character device 0:0 is a whiteout to overlayfs, and no layer holds it")
}

/// Why no layer can have a path; `None` if a layer can. Only its last name is looked at.
pub(super) fn unfit_name(path: &EntryPath) -> Option<&'static str> {
    if path.file_name().is_some_and(is_reserved_name) {
        return Some("names that begin with .wh. mean whiteouts in a layer");
    }
    let is_mark = path.as_bytes() == INCOMPLETE.as_bytes();
    is_mark.then_some("marks a directory that unpack has not filled to its end")
}
