//! Changes to `index.json`: pure, and linear in the number of entries however many change at once.
//!
//! A name has one entry. When the name moves to another image, the old entry stays without a name, unless another entry says
//! all that it says. An unnamed entry is removed when a named one comes that says all that it says.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use layer_format::Digest;

use crate::Result;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::index_entry::IndexEntry;
use crate::store::{Form, Store};

/// An index that is being changed, with its entries by name and by digest.
#[derive(Debug)]
pub(crate) struct Editor {
    index: Index,
    /// Its entries in order; `None` where one was removed.
    slots: Vec<Option<Entry>>,
    by_name: HashMap<String, Vec<usize>>,
    by_digest: HashMap<Digest, Vec<usize>>,
    /// The positions in `by_digest` whose entries have no name.
    unnamed: HashMap<Digest, Vec<usize>>,
}

impl Editor {
    pub(crate) fn new(mut index: Index) -> Self {
        let entries = std::mem::take(&mut index.entries);
        let mut editor = Self {
            index,
            slots: vec![],
            by_name: HashMap::new(),
            by_digest: HashMap::new(),
            unnamed: HashMap::new(),
        };
        for entry in entries {
            editor.push(entry);
        }
        editor
    }

    pub(crate) fn finish(self) -> Index {
        let Self { mut index, slots, .. } = self;
        index.entries = slots.into_iter().flatten().collect();
        index
    }

    /// Adds an entry. One with a name takes the name from the entry that has it.
    pub(crate) fn put(&mut self, mut image: IndexEntry) {
        self.inherit_index(&mut image);
        match image.name().map(str::to_owned) {
            Some(name) => self.put_named(&name, image),
            None if self.is_covered(&image) => {}
            None => self.push(Entry::new(image)),
        }
    }

    /// Removes the entries with these names and digests, and returns those that were there.
    pub(crate) fn remove(&mut self, images: &[IndexEntry]) -> Vec<IndexEntry> {
        let wanted: HashSet<_> =
            images.iter().map(|image| (image.name(), image.digest())).collect();
        let is_wanted = |image: &IndexEntry| wanted.contains(&(image.name(), image.digest()));
        let mut removed = vec![];
        for slot in &mut self.slots {
            let image = slot.as_ref().and_then(|entry| entry.image.as_ref());
            if image.is_some_and(is_wanted) {
                removed.extend(slot.take().and_then(|entry| entry.image));
            }
        }
        removed
    }

    fn put_named(&mut self, name: &str, image: IndexEntry) {
        let mut is_there = false;
        for slot in self.by_name.remove(name).unwrap_or_default() {
            match self.image(slot) {
                Some(old) if *old == image && !is_there => {
                    is_there = true;
                    self.by_name.insert(name.to_owned(), vec![slot]);
                }
                Some(old) if old.digest() == image.digest() => self.slots[slot] = None,
                Some(_) => self.unname(slot),
                None => {}
            }
        }
        for slot in self.unnamed.get(image.digest()).cloned().unwrap_or_default() {
            if self.image(slot).is_some_and(|unnamed| image.covers(unnamed)) {
                self.slots[slot] = None;
            }
        }
        if !is_there {
            self.push(Entry::new(image));
        }
    }

    /// Notes in an image that gets a name again from which index it was once chosen, so that it is still found by that index.
    fn inherit_index(&self, image: &mut IndexEntry) {
        if image.index().is_some() {
            return;
        }
        let same_name = image.name().and_then(|name| self.by_name.get(name));
        let older = same_name.into_iter().chain(self.unnamed.get(image.digest())).flatten();
        let is_older_self = |older: &&IndexEntry| older.digest() == image.digest();
        let mut older = older.filter_map(|&slot| self.image(slot)).filter(is_older_self);
        if let Some(index) = older.find_map(IndexEntry::index) {
            *image = image.clone().chosen_from(index);
        }
    }

    fn unname(&mut self, slot: usize) {
        let Some(entry) = self.slots[slot].take() else { return };
        if let Some(mut image) = entry.image {
            image.unname();
            if !self.is_covered(&image) {
                self.unnamed.entry(*image.digest()).or_default().push(slot);
                self.slots[slot] = Some(Entry::new(image));
            }
        }
    }

    /// Whether an entry says all that this image, which has no name, would say.
    fn is_covered(&self, image: &IndexEntry) -> bool {
        let twins = self.by_digest.get(image.digest()).into_iter().flatten();
        twins.filter_map(|&slot| self.image(slot)).any(|twin| twin.covers(image))
    }

    fn image(&self, slot: usize) -> Option<&IndexEntry> {
        self.slots[slot].as_ref()?.image.as_ref()
    }

    fn push(&mut self, entry: Entry) {
        let slot = self.slots.len();
        if let Some(image) = &entry.image {
            self.by_digest.entry(*image.digest()).or_default().push(slot);
            match image.name() {
                Some(name) => self.by_name.entry(name.to_owned()).or_default().push(slot),
                None => self.unnamed.entry(*image.digest()).or_default().push(slot),
            }
        }
        self.slots.push(Some(entry));
    }
}

