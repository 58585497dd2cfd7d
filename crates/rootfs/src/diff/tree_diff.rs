//! The comparison of an earlier record with a scan, before it is finished.

use std::collections::HashMap;

use layer_format::layer::{EntryKind, EntryPath};
use layer_format::listing::{NameId, Place, Tree};

use super::attributes::{Attribute, Attributes};
use super::compare::Comparer;
use super::links::{LinkedName, LinkedNames};
use super::marks::UpperForm;
use super::options::DiffOptions;
use super::pairs::{Pair, Pairs, View};
use super::unfit::{unfit_kind, unfit_name};
use super::upper;
use crate::error::Error;
use crate::scan::{FileId, Scan, ScanEntry};

/// A comparison of a record with a scan. What the scan has [noted as the same](Scan::has_same) counts as the same.
#[derive(Debug)]
pub struct Diff<'a> {
    pub(super) base: Option<&'a Tree>,
    scan: &'a Scan,
    view: View,
    pub(super) options: DiffOptions<'a>,
    /// What is different about each entry of the scan, in the order of [`Pairs`].
    pub(super) different: Vec<Attributes>,
    pub(super) linked: LinkedNames,
    /// Files of which only the links have changed, and that have a new name: a name of theirs in the base.
    pub(super) untouched: HashMap<FileId, NameId>,
}

/// A file whose bytes may have changed although nothing tells so.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The place among the entries of the scan.
    place: usize,
    /// The path.
    pub path: EntryPath,
    /// What the record has there.
    pub base: Place<'a>,
    /// What the scan has there.
    pub found: ScanEntry<'a>,
}

impl<'a> Diff<'a> {
    /// Compares a scan with a base. Without one everything is new.
    ///
    /// # Errors
    /// [`Error::Unfit`] for something that no layer can hold.
    pub fn new(
        base: Option<&'a Tree>,
        scan: &'a Scan,
        options: DiffOptions<'a>,
    ) -> Result<Self, Error> {
        match Self::compared(base, scan, View::Whole, options) {
            (diff, None) => Ok(diff),
            (_, Some((path, reason))) => Err(Error::Unfit { path, reason }),
        }
    }

    /// Compares a base, with the changes of an upper directory, with the base alone. The time of the root doesn't count, and
    /// names that no layer can have are no error.
    pub fn of_upper(
        base: &'a Tree,
        scan: &'a Scan,
        form: UpperForm,
        options: DiffOptions<'a>,
    ) -> Self {
        let mut diff = Self::compared(Some(base), scan, View::Upper(form), options).0;
        if let Some(root) = diff.different.first_mut() {
            *root = root.without(upper::NO_CHANGE_OF_A_ROOT);
        }
        diff
    }

    /// The comparison; and the first path that no layer can hold, with the reason.
    fn compared(
        base: Option<&'a Tree>,
        scan: &'a Scan,
        view: View,
        options: DiffOptions<'a>,
    ) -> (Self, Option<(EntryPath, &'static str)>) {
        let mut diff = Self {
            base,
            scan,
            view,
            options,
            different: vec![],
            linked: LinkedNames::default(),
            untouched: HashMap::new(),
        };
        let identity = diff.options.identity.clone();
        let comparer = match view {
            View::Whole => Comparer::new(scan, identity),
            View::Upper(_) => Comparer::of_upper(scan, identity),
        };
        let mut different = Vec::with_capacity(scan.n_entries());
        let mut linked = vec![];
        let mut unfit = None;
        for Pair { path, base, found, .. } in diff.pairs() {
            let Some(found) = found else { continue };
            if unfit.is_none() {
                let reason = unfit_name(&path).or_else(|| unfit_kind(found));
                unfit = reason.map(|reason| (path, reason));
            }
            if found.linked_file().is_some() || base.as_ref().is_some_and(Place::is_linked) {
                linked.push(LinkedName {
                    place: different.len(),
                    file: found.file_id(),
                    base: base.map(|base| base.name_id()),
                });
            }
            let attributes = base.map(|base| comparer.compare(&base, found)).unwrap_or_default();
            different.push(attributes.without(diff.options.ignore));
        }
        diff.different = different;
        diff.linked = LinkedNames::new(linked);
        (diff, unfit)
    }

    /// The files that have the same size as in the base, so that their bytes may be compared.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> {
        let found = self.pairs().filter_map(|pair| Some((pair.found?, pair.base, pair.path)));
        found.enumerate().filter_map(|(place, (found, base, path))| {
            let base = base?;
            let kind = base.inode().kind;
            let is_same_size = matches!(kind, EntryKind::File { size, .. } if size > 0)
                && found.kind() == Some(kind);
            is_same_size.then_some(Candidate { place, path, base, found })
        })
    }

    /// Notes that a file's bytes have changed.
    pub fn note_content(&mut self, candidate: &Candidate<'_>) {
        self.different[candidate.place].insert(Attribute::Content);
    }

    pub(super) fn pairs(&self) -> Pairs<'a> {
        let base = self.base.map(Tree::root);
        Pairs::new(base, self.scan.top(), self.options.leave_out, self.view)
    }

    /// What the base has of a file with a new name, if nothing but its links has changed.
    pub(super) fn untouched(&self, file: FileId) -> Option<Place<'a>> {
        self.untouched.get(&file).and_then(|&id| Some(self.base?.place(id)))
    }
}
