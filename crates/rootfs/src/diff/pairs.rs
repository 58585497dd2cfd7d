//! The paths of an earlier record and of a scan, side by side. What was removed from a directory comes first, then what is
//! there. Each is followed by what is below it.

use layer_format::layer::EntryPath;
use layer_format::listing::Place;

use super::marks::{self, UpperForm};
use crate::scan::{LeaveOut, ScanEntry};

/// One path in an earlier record, in a scan, or in both.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) path: EntryPath,
    /// The number of names in the path.
    pub(super) depth: usize,
    pub(super) base: Option<Place<'a>>,
    pub(super) found: Option<ScanEntry<'a>>,
}

/// What a scan shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// A whole tree.
    Whole,
    /// The upper directory of an overlay. All of the earlier record that it doesn't hide is still there.
    Upper(UpperForm),
}

/// A directory whose names are being given.
struct Level<'a> {
    /// The length of its path, in bytes.
    length: usize,
    /// Whether the scan shows all that is there.
    is_whole: bool,
    base: Option<Place<'a>>,
    found: ScanEntry<'a>,
    earlier: Box<dyn Iterator<Item = (&'a [u8], Place<'a>)> + 'a>,
    next: usize,
}

/// Iterator over all pairs.
pub(super) struct Pairs<'a> {
    view: View,
    leave_out: Option<LeaveOut<'a>>,
    /// The roots, before they are given.
    first: Option<(Option<Place<'a>>, ScanEntry<'a>)>,
    /// The directories down to the current one.
    levels: Vec<Level<'a>>,
    /// The path of the pair before.
    path: EntryPath,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(
        base: Option<Place<'a>>,
        found: ScanEntry<'a>,
        leave_out: Option<LeaveOut<'a>>,
        view: View,
    ) -> Self {
        Self {
            view,
            leave_out,
            first: Some((base, found)),
            levels: vec![],
            path: EntryPath::root(),
        }
    }

    /// The pair of something that the scan has. What is in it comes next.
    fn enter(&mut self, base: Option<Place<'a>>, found: ScanEntry<'a>) -> Pair<'a> {
        let depth = self.levels.len();
        if found.is_directory() && !found.is_passed() {
            let base = base.filter(Place::is_directory);
            let earlier: Box<dyn Iterator<Item = _>> = match base {
                Some(base) => Box::new(base.children()),
                None => Box::new(std::iter::empty()),
            };
            let is_whole = match self.view {
                View::Whole => true,
                View::Upper(form) => {
                    let is_below_whole = self.levels.last().is_some_and(|above| above.is_whole);
                    is_below_whole || marks::is_opaque(found, form)
                }
            };
            let length = self.path.as_bytes().len();
            self.levels.push(Level { length, is_whole, base, found, earlier, next: 0 });
        }
        Pair { path: self.path.clone(), depth, base, found: Some(found) }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        if let Some((base, found)) = self.first.take() {
            return Some(self.enter(base, found));
        }
        loop {
            let leave_out = self.leave_out;
            let view = self.view;
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            self.path.truncate(level.length);
            if let Some((name, base)) = level.next_gone(&self.path, leave_out, view) {
                let path = self.path.join(name);
                return Some(Pair { path, depth, base: Some(base), found: None });
            }
            if let Some(found) = level.next_found(view) {
                self.path.push(found.name());
                let base = level.base.and_then(|base| base.child(found.name()));
                return Some(self.enter(base, found));
            }
            self.levels.pop();
        }
    }
}

impl<'a> Level<'a> {
    /// The next name of the earlier record that the scan lacks.
    fn next_gone(
        &mut self,
        path: &EntryPath,
        leave_out: Option<LeaveOut<'_>>,
        view: View,
    ) -> Option<(&'a [u8], Place<'a>)> {
        let Self { is_whole, found, earlier, .. } = self;
        let is_left = |found: ScanEntry<'_>| !found.is_socket() || found.is_passed();
        let is_there = |name: &[u8]| match (view, found.child(name)) {
            (View::Upper(form), child) => {
                let is_covered = child.is_some_and(|child| marks::is_entry(child, form));
                is_covered || !(*is_whole || marks::whites_out(*found, name, form))
            }
            (View::Whole, child) => child.is_some_and(is_left),
        };
        earlier.find(|(name, base)| {
            let is_out = |out: LeaveOut<'_>| out(path.join(name).as_bytes(), base.is_directory());
            !found.scan().has_same(base) && !is_there(name) && !leave_out.is_some_and(is_out)
        })
    }

    /// The next entry of the scan.
    fn next_found(&mut self, view: View) -> Option<ScanEntry<'a>> {
        loop {
            let found = self.found.nth(self.next)?;
            self.next += 1;
            let is_told = match view {
                View::Whole => !found.is_socket() && !found.is_hidden(),
                View::Upper(form) => marks::is_entry(found, form),
            };
            if is_told {
                return Some(found);
            }
        }
    }
}
