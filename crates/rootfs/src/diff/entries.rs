//! All that is there, changed or not, as a layer would say it that holds the whole tree.

use std::collections::HashMap;
use std::hash::Hash;

use layer_format::layer::{Entry, EntryKind, EntryPath};

use super::attributes::Attribute;
use super::pairs::Pair;
use super::{Diff, compare};

/// Of what isn't different, what the earlier record says; of what can't be seen here too.
pub(super) fn entries<'d>(diff: &'d Diff<'_>) -> impl Iterator<Item = Entry> + 'd {
    let mut different = diff.different.iter();
    let (mut first, mut first_unseen) = (HashMap::new(), HashMap::new());
    let options = &diff.options;
    diff.pairs().filter_map(move |Pair { path, base, found, .. }| {
        let Some(found) = found else {
            let (id, inode) = (base?.id(), base?.inode());
            let is_unseen = options.identity.may_be_missing(&inode.kind);
            let entry = is_unseen.then(|| compare::unchanged(path, inode))?;
            return Some(linked(entry, &mut first_unseen, id));
        };
        let different = different.next().copied().unwrap_or_default();
        let entry = match base {
            Some(base) if different.is_empty() => compare::unchanged(path, base.inode()),
            Some(base) if !different.has(Attribute::Type) => {
                compare::changed(path, &base.inode(), found, different, options)
            }
            _ => compare::added(path, found, options),
        };
        Some(match found.linked_inode() {
            Some(inode) => linked(entry, &mut first, inode),
            None => entry,
        })
    })
}

/// A link to an inode's first name, unless this is the first.
fn linked<I: Eq + Hash>(mut entry: Entry, first: &mut HashMap<I, EntryPath>, inode: I) -> Entry {
    let target = first.entry(inode).or_insert_with(|| entry.path.clone());
    if *target != entry.path {
        entry.kind = EntryKind::Hardlink { target: target.clone() };
    }
    entry
}
