//! Groups of hard links: as they are, or to be written whole.

use std::collections::{HashMap, HashSet};

use layer_format::listing::Place;

use super::attributes::{Attribute, Attributes};
use crate::scan::Inode;

/// A name that has, or had, others beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkedName<'a> {
    /// Its place among all that was found.
    pub(super) place: usize,
    pub(super) inode: Inode,
    /// What the base has there.
    pub(super) base: Option<Place<'a>>,
}

/// Marks the names whose group is another than before.
///
/// A group is as it was if its names were of one group and nothing else has changed. Of several groups that one was torn
/// into, the first stays what it was; the others must be written anew. So must a group that was joined from several, or
/// that has a new name: a link to a file of a lower layer would be one to nothing for programs that unpack each layer apart.
pub(super) fn settle(
    names: &[LinkedName<'_>],
    different: &mut [Attributes],
    is_added: impl Fn(usize) -> bool,
) {
    let mut groups: HashMap<Inode, Vec<LinkedName<'_>>> = HashMap::new();
    let mut order = vec![];
    for name in names {
        let group = groups.entry(name.inode).or_default();
        if group.is_empty() {
            order.push(name.inode);
        }
        group.push(*name);
    }
    let mut kept = HashSet::new();
    for inode in order {
        let group = &groups[&inode];
        let base = group[0].base.map(|base| base.id());
        let is_same = group.iter().all(|name| {
            name.base.map(|base| base.id()) == base
                && base.is_some()
                && different[name.place].is_empty()
        });
        if is_same && base.is_some_and(|base| kept.insert(base)) {
            continue;
        }
        for name in group {
            let is_alone = group.len() == 1 && !different[name.place].is_empty();
            if !is_added(name.place) && !is_alone {
                different[name.place].insert(Attribute::Links);
            }
        }
    }
}

/// Of each inode with several names, what the base has of it under one of them, if nothing but its links has changed.
pub(super) fn untouched<'a>(
    names: &[LinkedName<'a>],
    different: &[Attributes],
) -> HashMap<Inode, Place<'a>> {
    let is_untouched = |name: &&LinkedName<'_>| different[name.place].is_empty();
    let known = names.iter().rev().filter(is_untouched);
    known.filter_map(|name| Some((name.inode, name.base?))).collect()
}
