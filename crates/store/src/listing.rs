//! Listings of layers by diff id, so that the tree of an image can be made without reading its layers.
//!
//! A cache: a program that reads a layer to its end leaves a listing, and a program that finds no listing reads the layer.
//! A listing appears by rename. One that is damaged, half-written or another layer's counts as none.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::path::PathBuf;

use layer_format::DiffId;
use layer_format::layer::Change;
use layer_format::listing::Tree;
use stream::inspect::{Seen, Watcher};
use stream::listing::{ListingReader, ListingWriter, is_listing};

use crate::Result;
use crate::locked_file::{self, LockedFile};
use crate::partial::file_name;
use crate::store::{self, Folder, Store};

/// The size of the buffer for reading listings, in bytes.
const BUFFER: usize = 128 << 10;
/// The size of the buffer for the first line of a listing, in bytes.
const SHORT: usize = 64;

/// A layer's listing on its way into the store. A listing that can't be written is dropped without an error, because the layer
/// can be read instead.
#[derive(Debug)]
pub struct ListingDraft {
    store: Store,
    /// The temporary file; `None` if it can't be written.
    writing: Option<(LockedFile, ListingWriter<File>)>,
}

impl ListingDraft {
    /// Begins a listing, and removes temporary files of killed programs. On a full disk, and in a store that this program can't
    /// write to, nothing is written.
    pub fn new(store: &Store) -> Self {
        let begin = || {
            store::create_folders(store)?;
            let folder = store.folder(Folder::Temp);
            locked_file::sweep(&folder)?;
            let temp = LockedFile::create(&folder)?;
            let file = temp.file().try_clone();
            let file = file.map_err(crate::Error::io("opening", temp.path()))?;
            Ok::<_, crate::Error>((temp, ListingWriter::new(file)))
        };
        Self { store: store.clone(), writing: begin().ok() }
    }

    /// Begins a listing of this layer, unless the store has one.
    pub fn if_missing(store: &Store, diff_id: &DiffId) -> Option<Self> {
        // One of another version, or of which not even the beginning is sound, is replaced.
        let is_there = File::open(store.listing_path(diff_id)).is_ok_and(|listing| {
            ListingReader::new(BufReader::with_capacity(SHORT, listing))
                .is_ok_and(|it| it.is_some())
        });
        let is_there = is_there || store.beside().iter().any(|it| it.listing(diff_id).is_some());
        (!is_there).then(|| Self::new(store))
    }

    /// Adds the layer's next change. `content` is the offset in the layer at which a file's content begins; `None` if it isn't
    /// known.
    pub fn add(&mut self, change: &Change, content: Option<u64>) {
        if let Some((_, writer)) = &mut self.writing
            && writer.write_change(change, content).is_err()
        {
            self.writing = None;
        }
    }

    /// Makes the listing of a layer that another thread reads, which knows the diff id at the end.
    pub fn watcher(self) -> Watcher {
        let mut draft = Some(self);
        Box::new(move |seen| match seen {
            Seen::Change(change, content) => {
                if let Some(draft) = &mut draft {
                    draft.add(change, Some(content));
                }
            }
            Seen::End(digest) => draft.take().into_iter().for_each(|it| it.keep(&DiffId(*digest))),
        })
    }

    /// Puts the listing into the store. The layer must have been read to its end and have this diff id.
    pub fn keep(self, diff_id: &DiffId) {
        let Some((mut temp, writer)) = self.writing else { return };
        if writer.finish(diff_id).is_ok() {
            // The next reader does without.
            temp.rename(&self.store.listing_path(diff_id)).ok();
        }
    }
}

impl Store {
    /// Adds a layer to a tree from its listing; `false` if the store has no sound one.
    ///
    /// # Errors
    /// The listing's changes don't fit the tree, or it can't be read to its end.
    pub fn add_listed(&self, tree: &mut Tree, diff_id: &DiffId) -> Result<bool> {
        self.add_listed_shown(tree, diff_id, &mut |_| ())
    }

