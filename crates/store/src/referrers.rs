//! Referrers of an image: signatures, SBOMs and attestations. Their names are made of its digest.

use std::collections::HashSet;

use layer_format::{Descriptor, Digest};

use crate::Result;
use crate::find::children_of;
use crate::index_entry::IndexEntry;
use crate::store::Store;

impl Store {
    /// The entries that refer to an image by a name in its repository, and those that refer to them in turn. For an image
    /// without a name, all repositories count.
    pub fn referrers(&self, image: &IndexEntry) -> Result<Vec<IndexEntry>> {
        let repository = image.reference().map(|reference| reference.name());
        let subject = |entry: &IndexEntry| {
            let reference = entry.reference()?;
            let is_here = repository.as_ref().is_none_or(|name| *name == reference.name());
            reference.subject().filter(|_| is_here).map(str::to_owned)
        };
        let mut left: Vec<_> =
            self.images()?.into_iter().filter_map(|it| Some((subject(&it)?, it))).collect();
        let mut seen: HashSet<_> = image.index().into_iter().collect();
        self.descend(&image.descriptor, &mut seen)?;
        let mut found: Vec<IndexEntry> = vec![];
        loop {
            let tags: HashSet<_> = seen.iter().map(Digest::referrers_tag).collect();
            let (new, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(subject, _)| tags.contains(subject));
            left = others;
            for (_, entry) in &new {
                self.descend(&entry.descriptor, &mut seen)?;
            }
            if new.is_empty() {
                return Ok(found);
            }
            found.extend(new.into_iter().map(|(_, entry)| entry));
        }
    }

    /// Adds the digests of all manifests and indexes below one.
    fn descend(&self, root: &Descriptor, seen: &mut HashSet<Digest>) -> Result<()> {
        let mut queue = vec![root.clone()];
        while let Some(descriptor) = queue.pop() {
            let is_new = seen.insert(descriptor.digest);
            let document = if is_new { self.look_into(&descriptor.digest)? } else { None };
            queue.extend(document.into_iter().flat_map(children_of));
        }
        Ok(())
    }
}
