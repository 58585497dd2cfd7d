//! Two records of a tree side by side: what is gone from a directory first, then what is there, each followed by what is
//! below it.

use layer_format::layer::EntryPath;
use layer_format::listing::Place;

use super::upper::{self, UpperForm};
use crate::scan::{Found, LeaveOut};

/// One path in an earlier record, in a scan, or in both.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) path: EntryPath,
    /// How many names the path has.
    pub(super) depth: usize,
    pub(super) base: Option<Place<'a>>,
    pub(super) found: Option<Found<'a>>,
}

/// What a scan shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// A whole tree.
    Whole,
    /// The upper directory of an overlay: of the earlier record all is there still that it doesn't hide.
    Upper(UpperForm),
}

/// A directory whose names are being gone through.
struct Level<'a> {
    /// How long its path is, in bytes.
    length: usize,
    /// Whether all that is there was scanned.
    is_whole: bool,
    base: Option<Place<'a>>,
    found: Found<'a>,
    earlier: Box<dyn Iterator<Item = (&'a [u8], Place<'a>)> + 'a>,
    next: usize,
}

pub(super) struct Pairs<'a> {
    view: View,
    leave_out: Option<LeaveOut<'a>>,
    first: Option<(Option<Place<'a>>, Found<'a>)>,
    way: Vec<Level<'a>>,
    /// Of the pair before.
    path: EntryPath,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(
        base: Option<Place<'a>>,
        found: Found<'a>,
        leave_out: Option<LeaveOut<'a>>,
        view: View,
    ) -> Self {
        Self { view, leave_out, first: Some((base, found)), way: vec![], path: EntryPath::root() }
    }

    /// Gives the pair of something that is there, after which what is in it comes.
    fn enter(&mut self, base: Option<Place<'a>>, found: Found<'a>) -> Pair<'a> {
        let depth = self.way.len();
        if found.is_directory() && !found.is_passed() {
            let base = base.filter(Place::is_directory);
            let earlier: Box<dyn Iterator<Item = _>> = match base {
                Some(base) => Box::new(base.children()),
                None => Box::new(std::iter::empty()),
            };
            let is_whole = match self.view {
                View::Whole => true,
                View::Upper(form) => {
                    let is_below_whole = self.way.last().is_some_and(|above| above.is_whole);
                    base.is_none() || is_below_whole || upper::is_opaque(found, form)
                }
            };
            let length = self.path.as_bytes().len();
            self.way.push(Level { length, is_whole, base, found, earlier, next: 0 });
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
            let (leave_out, view, depth) = (self.leave_out, self.view, self.way.len());
            let level = self.way.last_mut()?;
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
            self.way.pop();
        }
    }
}

impl<'a> Level<'a> {
    fn next_gone(
        &mut self,
        path: &EntryPath,
        leave_out: Option<LeaveOut<'_>>,
        view: View,
    ) -> Option<(&'a [u8], Place<'a>)> {
        let Self { is_whole, found, earlier, .. } = self;
        let is_left = |found: Found<'_>| !found.is_socket() || found.is_passed();
        let is_there = |name: &[u8]| match (view, found.child(name)) {
            (View::Upper(form), child) => {
                let is_covered = child.is_some_and(|child| upper::is_entry(child, form));
                is_covered || !(*is_whole || upper::whites_out(*found, name, form))
            }
            (View::Whole, child) => child.is_some_and(is_left),
        };
        earlier.find(|(name, base)| {
            let is_out = |out: LeaveOut<'_>| out(path.join(name).as_bytes(), base.is_directory());
            !found.scan().has_same(base) && !is_there(name) && !leave_out.is_some_and(is_out)
        })
    }

    fn next_found(&mut self, view: View) -> Option<Found<'a>> {
        loop {
            let found = self.found.nth(self.next)?;
            self.next += 1;
            let is_told = match view {
                View::Whole => !found.is_socket() && !found.is_hidden(),
                View::Upper(form) => upper::is_entry(found, form),
            };
            if is_told {
                return Some(found);
            }
        }
    }
}
