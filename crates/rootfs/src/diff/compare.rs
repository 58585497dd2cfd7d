//! One path in two records: what is different, and what a layer has to say of it.

use std::os::fd::AsFd as _;

use layer_format::layer::{Entry, EntryKind, EntryPath};
use layer_format::listing::{Inode, Place};

use super::attributes::{Attribute, Attributes};
use super::clamp::Clamp;
use super::identity::Identity;
use super::{DiffOptions, upper};
use crate::scan::{Found, Scan, Seen};
use crate::xattrs::{Xattr, is_of_bytes};

/// What tells that a file's bytes may be others.
const OF_CONTENT: [Attribute; 4] =
    [Attribute::Type, Attribute::Size, Attribute::Content, Attribute::Mtime];

/// Tells what is different between what a record says of a name and what a scan has found there.
#[derive(Debug)]
pub struct Comparer<'a> {
    identity: Identity,
    clamp: Clamp<'a>,
    /// Says which extended attributes are none of a file's own.
    is_mark: fn(&[u8]) -> bool,
}

impl<'a> Comparer<'a> {
    /// For a scan of what this process made of a record, or would have: `identity` says what it can tell.
    pub fn new(scan: &'a Scan, identity: Identity) -> Self {
        Self { identity, clamp: Clamp::new(scan.root().as_fd()), is_mark: |_| false }
    }

    /// For an upper directory, whose marks are no attributes.
    pub(super) fn of_upper(scan: &'a Scan, identity: Identity) -> Self {
        Self { is_mark: upper::is_mark_name, ..Self::new(scan, identity) }
    }

    /// For what nothing more can be asked about: only what is surely the same is.
    pub(super) fn without_scan(identity: Identity) -> Self {
        Self { identity, clamp: Clamp::exact(), is_mark: |_| false }
    }

    /// Whether this may be missing without having been removed.
    pub fn may_be_missing(&self, base: &Place<'_>) -> bool {
        self.identity.may_be_missing(&base.inode().kind)
    }

    /// What has become different.
    pub fn compare(&self, base: &Place<'_>, found: Found<'_>) -> Attributes {
        // Nothing says what a root was that no layer describes, or what a mount hides.
        if base.layer().is_none() || (found.is_passed() && base.is_directory()) {
            return Attributes::default();
        }
        self.compare_inodes(&base.inode(), found.seen())
    }

    pub(super) fn compare_inodes(&self, base: &Inode, found: Seen<'_>) -> Attributes {
        let identity = &self.identity;
        let mut different = Attributes::default();
        if let Some(attribute) = found.kind().and_then(|kind| different_kind(&base.kind, &kind)) {
            different.insert(attribute);
            if attribute == Attribute::Type {
                return different;
            }
        }
        let is_link = matches!(base.kind, EntryKind::Symlink { .. });
        if base.mode & 0o7777 != mode(base, found, identity) && !is_link {
            different.insert(Attribute::Mode);
        }
        if identity.owner(found.owner(), (base.uid, base.gid)) != (base.uid, base.gid) {
            different.insert(Attribute::Owner);
        }
        if !self.clamp.is_same(base.mtime, found.mtime()) {
            different.insert(Attribute::Mtime);
        }
        let counts = |xattr: &&Xattr| identity.sees(&xattr.0, base, found.xattrs());
        let is_own = |xattr: &&Xattr| counts(xattr) && !(self.is_mark)(&xattr.0);
        if !base.xattrs.iter().filter(counts).eq(found.xattrs().iter().filter(is_own)) {
            different.insert(Attribute::Xattrs);
        }
        different
    }

    /// Whether an attribute that can't be seen here has gone with the bytes that it speaks about.
    pub fn has_lost_unseen(
        &self,
        base: &Place<'_>,
        found: Found<'_>,
        different: Attributes,
    ) -> bool {
        let base = base.inode();
        let is_lost = |(name, _): &Xattr| {
            is_of_bytes(name) && !self.identity.sees(name, &base, found.xattrs())
        };
        let is_touched = different.has_any(&OF_CONTENT) && !found.is_directory();
        is_touched && base.xattrs.iter().any(is_lost)
    }
}

/// What two records have differently of one path, its other names aside.
pub fn compare_records(before: &Inode, after: &Inode) -> Attributes {
    let mut different = Attributes::default();
    if let Some(attribute) = different_kind(&before.kind, &after.kind) {
        different.insert(attribute);
        if attribute == Attribute::Type {
            return different;
        }
    }
    let is_link = matches!(before.kind, EntryKind::Symlink { .. });
    let pairs = [
        (Attribute::Mode, before.mode != after.mode && !is_link),
        (Attribute::Owner, (before.uid, before.gid) != (after.uid, after.gid)),
        (Attribute::Mtime, before.mtime != after.mtime),
        (Attribute::Xattrs, before.xattrs != after.xattrs),
    ];
    pairs.into_iter().filter(|(_, is)| *is).for_each(|(attribute, _)| different.insert(attribute));
    different
}

fn different_kind(before: &EntryKind, after: &EntryKind) -> Option<Attribute> {
    let attribute = match (before, after) {
        (EntryKind::File { .. }, EntryKind::File { .. }) => Attribute::Size,
        (EntryKind::Symlink { .. }, EntryKind::Symlink { .. }) => Attribute::Target,
        (EntryKind::CharDevice { .. }, EntryKind::CharDevice { .. })
        | (EntryKind::BlockDevice { .. }, EntryKind::BlockDevice { .. }) => Attribute::Device,
        _ => Attribute::Type,
    };
    (before != after).then_some(attribute)
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
        mode(base, found.seen(), &options.identity)
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

/// The mode that is meant by what was found: special bits that a file could not have here are the base's.
fn mode(base: &Inode, found: Seen<'_>, identity: &Identity) -> u32 {
    if !matches!(base.kind, EntryKind::File { .. }) {
        return found.mode();
    }
    let earlier = (base.mode & 0o7777, (base.uid, base.gid));
    identity.mode((found.mode(), found.owner()), earlier)
}

fn kind(found: Found<'_>) -> EntryKind {
    found.kind().expect("a socket is no entry")
}

fn mode_of(kind: &EntryKind, found: Found<'_>) -> u32 {
    if matches!(kind, EntryKind::Symlink { .. }) { 0o777 } else { found.mode() }
}
