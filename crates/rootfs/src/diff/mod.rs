//! An earlier record of a tree and a scan of it: what has changed, as a layer says it.
//!
//! | found | in the layer |
//! |---|---|
//! | something new | an entry |
//! | something gone | a whiteout, before all entries of its directory |
//! | other attributes or content | an entry with all attributes |
//! | another type | an entry, which takes the place of what was there with all below it |
//! | hard links that have changed in any way | the first name with the content, and links to it |
//! | a directory with any of these below it | an entry, changed or not, for programs that unpack each layer apart |
//!
//! Attributes that are no different are taken from the earlier record, so that what a file system or a user's rights can't
//! hold isn't lost.

mod attributes;
mod clamp;
mod compare;
mod differences;
mod identity;
mod known;
mod links;
mod pairs;
mod upper;

use std::collections::HashMap;

use layer_format::layer::{EntryKind, EntryPath, INCOMPLETE, is_reserved_name};
use layer_format::listing::{NameId, Place, Tree};

pub use attributes::{Attribute, Attributes};
pub use compare::{Comparer, compare_records};
pub use differences::{Difference, Differences, What};
pub use identity::Identity;
pub use upper::{Upper, UpperForm};

use self::links::{LinkedName, LinkedNames};
use self::pairs::{Pair, Pairs, View};
use crate::error::Error;
use crate::scan::{self, Found, LeaveOut, Scan};

/// What a user decides.
#[derive(Clone)]
pub struct DiffOptions<'a> {
    /// What may be different without being a change.
    pub ignore: Attributes,
    /// What the tree could be made to tell.
    pub identity: Identity,
    /// Whose new files are.
    pub default_owner: Option<(u32, u32)>,
    /// What was left out of the scan.
    pub leave_out: Option<LeaveOut<'a>>,
}

impl std::fmt::Debug for DiffOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ignore, identity, default_owner, .. } = self;
        f.debug_struct("DiffOptions")
            .field("ignore", ignore)
            .field("identity", identity)
            .field("default_owner", default_owner)
            .finish_non_exhaustive()
    }
}

/// What has changed between a record and a scan. What the scan has [noted as the same](Scan::has_same) is.
#[derive(Debug)]
pub struct Diff<'a> {
    base: Option<&'a Tree>,
    scan: &'a Scan,
    view: View,
    options: DiffOptions<'a>,
    /// Of each entry of the scan, in the order of [`Pairs`], what is different.
    different: Vec<Attributes>,
    linked: LinkedNames,
    /// What a plain user's tree can't tell of an inode whose first name is new.
    untouched: HashMap<scan::Inode, NameId>,
}

/// A file whose bytes may be others without anything telling.
#[derive(Debug)]
pub struct Candidate<'a> {
    place: usize,
    /// Where it is.
    pub path: EntryPath,
    /// What it was.
    pub base: Place<'a>,
    /// What it is.
    pub found: Found<'a>,
}

impl<'a> Diff<'a> {
    /// Compares; without a base everything is new.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a name that no layer can have.
    pub fn new(
        base: Option<&'a Tree>,
        scan: &'a Scan,
        options: DiffOptions<'a>,
    ) -> Result<Self, Error> {
        match Self::compared(base, (scan, View::Whole), options) {
            (diff, None) => Ok(diff),
            (_, Some((path, reason))) => Err(Error::Unfit { path, reason }),
        }
    }

    /// Compares what an upper directory and a base make together with the base alone. The time of the root and names are no
    /// matter.
    pub fn of_upper(
        base: &'a Tree,
        scan: &'a Scan,
        form: UpperForm,
        options: DiffOptions<'a>,
    ) -> Self {
        let mut diff = Self::compared(Some(base), (scan, View::Upper(form)), options).0;
        if let Some(root) = diff.different.first_mut() {
            *root = root.without(upper::NO_CHANGE_OF_A_ROOT);
        }
        diff
    }

    /// The comparison, and the first name that no layer can have.
    fn compared(
        base: Option<&'a Tree>,
        (scan, view): (&'a Scan, View),
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
        let (mut linked, mut unfit) = (vec![], None);
        for Pair { path, base, found, .. } in diff.pairs() {
            let Some(found) = found else { continue };
            if unfit.is_none() {
                let reason = unfit_name(&path).or_else(|| unfit_kind(found));
                unfit = reason.map(|reason| (path, reason));
            }
            if found.linked_inode().is_some() || base.as_ref().is_some_and(Place::is_linked) {
                let (place, inode) = (different.len(), found.inode());
                linked.push(LinkedName { place, inode, base: base.map(|base| base.name_id()) });
            }
            let attributes = base.map(|base| comparer.compare(&base, found)).unwrap_or_default();
            different.push(attributes.without(diff.options.ignore));
        }
        diff.different = different;
        diff.linked = LinkedNames::new(linked);
        (diff, unfit)
    }

    /// The files that have their old size, and nothing to say that they have other bytes.
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

    /// Notes that a file's bytes are others.
    pub fn note_content(&mut self, candidate: &Candidate<'_>) {
        self.different[candidate.place].insert(Attribute::Content);
    }

    /// All that has changed, in the order of a layer. Nothing can be noted any more.
    pub fn finish(mut self) -> Finished<'a> {
        let linked = std::mem::take(&mut self.linked);
        self.untouched = linked.untouched(&self.different);
        if !self.options.ignore.has(Attribute::Links) {
            linked.settle(self.base, &mut self.different);
        }
        Finished(self)
    }

    fn pairs(&self) -> Pairs<'a> {
        let base = self.base.map(Tree::root);
        Pairs::new(base, self.scan.top(), self.options.leave_out, self.view)
    }

    /// What the base has of an inode with a new name, if nothing but its links has changed.
    fn untouched(&self, inode: scan::Inode) -> Option<Place<'a>> {
        self.untouched.get(&inode).and_then(|&id| Some(self.base?.place(id)))
    }
}

/// A comparison that is over.
#[derive(Debug)]
pub struct Finished<'a>(Diff<'a>);

impl<'a> Finished<'a> {
    /// All that has changed, in the order of a layer.
    pub fn differences(&self) -> Differences<'_, 'a> {
        Differences::new(&self.0)
    }
}

/// Why no layer can hold something, whatever its name.
fn unfit_kind(found: Found<'_>) -> Option<&'static str> {
    let is_whiteout = matches!(found.kind(), Some(EntryKind::CharDevice { major: 0, minor: 0 }));
    is_whiteout
        .then_some("a character device 0:0 is a whiteout to overlayfs, and no layer holds it")
}

/// Why no layer can have a name, for which a look at its last part is enough.
fn unfit_name(path: &EntryPath) -> Option<&'static str> {
    if path.file_name().is_some_and(is_reserved_name) {
        return Some("names that begin with .wh. mean whiteouts in a layer");
    }
    let is_mark = path.as_bytes() == INCOMPLETE.as_bytes();
    is_mark.then_some("marks a directory that unpack has not filled to its end")
}
