//! One path in two records: what is different, and what a layer has to say of it.

use layer_format::layer::{Entry, EntryKind, EntryPath};
use layer_format::listing::Inode;

use super::DiffOptions;
use super::attributes::{Attribute, Attributes};
use super::clamp::Clamp;
use crate::scan::Found;
use crate::xattrs::{Xattr, is_of_images};

/// What tells that a file's bytes may be others.
const OF_CONTENT: [Attribute; 4] =
    [Attribute::Type, Attribute::Size, Attribute::Content, Attribute::Mtime];

/// What has become different. Attributes that `is_mark` says so of are none of the file's own.
pub(super) fn compare(
    base: &Inode,
    found: Found<'_>,
    options: &DiffOptions<'_>,
    (clamp, is_mark): (&Clamp<'_>, fn(&[u8]) -> bool),
) -> Attributes {
    let mut different = Attributes::default();
    if let Some(attribute) = different_kind(&base.kind, found) {
        different.insert(attribute);
        if attribute == Attribute::Type {
            return different;
        }
    }
    let is_link = matches!(base.kind, EntryKind::Symlink { .. });
    if base.mode & 0o7777 != mode(base, found, options) && !is_link {
        different.insert(Attribute::Mode);
    }
    if options.identity.owner(found.owner(), (base.uid, base.gid)) != (base.uid, base.gid) {
        different.insert(Attribute::Owner);
    }
    if !clamp.is_same(base.mtime, found.mtime()) {
        different.insert(Attribute::Mtime);
    }
    let counts = |xattr: &&Xattr| options.identity.sees(&xattr.0, base, found.xattrs());
    let is_own = |xattr: &&Xattr| counts(xattr) && !is_mark(&xattr.0);
    if !base.xattrs.iter().filter(counts).eq(found.xattrs().iter().filter(is_own)) {
        different.insert(Attribute::Xattrs);
    }
    different.without(options.ignore)
}

fn different_kind(base: &EntryKind, found: Found<'_>) -> Option<Attribute> {
    let kind = found.kind()?;
    let attribute = match (base, &kind) {
        (EntryKind::File { .. }, EntryKind::File { .. }) => Attribute::Size,
        (EntryKind::Symlink { .. }, EntryKind::Symlink { .. }) => Attribute::Target,
        (EntryKind::CharDevice { .. }, EntryKind::CharDevice { .. })
        | (EntryKind::BlockDevice { .. }, EntryKind::BlockDevice { .. }) => Attribute::Device,
        _ => Attribute::Type,
    };
    (*base != kind).then_some(attribute)
}

/// What a layer says of something new.
pub(super) fn added(path: EntryPath, found: Found<'_>, options: &DiffOptions<'_>) -> Entry {
    let default = options.default_owner;
    let (uid, gid) = if options.identity.is_mine_anybodys() {
        options.identity.owner(found.owner(), default.unwrap_or_default())
    } else {
        default.unwrap_or_else(|| found.owner())
    };
    let kind = kind(found);
    let mode = mode_of(&kind, found);
    let can_be = |xattr: &&Xattr| options.identity.can_name(&xattr.0, &xattr.1);
    let xattrs = found.xattrs().iter().filter(can_be).cloned().collect();
    Entry { path, kind, mode, uid, gid, mtime: found.mtime(), xattrs }
}

/// What a layer says of something that was there before: of all that isn't different, what was said before.
pub(super) fn changed(
    path: EntryPath,
    base: &Inode,
    found: Found<'_>,
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
        mode(base, found, options)
    } else {
        base.mode & 0o7777
    };
    let mtime = if different.has(Attribute::Mtime) { found.mtime() } else { base.mtime };
    let xattrs = xattrs(base, found, different, options);
    Entry { path, kind, mode, uid, gid, mtime, xattrs }
}

/// What a layer says of a directory that only stands above something.
pub(super) fn unchanged(path: EntryPath, base: Inode) -> Entry {
    let Inode { kind, mode, uid, gid, mtime, xattrs, .. } = base;
    Entry { path, kind, mode, uid, gid, mtime, xattrs: xattrs.into_vec() }
}

/// Attributes that can't be seen here are those of the base. What speaks about a file's bytes, capabilities and signatures,
/// goes with them, as far as size and time tell that they are others.
fn xattrs(
    base: &Inode,
    found: Found<'_>,
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

fn is_of_bytes(name: &[u8]) -> bool {
    name.starts_with(b"security.") && is_of_images(name)
}

/// The mode that is meant by what was found: special bits that a file could not have here are the base's.
fn mode(base: &Inode, found: Found<'_>, options: &DiffOptions<'_>) -> u32 {
    if !matches!(base.kind, EntryKind::File { .. }) {
        return found.mode();
    }
    let earlier = (base.mode & 0o7777, (base.uid, base.gid));
    options.identity.mode((found.mode(), found.owner()), earlier)
}

fn kind(found: Found<'_>) -> EntryKind {
    found.kind().expect("a socket is no entry")
}

fn mode_of(kind: &EntryKind, found: Found<'_>) -> u32 {
    if matches!(kind, EntryKind::Symlink { .. }) { 0o777 } else { found.mode() }
}
