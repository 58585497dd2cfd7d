//! What has changed, one after the other, in the order of a layer.

use std::collections::{HashMap, VecDeque};

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};
use layer_format::listing::Place;

use super::attributes::Attributes;
use super::pairs::{Pair, Pairs};
use super::{Diff, compare};
use crate::scan::{Found, Inode};

/// Something that belongs into a layer.
#[derive(Debug)]
pub struct Difference<'a> {
    /// What has happened.
    pub what: What,
    /// What a layer says about it.
    pub change: Change,
    /// Where the content is, if the layer has it.
    pub content: Option<Found<'a>>,
}

/// What has happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// These are different.
    Changed(Attributes),
    /// It is gone.
    Removed,
    /// Nothing; but something below it has changed.
    Above,
}

/// A directory on the way, not yet told of.
#[derive(Debug)]
struct Above<'a> {
    depth: usize,
    base: Place<'a>,
}

/// A difference that is told after the directories above it.
#[derive(Debug)]
struct Waiting<'a> {
    what: What,
    change: Change,
    content: Option<Found<'a>>,
}

/// Iterates over all that has changed.
pub struct Differences<'d, 'a> {
    diff: &'d Diff<'a>,
    pairs: Pairs<'a>,
    place: usize,
    above: VecDeque<Above<'a>>,
    /// Of files with several names, the first that was told.
    first: HashMap<Inode, EntryPath>,
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
            // Nothing about it has changed, so it has its path in the base.
            let change = Change::Add(compare::unchanged(base.path(), base.inode()));
            return Some(Difference { what: What::Above, change, content: None });
        }
        let Waiting { what, change, content } = self.waiting.take()?;
        Some(Difference { what, change, content })
    }
}

impl<'d, 'a> Differences<'d, 'a> {
    pub(super) fn new(diff: &'d Diff<'a>) -> Self {
        let (pairs, above, first) = (diff.pairs(), VecDeque::new(), HashMap::new());
        Self { diff, pairs, place: 0, above, first, waiting: None }
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
        self.tell(What::Removed, Change::Remove(path), None);
    }

    fn added(&mut self, path: EntryPath, found: Found<'a>) {
        let options = &self.diff.options;
        let untouched = found.linked_inode().and_then(|inode| self.diff.untouched(inode));
        let entry = match untouched {
            Some(base) => {
                compare::changed(path, &base.inode(), found, Attributes::default(), options)
            }
            None => compare::added(path, found, options),
        };
        self.tell_entry(What::Added, entry, found);
    }

    fn changed(
        &mut self,
        path: EntryPath,
        base: Place<'a>,
        found: Found<'a>,
        different: Attributes,
    ) {
        let options = &self.diff.options;
        let entry = if different.has(super::Attribute::Type) {
            compare::added(path, found, options)
        } else {
            compare::changed(path, &base.inode(), found, different, options)
        };
        self.tell_entry(What::Changed(different), entry, found);
    }

    fn tell_entry(&mut self, what: What, mut entry: Entry, found: Found<'a>) {
        let first = found.linked_inode().and_then(|inode| {
            let first = self.first.entry(inode).or_insert_with(|| entry.path.clone());
            (*first != entry.path).then(|| first.clone())
        });
        let content = match first {
            Some(target) => {
                // What a link's own header says doesn't count; the attributes are the target's.
                entry.kind = EntryKind::Hardlink { target };
                entry.xattrs.clear();
                None
            }
            None => matches!(entry.kind, EntryKind::File { .. }).then_some(found),
        };
        self.tell(what, Change::Add(entry), content);
    }

    fn tell(&mut self, what: What, change: Change, content: Option<Found<'a>>) {
        self.waiting = Some(Waiting { what, change, content });
    }
}