impl Index {
    /// The same index without these entries.
    pub(crate) fn without(self, entries: &[IndexEntry], path: &Path) -> Result<Self> {
        if entries.is_empty() {
            return Ok(self);
        }
        let mut editor = Editor::new(self);
        editor.remove(entries);
        let rendered = editor.finish().render();
        let malformed = |source| Error::MalformedJson { path: path.to_owned(), source };
        Self::parse(rendered.map_err(malformed)?, path)
    }
}

impl Store {
    /// Every entry of `index.json` that can be understood, in the file's order, and then those of the stores beside this one. An
    /// image with several names has several entries. An entry whose name an earlier store has comes without it: it can still be
    /// found by its digest.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::MalformedJson`] if a file as a whole can't be understood.
    pub fn images(&self) -> Result<Vec<IndexEntry>> {
        let mut images = self.own_images()?;
        for store in self.beside() {
            let names: HashSet<_> =
                images.iter().filter_map(|it| it.name().map(str::to_owned)).collect();
            let digests: HashSet<_> = images.iter().map(|it| *it.digest()).collect();
            let mut others = store.own_images()?;
            for other in &mut others {
                if other.name().is_some_and(|name| names.contains(name)) {
                    other.unname();
                }
            }
            others.retain(|it| it.name().is_some() || !digests.contains(it.digest()));
            images.extend(others);
        }
        Ok(images)
    }

    /// The entries of this store itself.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn own_images(&self) -> Result<Vec<IndexEntry>> {
        match self.form() {
            Form::Layout => Ok(Index::read(self)?.into_images()),
            Form::Flat(_) => Ok(vec![self.flat_image()?]),
        }
    }

    /// Removes entries from `index.json`, and returns those that were still there. Their blobs stay until [`Store::gc`].
    ///
    /// # Errors
    /// As [`images`](Self::images), or the file can't be replaced; then no entry was removed.
    pub fn remove(&self, images: &[IndexEntry]) -> Result<Vec<IndexEntry>> {
        let _guard = self.lock()?;
        let mut editor = Editor::new(Index::read(self)?);
        let removed = editor.remove(images);
        editor.finish().write(self)?;
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use layer_format::Descriptor;

    use super::*;

    /// `a=1/9` is an image named `a` with content `1`, chosen from index `9`; `=1` has no name.
    fn image(text: &str) -> IndexEntry {
        let (text, index) =
            text.split_once('/').map_or((text, None), |(text, index)| (text, Some(index)));
        let (name, content) = text.split_once('=').unwrap();
        let name = (!name.is_empty()).then(|| name.parse().unwrap());
        let image = IndexEntry::new(name.as_ref(), Descriptor::of("m", content.as_bytes()));
        match index {
            Some(index) => image.chosen_from(Digest::of(index.as_bytes())),
            None => image,
        }
    }

    fn editor() -> Editor {
        let dir = tempfile::tempdir().unwrap();
        Editor::new(Index::read(&Store::open(dir.path()).unwrap()).unwrap())
    }

    #[track_caller]
    fn check(puts: &str, expected: &str) {
        let mut editor = editor();
        puts.split_whitespace().for_each(|put| editor.put(image(put)));
        let expected: Vec<_> = expected.split_whitespace().map(image).collect();
        assert_eq!(editor.finish().into_images(), expected);
    }

    #[test]
    fn a_name_has_one_entry_and_leaves_an_unnamed_one() {
        check("a=1 a=1", "a=1");
        check("a=1 a=2", "=1 a=2");
        check("a=1 b=1 a=2", "b=1 a=2");
        check("a=1 a=2 a=1", "=2 a=1");
        check("a=1/8 b=1 a=2", "=1/8 b=1 a=2");
    }

    #[test]
    fn an_unnamed_entry_goes_when_another_says_as_much() {
        check("=1 =1", "=1");
        check("=1 a=1", "a=1");
        check("a=1 =1", "a=1");
        check("a=1/8 =1/9", "a=1/8 =1/9");
        check("=1/9 a=1/8", "=1/9 a=1/8");
    }

    #[test]
    fn an_image_stays_to_be_found_by_its_index() {
        check("=1/9 a=1", "a=1/9");
        check("a=1/9 a=1", "a=1/9");
        check("a=1/8 a=1/9", "a=1/9");
        check("a=1/9 b=1", "a=1/9 b=1");
    }

    #[test]
    fn only_entries_that_are_as_they_were_are_removed() {
        let mut editor = editor();
        for put in ["a=1", "b=1", "=2"] {
            editor.put(image(put));
        }
        let removed = editor.remove(&[image("a=1"), image("b=2"), image("=2")]);
        assert_eq!(removed, [image("a=1"), image("=2")]);
        assert_eq!(editor.finish().into_images(), [image("b=1")]);
    }
}
