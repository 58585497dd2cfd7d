//! Finds out which groups of hard links have changed, and must be written whole.

use std::collections::{HashMap, HashSet};

use layer_format::listing::{NameId, Tree};

use super::attributes::{Attribute, Attributes};
use crate::scan::FileId;

/// A name of a file that has, or had, several.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkedName {
    /// The place among the entries of the scan.
    pub(super) place: usize,
    pub(super) file: FileId,
    /// What the base has at this name.
    pub(super) base: Option<NameId>,
}

/// All names of files that have, or had, several, in the order of the files.
#[derive(Debug, Default)]
pub(super) struct LinkedNames(Vec<LinkedName>);

impl LinkedNames {
    pub(super) fn new(mut names: Vec<LinkedName>) -> Self {
        names.sort_unstable_by_key(|name| (name.file, name.place));
        Self(names)
    }

    /// The names of each file, in their order.
    fn groups(&self) -> impl Iterator<Item = &[LinkedName]> {
        self.0.chunk_by(|one, other| one.file == other.file)
    }

    /// Marks the names whose group has changed.
    ///
    /// A group is unchanged if all its names were in one group, and nothing else has changed. If a group was split into several,
    /// the first one is unchanged, and the others must be written again. So must a group that was joined from several, and one
    /// with a new name: a link to a file of a lower layer has no target for programs that unpack each layer by itself.
    pub(super) fn mark_changed(&self, base: Option<&Tree>, different: &mut [Attributes]) {
        let id_of = |name: &LinkedName| Some(base?.place(name.base?).id());
        let mut groups: Vec<_> = self.groups().collect();
        groups.sort_unstable_by_key(|group| group[0].place);
        let mut kept = HashSet::new();
        for group in groups {
            let base = id_of(&group[0]);
            let is_same = group.iter().all(|name| {
                id_of(name) == base && base.is_some() && different[name.place].is_empty()
            });
            if is_same && base.is_some_and(|base| kept.insert(base)) {
                continue;
            }
            for name in group {
                let is_alone = group.len() == 1 && !different[name.place].is_empty();
                if name.base.is_some() && !is_alone {
                    different[name.place].insert(Attribute::Links);
                }
            }
        }
    }

    /// The files that have a new name, and of which nothing but the links has changed, with an old name in the base.
    pub(super) fn untouched(&self, different: &[Attributes]) -> HashMap<FileId, NameId> {
        let groups = self.groups().filter(|group| group.iter().any(|name| name.base.is_none()));
        let untouched = groups.filter_map(|group| {
            let is_untouched = |name: &LinkedName| different[name.place].is_empty();
            let base = group.iter().filter(|name| is_untouched(name)).find_map(|name| name.base);
            Some((group[0].file, base?))
        });
        untouched.collect()
    }
}