    /// The same; `show` is called with each change before it is applied.
    ///
    /// # Errors
    /// As [`add_listed`](Self::add_listed).
    pub fn add_listed_shown(
        &self,
        tree: &mut Tree,
        diff_id: &DiffId,
        show: &mut dyn FnMut(&Change),
    ) -> Result<bool> {
        let Some(mut listing) = self.listing(diff_id) else { return Ok(false) };
        tree.begin_layer();
        while let Some(change) = listing.read_change()? {
            show(&change);
            tree.apply(&change)?;
        }
        tree.end_layer();
        Ok(true)
    }

    /// The offset in a layer at which the content of the file begins that a change adds, counted from 0. `None` if that isn't known:
    /// there is no sound listing, or the file is sparse.
    ///
    /// # Errors
    /// The listing can't be read to its end.
    pub fn content_offset(&self, diff_id: &DiffId, change: u64) -> Result<Option<u64>> {
        let Some(mut listing) = self.listing(diff_id) else { return Ok(None) };
        for _ in 0..=change {
            if listing.read_change()?.is_none() {
                return Ok(None);
            }
        }
        Ok(listing.content())
    }

    /// A tree with an image's root directory alone, as the highest layer that describes it has it. `None` if the listing of a
    /// layer that must be looked at is missing. `layers` are the image's, base first.
    pub fn listed_root<'a>(
        &self,
        layers: impl DoubleEndedIterator<Item = &'a DiffId>,
    ) -> Result<Option<Tree>> {
        let mut tree = Tree::new();
        tree.begin_layer();
        for diff_id in layers.rev() {
            let Some(mut listing) = self.listing(diff_id) else { return Ok(None) };
            while let Some(change) = listing.read_change()? {
                if matches!(&change, Change::Add(entry) if entry.path.is_root()) {
                    tree.apply(&change)?;
                    return Ok(Some(tree));
                }
            }
        }
        Ok(Some(tree))
    }

    fn listing(&self, diff_id: &DiffId) -> Option<ListingReader<BufReader<File>>> {
        let beside = || self.beside().iter().find_map(|store| store.own_listing(diff_id));
        self.own_listing(diff_id).or_else(beside)
    }

    fn own_listing(&self, diff_id: &DiffId) -> Option<ListingReader<BufReader<File>>> {
        let mut file = File::open(self.listing_path(diff_id)).ok()?;
        let size = file.metadata().ok()?.len();
        if !is_listing(&file, size, diff_id).ok()? {
            return None;
        }
        file.rewind().ok()?;
        ListingReader::new(BufReader::with_capacity(BUFFER, file)).ok()?
    }

    fn listing_path(&self, diff_id: &DiffId) -> PathBuf {
        self.folder(Folder::Listing).join(file_name(&diff_id.0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use layer_format::Digest;
    use layer_format::layer::EntryPath;

    use super::*;

    fn diff_id() -> DiffId {
        DiffId(Digest::of(b"layer"))
    }

    fn keep(store: &Store) {
        let mut draft = ListingDraft::new(store);
        draft.add(&Change::Remove(EntryPath::parse(b"a").unwrap()), None);
        draft.keep(&diff_id());
    }

    #[test]
    fn a_listing_is_kept_until_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let add = || store.add_listed(&mut Tree::new(), &diff_id()).unwrap();
        assert!(!add());
        keep(&store);
        assert!(add());
        assert!(ListingDraft::if_missing(&store, &diff_id()).is_none());
        let path = store.listing_path(&diff_id());
        let content = fs::read(&path).unwrap();
        for damaged in [&content[1..], &content[..content.len() - 1], b""] {
            fs::write(&path, damaged).unwrap();
            assert!(!add());
        }
        keep(&store);
        assert!(add());
        assert!(locked_file::list(&store.folder(Folder::Temp)).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        // A killed program's, and one that a running program writes.
        let temp = store.folder(Folder::Temp);
        fs::write(temp.join("1-a"), "half").unwrap();
        let other = ListingDraft::new(&store);
        drop(ListingDraft::new(&store));
        assert_eq!(locked_file::list(&temp).unwrap().len(), 1);
        drop(other);
        assert!(locked_file::list(&temp).unwrap().is_empty());
    }
}
