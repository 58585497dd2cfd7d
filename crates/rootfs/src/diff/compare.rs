//! Compares one path in two records.

use std::os::fd::AsFd as _;

use layer_format::layer::EntryKind;
use layer_format::listing::{Inode, Place, Tree};

use super::attributes::{Attribute, Attributes};
use super::clamp::Clamp;
use super::identity::{Identity, Permissions};
use super::marks;
use crate::powers;
use crate::root::Root;
use crate::scan::{IsSame, Known, Scan, ScanEntry, Seen};
use crate::xattrs::{Xattr, is_of_bytes};

/// The attributes that tell that a file's bytes may have changed.
pub(super) const OF_CONTENT: [Attribute; 4] =
    [Attribute::Type, Attribute::Size, Attribute::Content, Attribute::Mtime];

/// Compares what a record and a scan have at a path.
#[derive(Debug)]
pub struct Comparer<'a> {
    identity: Identity,
    clamp: Clamp<'a>,
    /// Whether an extended attribute of this name is a mark of overlayfs and none of the file's own.
    is_mark: fn(&[u8]) -> bool,
}

impl<'a> Comparer<'a> {
    /// For a scan of the tree that this process made of the record, or could have made. `identity` says which attributes of the
    /// scan can be relied on.
    pub fn new(scan: &'a Scan, identity: Identity) -> Self {
        Self { identity, clamp: Clamp::new(scan.root().as_fd()), is_mark: |_| false }
    }

    /// For an upper directory, whose marks don't count as attributes.
    pub(super) fn of_upper(scan: &'a Scan, identity: Identity) -> Self {
        Self { is_mark: marks::is_mark_name, ..Self::new(scan, identity) }
    }

    /// For a comparison that can't ask the file system. Only what is certainly the same counts as the same.
    pub(super) fn without_scan(identity: Identity) -> Self {
        Self { identity, clamp: Clamp::exact(), is_mark: |_| false }
    }

    /// Whether the scan may lack this without it having been removed, since this process can't make it.
    pub fn may_be_missing(&self, base: &Place<'_>) -> bool {
        self.identity.may_be_missing(&base.inode().kind)
    }

    /// The attributes that are different.
    pub fn compare(&self, base: &Place<'_>, found: ScanEntry<'_>) -> Attributes {
        // Nothing tells the attributes of a root that no layer describes, nor those of a directory that a mount hides.
        if base.layer().is_none() || (found.is_passed() && base.is_directory()) {
            return Attributes::default();
        }
        self.compare_inodes(&base.inode(), found.seen())
    }

    /// The same for an inode of the record, and all that a scan keeps of one.
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
        if base.mode & 0o7777 != meant_mode(base, found, identity) && !is_link {
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

    /// Whether an extended attribute that can't be seen here was lost together with the bytes that it is about. `different` is
    /// what [`compare`](Self::compare) gave.
    pub fn has_lost_unseen(
        &self,
        base: &Place<'_>,
        found: ScanEntry<'_>,
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

/// The attributes that two records have differently at one path. Its hard links are not compared.
pub fn compare_records(before: &Inode, after: &Inode) -> Attributes {
    let mut different = Attributes::default();
    if let Some(attribute) = different_kind(&before.kind, &after.kind) {
        different.insert(attribute);
        if attribute == Attribute::Type {
            return different;
        }
    }
    let is_link = matches!(before.kind, EntryKind::Symlink { .. });
    if before.mode != after.mode && !is_link {
        different.insert(Attribute::Mode);
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        different.insert(Attribute::Owner);
    }
    if before.mtime != after.mtime {
        different.insert(Attribute::Mtime);
    }
    if before.xattrs != after.xattrs {
        different.insert(Attribute::Xattrs);
    }
    different
}

/// The attribute that is different if the kinds are.
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

/// The mode that is meant by the one that was found. Special bits that the file could not have here are those of the base.
pub(super) fn meant_mode(base: &Inode, found: Seen<'_>, identity: &Identity) -> u32 {
    if !matches!(base.kind, EntryKind::File { .. }) {
        return found.mode();
    }
    let earlier = Permissions { mode: base.mode & 0o7777, owner: (base.uid, base.gid) };
    identity.mode(Permissions { mode: found.mode(), owner: found.owner() }, earlier)
}

impl<'a> Known<'a> {
    /// An earlier record of the tree at `root`, which this process made of it, or could have made. The attributes `ignore` may
    /// be different.
    pub fn new(tree: &'a Tree, root: &Root, ignore: Attributes) -> Self {
        // The identity depends on the owners of all files, which are not known yet. What is the same by the strictest one is the
        // same by any.
        if powers::may_make_up_owners(root) {
            return Self::with(tree, Identity::REAL, ignore);
        }
        Self::with(tree, Identity::of_process(root), ignore)
    }

    fn with(tree: &'a Tree, identity: Identity, ignore: Attributes) -> Self {
        // The file system is asked about times later, when all files are compared.
        let comparer = Comparer::without_scan(identity);
        let is_same: IsSame<'a> = Box::new(move |base, found| {
            comparer.compare_inodes(base, found).without(ignore).is_empty()
        });
        Self { tree, is_same }
    }
}
