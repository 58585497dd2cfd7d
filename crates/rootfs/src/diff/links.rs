//! Groups of hard links: as they are, or to be written whole.

use std::collections::{HashMap, HashSet};

use layer_format::listing::{NameId, Tree};

use super::attributes::{Attribute, Attributes};
use crate::scan::Inode;

/// A name that has, or had, others beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkedName {
    /// Its place among all that was found.
    pub(super) place: usize,
    pub(super) inode: Inode,
    /// What the base has there.
    pub(super) base: Option<NameId>,
}

/// All names that have, or had, others beside them, by inode.
#[derive(Debug, Default)]
pub(super) struct LinkedNames(Vec<LinkedName>);

impl LinkedNames {
    pub(super) fn new(mut names: Vec<LinkedName>) -> Self {
        names.sort_unstable_by_key(|name| (name.inode, name.place));
        Self(names)
    }

    /// The names of each inode, in their order.
    fn groups(&self) -> impl Iterator<Item = &[LinkedName]> {
        self.0.chunk_by(|one, other| one.inode == other.inode)
    }

    /// Marks the names whose group is another than before.
    ///
    /// A group is as it was if its names were of one group and nothing else has changed. Of several groups that one was torn
    /// into, the first stays what it was; the others must be written anew. So must a group that was joined from several, or
    /// that has a new name: a link to a file of a lower layer would be one to nothing for programs that unpack each layer
    /// apart.
    pub(super) fn settle(&self, base: Option<&Tree>, different: &mut [Attributes]) {
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

    /// Of each inode that has a new name, what the base has of it under another, if nothing but its links has changed.
    pub(super) fn untouched(&self, different: &[Attributes]) -> HashMap<Inode, NameId> {
        let groups = self.groups().filter(|group| group.iter().any(|name| name.base.is_none()));
        let untouched = groups.filter_map(|group| {
            let is_untouched = |name: &LinkedName| different[name.place].is_empty();
            let base = group.iter().filter(|name| is_untouched(name)).find_map(|name| name.base);
            Some((group[0].inode, base?))
        });
        untouched.collect()
    }
}
