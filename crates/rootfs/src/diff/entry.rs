//! The entry of a layer for a path that has changed.

use layer_format::layer::{Entry, EntryKind, EntryPath};
use layer_format::listing::Inode;

use super::attributes::{Attribute, Attributes};
use super::compare::{OF_CONTENT, meant_mode};
use super::options::DiffOptions;
use crate::scan::ScanEntry;
use crate::xattrs::{Xattr, is_of_bytes};

/// The entry for something new.
pub(super) fn added(path: EntryPath, found: ScanEntry<'_>, options: &DiffOptions<'_>) -> Entry {
    let default = options.default_owner;
    let (uid, gid) = if options.identity.has_uncertain_owners() {
        options.identity.owner(found.owner(), default.unwrap_or_default())
    } else {
        default.unwrap_or_else(|| found.owner())
    };
    let kind = kind(found);
    let mode = if matches!(kind, EntryKind::Symlink { .. }) { 0o777 } else { found.mode() };
    let can_be = |xattr: &&Xattr| options.identity.can_name(&xattr.0, &xattr.1);
    let xattrs = found.xattrs().iter().filter(can_be).cloned().collect();
    Entry { path, kind, mode, uid, gid, mtime: found.mtime(), xattrs }
}

/// The entry for something that has changed. The attributes that aren't `different` are those of the base.
pub(super) fn changed(
    path: EntryPath,
    base: &Inode,
    found: ScanEntry<'_>,
    different: Attributes,
    options: &DiffOptions<'_>,
) -> Entry {
    let owner = (base.uid, base.gid);
    let (uid, gid) = if different.has(Attribute::Owner) {
        options.identity.owner(found.owner(), owner)
    } else {
        owner
    };
    let kind = kind(found);
    let mode = if different.has(Attribute::Mode) {
        meant_mode(base, found.seen(), &options.identity)
    } else {
        base.mode & 0o7777
    };
    let mtime = if different.has(Attribute::Mtime) { found.mtime() } else { base.mtime };
    let xattrs = xattrs(base, found, different, options);
    Entry { path, kind, mode, uid, gid, mtime, xattrs }
}

/// The entry for a directory that has not changed, but has a changed entry below it.
pub(super) fn unchanged(path: EntryPath, base: Inode) -> Entry {
    let Inode { kind, mode, uid, gid, mtime, xattrs, .. } = base;
    Entry { path, kind, mode, uid, gid, mtime, xattrs: xattrs.into_vec() }
}

/// The extended attributes. Those that can't be seen here are those of the base, except for capabilities and signatures of a
/// file whose bytes have changed, as far as size and time tell.
fn xattrs(
    base: &Inode,
    found: ScanEntry<'_>,
    different: Attributes,
    options: &DiffOptions<'_>,
) -> Vec<Xattr> {
    if options.ignore.has(Attribute::Xattrs) {
        return base.xattrs.to_vec();
    }
    let is_untouched = !different.has_any(&OF_CONTENT) || found.is_directory();
    let is_seen = |xattr: &&Xattr| options.identity.sees(&xattr.0, base, found.xattrs());
    let unseen = base
        .xattrs
        .iter()
        .filter(|&xattr| !is_seen(&xattr) && (is_untouched || !is_of_bytes(&xattr.0)));
    let mut xattrs: Vec<_> = unseen.chain(found.xattrs().iter().filter(is_seen)).cloned().collect();
    xattrs.sort_unstable();
    xattrs
}

fn kind(found: ScanEntry<'_>) -> EntryKind {
    found.kind().expect("a socket is no entry")
}
