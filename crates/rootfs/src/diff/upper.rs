//! The changes in the upper directory of an overlay. All that it holds is a change, in overlayfs' own form
//! ([overlayfs](https://docs.kernel.org/filesystems/overlayfs.html)).
//!
//! | in the upper directory | in the layer |
//! |---|---|
//! | character device 0/0, or an empty file with the attribute `overlay.whiteout` | a whiteout |
//! | a directory with the attribute `overlay.opaque` = `y` | the directory and an opaque whiteout |
//! | `overlay.redirect`, `overlay.metacopy` | refused, since the content is at another path of a lower layer |
//! | anything else | an entry |

use std::collections::HashMap;

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};
use layer_format::listing::{Place, Tree};

use super::attributes::{Attribute, Attributes};
use super::compare::Comparer;
use super::difference::{ChangeKind, Difference};
use super::entry;
use super::marks::{self, UpperForm};
use super::options::DiffOptions;
use super::unfit::unfit_name;
use crate::error::Error;
use crate::scan::{FileId, Scan, ScanEntry};

/// What doesn't count as a change of the root: its time, which is that of the upper directory's making, or of the last change in
/// it, which counts by itself.
pub(super) const NO_CHANGE_OF_A_ROOT: Attributes = Attributes::of(Attribute::Mtime);

/// Iterator over the changes in an upper directory, in the order of a layer.
pub struct UpperChanges<'a> {
    options: DiffOptions<'a>,
    form: UpperForm,
    /// The entry of the root, if it has changed.
    root: Option<Entry>,
    /// The directories down to the current one.
    levels: Vec<Level<'a>>,
    /// The path of what was looked at last.
    path: EntryPath,
    /// The first path of each file with several names.
    first: HashMap<FileId, EntryPath>,
}

/// A directory whose changes are being given: its opaque marker, its whiteouts, then its entries.
struct Level<'a> {
    /// The length of its path, in bytes.
    length: usize,
    found: ScanEntry<'a>,
    phase: Phase,
    /// The place of the next entry.
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Marker,
    Whiteouts,
    Entries,
}

impl std::fmt::Debug for UpperChanges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpperChanges").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a> UpperChanges<'a> {
    /// The changes in a scanned upper directory. The directory itself, which is the root, is one if its owner, permissions or
    /// attributes differ from those in `base`, of which only the root is needed. An item is [`Error::Unfit`] if no layer can hold
    /// the change.
    pub fn new(
        scan: &'a Scan,
        form: UpperForm,
        base: Option<&Tree>,
        options: DiffOptions<'a>,
    ) -> Self {
        let path = EntryPath::root();
        let levels = vec![Level::new(&path, scan.top())];
        let root = base.and_then(|base| changed_root(base.root(), scan, &options));
        Self { options, form, root, levels, path, first: HashMap::new() }
    }

    fn entry(&mut self, path: EntryPath, found: ScanEntry<'a>) -> Result<Difference<'a>, Error> {
        refuse(&path, found)?;
        if found.is_directory() && !found.is_passed() {
            self.levels.push(Level::new(&path, found));
        }
        let mut entry: Entry = entry::added(path, found, &self.options);
        entry.xattrs.retain(|(name, _)| !marks::is_mark_name(name));
        let target = found.linked_file().and_then(|inode| {
            let first = self.first.entry(inode).or_insert_with(|| entry.path.clone());
            (*first != entry.path).then(|| first.clone())
        });
        let content = match target {
            Some(target) => {
                entry.kind = EntryKind::Hardlink { target };
                entry.xattrs.clear();
                None
            }
            None => matches!(entry.kind, EntryKind::File { .. }).then_some(found),
        };
        Ok(Difference { kind: ChangeKind::Added, change: Change::Add(entry), content })
    }
}

impl<'a> Iterator for UpperChanges<'a> {
    type Item = Result<Difference<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(root) = self.root.take() {
                let kind = ChangeKind::Changed(Attributes::default());
                return Some(Ok(Difference { kind, change: Change::Add(root), content: None }));
            }
            let level = self.levels.last_mut()?;
            let Some(found) = level.step() else {
                self.levels.pop();
                continue;
            };
            self.path.truncate(level.length);
            let form = self.form;
            let told =
                |change| Some(Ok(Difference { kind: ChangeKind::Removed, change, content: None }));
            match level.phase {
                Phase::Marker if marks::is_opaque(found, form) => {
                    return told(Change::Opaque(self.path.clone()));
                }
                Phase::Whiteouts => {
                    if let Some(name) = marks::whited_out(found, form) {
                        return told(Change::Remove(self.path.join(name)));
                    }
                }
                Phase::Entries if marks::is_entry(found, form) => {
                    self.path.push(found.name());
                    return Some(self.entry(self.path.clone(), found));
                }
                Phase::Marker | Phase::Entries => {}
            }
        }
    }
}

impl<'a> Level<'a> {
    fn new(path: &EntryPath, found: ScanEntry<'a>) -> Self {
        Self { length: path.as_bytes().len(), found, phase: Phase::Marker, next: 0 }
    }

    /// What is looked at next.
    fn step(&mut self) -> Option<ScanEntry<'a>> {
        loop {
            let found = match self.phase {
                Phase::Marker => Some(self.found).filter(|_| self.next == 0),
                Phase::Whiteouts | Phase::Entries => self.found.nth(self.next),
            };
            self.next += 1;
            if found.is_some() || self.phase == Phase::Entries {
                return found;
            }
            self.next = 0;
            self.phase = match self.phase {
                Phase::Marker => Phase::Whiteouts,
                Phase::Whiteouts | Phase::Entries => Phase::Entries,
            };
        }
    }
}

/// The entry of the root, if it has changed.
fn changed_root(base: Place<'_>, scan: &Scan, options: &DiffOptions<'_>) -> Option<Entry> {
    // Nothing tells the attributes of a root that no layer describes.
    base.layer()?;
    let comparer = Comparer::of_upper(scan, options.identity.clone());
    let different = comparer.compare(&base, scan.top()).without(options.ignore);
    if different.without(NO_CHANGE_OF_A_ROOT).is_empty() {
        return None;
    }
    let mut entry =
        entry::changed(EntryPath::root(), &base.inode(), scan.top(), different, options);
    entry.xattrs.retain(|(name, _)| !marks::is_mark_name(name));
    Some(entry)
}

/// Refuses what overlayfs has in another place, and what no layer can hold.
fn refuse(path: &EntryPath, found: ScanEntry<'_>) -> Result<(), Error> {
    let has = |wanted: &[u8]| marks::overlay_value(found, wanted).is_some();
    let reason = if let Some(reason) = unfit_name(path) {
        reason
    } else if has(b"redirect") {
        "overlayfs has moved it here and left its contents where they were (redirect_dir)"
    } else if has(b"metacopy") {
        "overlayfs has left its content in a lower layer (metacopy)"
    } else if found.xattrs().iter().any(|(name, _)| name.ends_with(b".override_stat")) {
        "fuse-overlayfs keeps its owner and mode in an attribute (xattr_permissions)"
    } else {
        return Ok(());
    };
    Err(Error::Unfit { path: path.clone(), reason })
}
