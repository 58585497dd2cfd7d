//! The marks of overlayfs in an upper directory.
//!
//! The attributes begin with `trusted.` or, if a plain user has mounted it, with `user.`. None of them gets into a layer.
//!
//! If fuse-overlayfs can't make devices, it writes marks as the layers of an image have them ([`UpperForm::Any`]): empty files
//! `.wh.NAME` and `.wh..wh..opq`, and with the latter a device `.wh..opq`. Its attributes begin with `user.fuseoverlayfs.`.

use layer_format::layer::EntryKind;

use crate::scan::ScanEntry;
use crate::xattrs::Xattr;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
/// The device 0/0 that fuse-overlayfs makes beside it.
const OPAQUE_DEVICE: &[u8] = b".wh..opq";
/// The beginnings of the names of overlayfs' own attributes.
const PREFIXES: [&[u8]; 4] =
    [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs."];

/// Which marks count in an upper directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperForm {
    /// Those of the kernel's overlayfs.
    Kernel,
    /// Those of fuse-overlayfs too.
    Any,
}

/// Whether an entry is in the layer, so that it is no mark.
pub(super) fn is_entry(found: ScanEntry<'_>, form: UpperForm) -> bool {
    let is_mark = || {
        whited_out(found, form).is_some()
            || is_file(found, OPAQUE_FILE, form)
            || is_opaque_device(found, form)
    };
    !found.is_socket() && !found.is_hidden() && !is_mark()
}

/// The name that a whiteout removes; `None` for what is no whiteout.
pub(super) fn whited_out(found: ScanEntry<'_>, form: UpperForm) -> Option<&[u8]> {
    let is_whiteout = match found.kind() {
        Some(EntryKind::CharDevice { major: 0, minor: 0 }) => true,
        Some(EntryKind::File { size: 0, .. }) => overlay_value(found, b"whiteout").is_some(),
        _ => false,
    };
    if is_opaque_device(found, form) {
        return None;
    }
    if is_whiteout {
        return Some(found.name());
    }
    let hidden = found.name().strip_prefix(WHITEOUT_PREFIX)?;
    // No file has such a name, and AUFS' own names are no whiteouts.
    let is_name = !matches!(hidden, b"" | b"." | b"..") && !hidden.starts_with(WHITEOUT_PREFIX);
    (is_name && is_file(found, found.name(), form)).then_some(hidden)
}

/// Whether an upper directory has a whiteout of `name`.
pub(super) fn whites_out(directory: ScanEntry<'_>, name: &[u8], form: UpperForm) -> bool {
    let is_whiteout =
        |name: &[u8]| directory.child(name).and_then(|child| whited_out(child, form)).is_some();
    is_whiteout(name) || is_whiteout(&[WHITEOUT_PREFIX, name].concat())
}

/// Whether a directory hides what the lower directories have there. The value `x` instead of `y` only says that whiteouts in it
/// may be attributes.
pub(super) fn is_opaque(found: ScanEntry<'_>, form: UpperForm) -> bool {
    overlay_value(found, b"opaque") == Some(b"y")
        || found.child(OPAQUE_FILE).is_some_and(|child| is_file(child, OPAQUE_FILE, form))
}

fn is_opaque_device(found: ScanEntry<'_>, form: UpperForm) -> bool {
    form == UpperForm::Any
        && found.name() == OPAQUE_DEVICE
        && matches!(found.kind(), Some(EntryKind::CharDevice { major: 0, minor: 0 }))
}

/// Whether it is an empty file of that name, which fuse-overlayfs makes.
fn is_file(found: ScanEntry<'_>, name: &[u8], form: UpperForm) -> bool {
    form == UpperForm::Any
        && found.name() == name
        && matches!(found.kind(), Some(EntryKind::File { size: 0, .. }))
}

/// The value of overlayfs' own attribute with this name, without what it begins with.
pub(super) fn overlay_value<'a>(found: ScanEntry<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    let is_it = |(name, _): &&Xattr| overlay_name(name) == Some(wanted);
    found.xattrs().iter().find(is_it).map(|(_, value)| value.as_slice())
}

/// Whether an extended attribute of this name is overlayfs' own.
pub(super) fn is_mark_name(name: &[u8]) -> bool {
    overlay_name(name).is_some()
}

/// The name of overlayfs' own attribute without what it begins with; `None` for other attributes.
fn overlay_name(name: &[u8]) -> Option<&[u8]> {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix))
}
