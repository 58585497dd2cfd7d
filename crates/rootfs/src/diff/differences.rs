//! The differences of a finished comparison, in the order of a layer.

use std::collections::{HashMap, VecDeque};

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};
use layer_format::listing::Place;

use super::attributes::{Attribute, Attributes};
use super::difference::{ChangeKind, Difference};
use super::entry;
use super::pairs::{Pair, Pairs};
use super::tree_diff::Diff;
use crate::scan::{FileId, ScanEntry};

/// A comparison that is finished, so that nothing can be noted any more.
#[derive(Debug)]
pub struct Finished<'a>(Diff<'a>);

impl<'a> Finished<'a> {
    /// All differences, in the order of a layer.
    pub fn differences(&self) -> Differences<'_, 'a> {
        Differences::new(&self.0)
    }
}

impl<'a> Diff<'a> {
    /// Ends the comparison.
    pub fn finish(mut self) -> Finished<'a> {
        let linked = std::mem::take(&mut self.linked);
        self.untouched = linked.untouched(&self.different);
        if !self.options.ignore.has(Attribute::Links) {
            linked.mark_changed(self.base, &mut self.different);
        }
        Finished(self)
    }
}

/// A directory above what comes next. It is given only if something below it has changed.
#[derive(Debug)]
struct Above<'a> {
    /// The number of names in its path.
    depth: usize,
    base: Place<'a>,
}

/// A difference that is given after the directories above it.
#[derive(Debug)]
struct Waiting<'a> {
    kind: ChangeKind,
    change: Change,
    content: Option<ScanEntry<'a>>,
}

/// Iterator over all differences.
pub struct Differences<'d, 'a> {
    diff: &'d Diff<'a>,
    pairs: Pairs<'a>,
    /// The place of the next entry among those of the scan.
    place: usize,
    /// The directories above the current pair that were not given yet.
    above: VecDeque<Above<'a>>,
    /// The first path that was given of each file with several names.
    first: HashMap<FileId, EntryPath>,
    waiting: Option<Waiting<'a>>,
}

impl std::fmt::Debug for Differences<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Differences").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<'a> Iterator for Differences<'_, 'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        while self.waiting.is_none() {
            let pair = self.pairs.next()?;
            self.take(pair);
        }
        if let Some(Above { base, .. }) = self.above.pop_front() {
            // Since nothing about it has changed, it has the same path in the base.
            let change = Change::Add(entry::unchanged(base.path(), base.inode()));
            return Some(Difference { kind: ChangeKind::Above, change, content: None });
        }
        let Waiting { kind, change, content } = self.waiting.take()?;
        Some(Difference { kind, change, content })
    }
}

impl<'d, 'a> Differences<'d, 'a> {
    pub(super) fn new(diff: &'d Diff<'a>) -> Self {
        Self {
            diff,
            pairs: diff.pairs(),
            place: 0,
            above: VecDeque::new(),
            first: HashMap::new(),
            waiting: None,
        }
    }

    fn take(&mut self, Pair { path, depth, base, found }: Pair<'a>) {
        while self.above.back().is_some_and(|above| above.depth >= depth) {
            self.above.pop_back();
        }
        let Some(found) = found else { return self.removed(path, base) };
        let different = self.diff.different[self.place];
        self.place += 1;
        match base {
            None => self.added(path, found),
            Some(base) if different.is_empty() => {
                if found.is_directory() && base.layer().is_some() {
                    self.above.push_back(Above { depth, base });
                }
            }
            Some(base) => self.changed(path, base, found, different),
        }
    }

    fn removed(&mut self, path: EntryPath, base: Option<Place<'a>>) {
        let identity = &self.diff.options.identity;
        if base.is_some_and(|base| identity.may_be_missing(&base.inode().kind)) {
            return;
        }
        self.tell(ChangeKind::Removed, Change::Remove(path), None);
    }

    fn added(&mut self, path: EntryPath, found: ScanEntry<'a>) {
        let options = &self.diff.options;
        let untouched = found.linked_file().and_then(|inode| self.diff.untouched(inode));
        let entry = match untouched {
            Some(base) => {
                entry::changed(path, &base.inode(), found, Attributes::default(), options)
            }
            None => entry::added(path, found, options),
        };
        self.tell_entry(ChangeKind::Added, entry, found);
    }

    fn changed(
        &mut self,
        path: EntryPath,
        base: Place<'a>,
        found: ScanEntry<'a>,
        different: Attributes,
    ) {
        let options = &self.diff.options;
        let entry = if different.has(Attribute::Type) {
            entry::added(path, found, options)
        } else {
            entry::changed(path, &base.inode(), found, different, options)
        };
        self.tell_entry(ChangeKind::Changed(different), entry, found);
    }

    fn tell_entry(&mut self, kind: ChangeKind, mut entry: Entry, found: ScanEntry<'a>) {
        let first = found.linked_file().and_then(|inode| {
            let first = self.first.entry(inode).or_insert_with(|| entry.path.clone());
            (*first != entry.path).then(|| first.clone())
        });
        let content = match first {
            Some(target) => {
                // The attributes in a link's own header don't count, since those of the target do.
                entry.kind = EntryKind::Hardlink { target };
                entry.xattrs.clear();
                None
            }
            None => matches!(entry.kind, EntryKind::File { .. }).then_some(found),
        };
        self.tell(kind, Change::Add(entry), content);
    }

    fn tell(&mut self, kind: ChangeKind, change: Change, content: Option<ScanEntry<'a>>) {
        self.waiting = Some(Waiting { kind, change, content });
    }
}
