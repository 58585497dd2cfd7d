//! All that is there, changed or not, as a layer would say it that holds the whole tree.

use std::collections::HashMap;

use layer_format::layer::{Entry, EntryKind};

use super::attributes::Attribute;
use super::pairs::Pair;
use super::{Diff, compare};

/// Of what isn't different, what the earlier record says; of what can't be seen here too.
pub(super) fn entries<'d>(diff: &'d Diff<'_>) -> impl Iterator<Item = Entry> + 'd {
    let mut different = diff.different.iter();
    let mut first = HashMap::new();
    let options = &diff.options;
    diff.pairs().filter_map(move |Pair { path, base, found }| {
        let Some(found) = found else {
            let inode = base?.inode();
            let is_unseen = options.identity.may_be_missing(inode);
            return is_unseen.then(|| compare::unchanged(path, inode));
        };
        let different = different.next().copied().unwrap_or_default();
        let mut entry = match base {
            Some(base) if different.is_empty() => compare::unchanged(path, base.inode()),
            Some(base) if !different.has(Attribute::Type) => {
                compare::changed(path, base.inode(), found, different, options)
            }
            _ => compare::added(path, found, options),
        };
        if let Some(inode) = found.linked_inode() {
            let target = first.entry(inode).or_insert_with(|| entry.path.clone());
            if *target != entry.path {
                entry.kind = EntryKind::Hardlink { target: target.clone() };
            }
        }
        Some(entry)
    })
}
