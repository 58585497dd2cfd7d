//! An image that is read up to twice: first for the names in its layers, if the store has no listing, then for their contents.
//!
//! The layers of a store or a layout can be read any number of times, and a file is opened again. The stored layers of a pipe are
//! kept in an unlinked temporary file until the second round.
//!
//! ```text
//! open ──► first round: stored(n), as far as it is needed ──► rewind ──► second round: stored(n) ──► finish
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use layer_format::Decoder;
use layer_format::layer::{Change, Reader};
use layer_format::listing::{Origin, Tree};
use report::watch::{Checked, Watch, Watched};
use store::{Error, ListingDraft, Pair, Store};
use stream::Section;
use stream::archive::{Choice, Image};
use stream::decompress::Seek as SeekBy;

use crate::Result;
use crate::input::Input;
use crate::layer::{BUFFER, Content};
use crate::location::Location;
use crate::source::{self, Source, about, spool};

/// An image whose layers can be read twice.
#[derive(Debug)]
pub struct Opened {
    /// `None` once a pipe has been read to its end.
    source: Option<Source>,
    second: SecondRound,
    choice: Choice,
    image: Image,
    store: Option<Store>,
    was_read: bool,
    /// Whether listings, seek indexes and proved diff ids are noted in the store.
    leaves_notes: bool,
}

/// Someone who sees how a tree is made of layers.
pub trait Follower {
    /// The tree, before the first layer.
    fn begin(&mut self, tree: &mut Tree) {
        let _ = tree;
    }

    /// A change of a layer, before it is applied.
    fn change(&mut self, change: &Change) {
        let _ = change;
    }

    /// The tree with one more layer.
    fn layer(&mut self, tree: &mut Tree) {
        let _ = tree;
    }
}

/// A follower that wants to know nothing.
struct Unseen;

impl Follower for Unseen {}

/// The sizes of a layer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// As it is stored.
    pub stored: u64,
    /// Decompressed.
    pub uncompressed: u64,
}

/// Where the layers come from in the second round.
#[derive(Debug)]
enum SecondRound {
    /// From the same source.
    Same,
    /// From this file, opened again.
    Path(PathBuf),
    /// From this open file, from this offset on.
    Seek(File, u64),
    /// From a temporary file.
    Spooled(Spooled),
}

/// Stored layers in a temporary file, one after the other.
#[derive(Debug, Default)]
struct Spooled {
    file: Option<File>,
    /// The offset of each layer.
    starts: Vec<u64>,
}

impl Opened {
    /// Opens the source that a word means and finds the image in it; `choice` says which one, if there are several. `input` is
    /// needed if the word means standard input; `store` is the user's, if there is one.
    ///
    /// # Errors
    /// Those of [`Source::open`] and [`Source::image`].
    pub fn open(
        location: &Location,
        input: Option<Input>,
        choice: Choice,
        store: Option<&Store>,
    ) -> Result<Self> {
        let of_input = SecondRound::of_input(input.as_ref().and_then(Input::file))?;
        let mut source = Source::open(location, input, store)?;
        let second = match (&source, location) {
            (Source::Stored { .. }, _) => SecondRound::Same,
            (_, Location::Path(path) | Location::Archive(path)) => {
                // A fifo or a device can be opened and read only once.
                let metadata = std::fs::metadata(path);
                let metadata = metadata.map_err(source::system("looking at", path))?;
                if metadata.is_file() {
                    SecondRound::Path(path.clone())
                } else {
                    SecondRound::Spooled(Spooled::default())
                }
            }
            (Source::Archive(_), _) => of_input,
        };
        let image = source.image(&choice).map_err(|error| location.name(error))?;
        let store = store.cloned();
        Ok(Self {
            source: Some(source),
            second,
            choice,
            image,
            store,
            was_read: false,
            leaves_notes: true,
        })
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Tells that there is no second round, so that nothing is kept for it.
    pub fn read_once(&mut self) {
        self.second = SecondRound::Same;
    }

    /// Makes reading change nothing in the store: neither listings nor seek indexes nor proved diff ids are noted.
    pub fn leave_no_notes(&mut self) {
        self.leaves_notes = false;
    }

    /// The store or layout that the image is in; `None` for an archive.
    pub fn layout(&self) -> Option<&Store> {
        self.source.as_ref().and_then(Source::layout_store)
    }

    /// Whether the image is in the user's store. What is there was verified before it got its name.
    pub fn is_own(&self) -> bool {
        let own = self.store().map(Store::path);
        own.is_some() && self.layout().map(Store::path) == own
    }

    /// The content of a file of the user's store, without all that comes before it in its layer. `None` if the store doesn't know
    /// where that is: it lacks the layer's listing or its seek index, or the file is sparse.
    ///
    /// # Errors
    /// The listing or the blob can't be read.
    pub fn content_of(&self, origin: Origin) -> Result<Option<impl Read + use<>>> {
        let Some(store) = self.store().filter(|_| self.is_own()) else { return Ok(None) };
        let layer = &self.image.layers[origin.layer()];
        let SeekBy::By(index) = Pair::of(layer).seek(Some(store)) else { return Ok(None) };
        let Some(offset) = store.content_offset(&layer.diff_id, origin.change())? else {
            return Ok(None);
        };
        let Some(mut blob) = store.blob(&layer.digest())? else { return Ok(None) };
        let reading = |source| layer_format::Error::io("reading a layer", source);
        let position = index.before(offset);
        blob.seek(SeekFrom::Start(index.begin(position))).map_err(reading)?;
        let surplus = offset - index.checkpoints()[position].plain;
        let stored = BufReader::with_capacity(BUFFER, blob);
        let mut content = Decoder::indexed(stored, index, position);
        io::copy(&mut content.by_ref().take(surplus), &mut io::sink()).map_err(reading)?;
        Ok(Some(content))
    }

    /// The user's store, if there is one.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The tree that the layers make together, from their listings, or from the layers themselves if there is none. Ends the first
    /// round.
    ///
    /// # Errors
    /// A layer doesn't match its digests, is malformed, or can't be read. The error names the layer as [`Image::layer_name`] does.
    pub fn tree(&mut self, watch: &dyn Watch) -> Result<Tree> {
        self.tree_shown(watch, &mut Unseen)
    }

    /// The same; a follower sees each layer as it becomes part of the tree.
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn tree_shown(&mut self, watch: &dyn Watch, follower: &mut dyn Follower) -> Result<Tree> {
        let mut tree = Tree::new();
        follower.begin(&mut tree);
        for position in 0..self.image.layers.len() {
            self.add_layer(&mut tree, position, watch, follower).map_err(self.named(position))?;
            follower.layer(&mut tree);
        }
        self.rewind()?;
        Ok(tree)
    }

    fn add_layer(
        &mut self,
        tree: &mut Tree,
        position: usize,
        watch: &dyn Watch,
        follower: &mut dyn Follower,
    ) -> Result<()> {
        let diff_id = self.image.layers[position].diff_id;
        let other =
            self.layout().filter(|layout| Some(layout.path()) != self.store().map(Store::path));
        for store in self.store().into_iter().chain(other) {
            if store.add_listed_shown(tree, &diff_id, &mut |change| follower.change(change))? {
                return Ok(());
            }
        }
        let mut draft = self.noting().as_ref().map(ListingDraft::new);
        self.content(position, watch, |content| -> Result<()> {
            let mut reader = Reader::new(BufReader::with_capacity(BUFFER, content));
            tree.begin_layer();
            while let Some(change) = reader.read_change()? {
                follower.change(&change);
                tree.apply(&change)?;
                if let Some(draft) = &mut draft {
                    draft.add(&change, Some(reader.position()));
                }
            }
            tree.end_layer();
            Ok(())
        })?;
        if let Some(draft) = draft {
            draft.keep(&diff_id);
        }
        Ok(())
    }

    /// The store in which notes are made, if there is one.
    fn noting(&self) -> Option<Store> {
        self.store.clone().filter(|_| self.leaves_notes)
    }

    /// Reads a layer as changes, to its end, where all its bytes have been checked.
    ///
    /// # Errors
    /// As [`tree`](Self::tree), and those of `read`.
    pub fn read_layer<T>(
        &mut self,
        position: usize,
        watch: &dyn Watch,
        read: impl FnOnce(&mut Reader<BufReader<&mut dyn Read>>) -> Result<T, layer_format::Error>,
    ) -> Result<T> {
        let named = self.named(position);
        self.read_changes(position, watch, |layer| Ok(read(layer)?)).map_err(named)
    }

    /// The same with errors of the caller's own. They don't name the layer.
    ///
    /// # Errors
    /// As [`tree`](Self::tree), and those of `read`.
    pub fn read_changes<T, E: From<Error>>(
        &mut self,
        position: usize,
        watch: &dyn Watch,
        read: impl FnOnce(&mut Reader<BufReader<&mut dyn Read>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let read = self.content(position, watch, |content| {
            read(&mut Reader::new(BufReader::with_capacity(BUFFER, content)))
        });
        Ok(read?.0)
    }

    /// Reads all layers as changes, base first, and the archive to its end.
    ///
    /// # Errors
    /// As [`tree`](Self::tree), and those of `read`.
    pub fn read_layers(
        mut self,
        watch: &dyn Watch,
        mut read: impl FnMut(
            usize,
            &mut Reader<BufReader<&mut dyn Read>>,
        ) -> Result<(), layer_format::Error>,
    ) -> Result<()> {
        for position in 0..self.image.layers.len() {
            self.read_layer(position, watch, |layer| read(position, layer))?;
        }
        self.finish()
    }

    /// Reads a layer's uncompressed bytes, to their end, where all have been checked. Errors don't name the layer.
    ///
    /// # Errors
    /// As [`tree`](Self::tree), and those of `read`.
    pub fn read_uncompressed<T, E: From<Error>>(
        &mut self,
        position: usize,
        watch: &dyn Watch,
        read: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        Ok(self.content(position, watch, read)?.0)
    }

    /// Reads a layer to its end, if the store doesn't remember that this blob was found to have its diff id; whether it was read.
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn prove(&mut self, position: usize, watch: &dyn Watch) -> Result<bool> {
        if Pair::of(&self.image.layers[position]).is_known(self.store.as_ref()) {
            return Ok(false);
        }
        self.measure(position, watch).map(|_| true)
    }

    /// Reads the stored bytes of a layer to their end, where they have been checked against the manifest.
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn check_stored(&mut self, position: usize, watch: &dyn Watch) -> Result<()> {
        let named = self.named(position);
        let layer = &self.image.layers[position];
        let watcher = watch.begin(layer.digest().short(), layer.size());
        let checked = self.stored(position).and_then(|stored| {
            let mut stored = Checked::new(Watched::new(stored, watcher), watch);
            let copied = io::copy(&mut stored, &mut io::sink());
            copied.map_err(|source| layer_format::Error::io("reading a layer", source).into())
        });
        checked.map(drop).map_err(named)
    }

    /// The size of a stored layer in bytes. The layer is read if no manifest tells its size.
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn stored_size(&mut self, position: usize, watch: &dyn Watch) -> Result<u64> {
        match &self.image.layers[position].blob {
            Some(blob) => Ok(blob.size),
            None => Ok(self.measure(position, watch)?.stored),
        }
    }

    /// Reads a layer to its end and returns its sizes.
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn measure(&mut self, position: usize, watch: &dyn Watch) -> Result<Sizes> {
        let named = self.named(position);
        let measured = self.content(position, watch, |content| -> Result<u64> {
            let copied = io::copy(content, &mut io::sink());
            Ok(copied.map_err(|source| layer_format::Error::io("reading a layer", source))?)
        });
        let (uncompressed, stored) = measured.map_err(named)?;
        Ok(Sizes { stored, uncompressed })
    }

    fn content<T, E: From<Error>>(
        &mut self,
        position: usize,
        watch: &dyn Watch,
        read: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<(T, u64), E> {
        let layer = self.image.layers[position].clone();
        let store = self.store.clone();
        let noting = self.noting();
        let watcher = watch.begin(layer.digest().short(), layer.size());
        let mut stored = Watched::new(self.stored(position)?, watcher);
        let mut content = Content::of(&layer, &mut stored, store.as_ref()).map_err(Error::from)?;
        let result = read(&mut Checked::new(&mut content, watch))?;
        content.note(noting.as_ref());
        Ok((result, stored.n_bytes()))
    }

    /// Adds to an error which layer it is about.
    fn named(&self, position: usize) -> impl FnOnce(Error) -> Error + use<> {
        about(self.image.layer_name(position))
    }

    /// The stored bytes of a layer. They must be read to their end, where they have been checked against the manifest. In each
    /// round, layers must be asked for in order; any may be left out.
    ///
    /// # Errors
    /// The layer is missing, or a layer before it can't be read or kept.
    pub fn stored(&mut self, position: usize) -> Result<Box<dyn Read + '_>> {
        self.was_read = true;
        let Some(source) = &mut self.source else {
            let SecondRound::Spooled(spooled) = &self.second else { return Err(changed()) };
            return Ok(Box::new(spooled.section(position)?));
        };
        let SecondRound::Spooled(spooled) = &mut self.second else {
            return Ok(source.layer(&self.image, position)?);
        };
        spooled.keep(source, &self.image, position, self.store.as_ref())?;
        let file = spooled.begin(self.store.as_ref())?;
        let content = source.layer(&self.image, position)?;
        Ok(Box::new(Spooling { content, file }))
    }

    /// Ends the first round. If any layer was read, the archive is now read to its end.
    ///
    /// # Errors
    /// The archive isn't whole, or is another image's now.
    pub fn rewind(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.was_read) {
            self.second = SecondRound::Same;
            return Ok(());
        }
        if matches!(self.second, SecondRound::Same) {
            return Ok(());
        }
        let Some(mut source) = self.source.take() else { return Ok(()) };
        if let SecondRound::Spooled(spooled) = &mut self.second {
            let n_layers = self.image.layers.len();
            spooled.keep(&mut source, &self.image, n_layers, self.store.as_ref())?;
        }
        // The source of the second round may share its offset in the file, so this one is read to its end first.
        source.finish()?;
        let Some(mut source) = self.reopened()? else { return Ok(()) };
        let image = source.image(&self.choice)?;
        let is_same = image.layers.len() == self.image.layers.len()
            && image.layers.iter().zip(&self.image.layers).all(|(a, b)| a.diff_id == b.diff_id);
        if !is_same {
            return Err(changed());
        }
        self.image = image;
        self.source = Some(source);
        Ok(())
    }

    fn reopened(&mut self) -> Result<Option<Source>> {
        let reading = |source| layer_format::Error::io("reading the archive", source);
        let store = self.store.as_ref();
        Ok(match &mut self.second {
            SecondRound::Same | SecondRound::Spooled(_) => None,
            SecondRound::Path(path) => Some(Source::of_file(source::open(path)?, store)?),
            SecondRound::Seek(file, start) => {
                file.seek(SeekFrom::Start(*start)).map_err(reading)?;
                let file = file.try_clone().map_err(reading)?;
                Some(Source::of_file(file, store)?)
            }
        })
    }

    /// Reads an archive to its end and checks that it is whole.
    ///
    /// # Errors
    /// It is truncated or malformed.
    pub fn finish(self) -> Result<()> {
        Ok(self.source.map_or(Ok(()), Source::finish)?)
    }
}

impl SecondRound {
    fn of_input(file: Option<&File>) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::Spooled(Spooled::default())) };
        let reading = |source| layer_format::Error::io("reading the archive", source);
        let mut file = file.try_clone().map_err(reading)?;
        let start = file.stream_position().map_err(reading)?;
        Ok(Self::Seek(file, start))
    }
}

impl Spooled {
    /// Keeps the layers before `end` that the caller left out.
    fn keep(
        &mut self,
        source: &mut Source,
        image: &Image,
        end: usize,
        store: Option<&Store>,
    ) -> Result<()> {
        for position in self.starts.len()..end {
            let mut file = self.begin(store)?;
            let mut content = source.layer(image, position)?;
            io::copy(&mut content, &mut file).map_err(keeping)?;
        }
        Ok(())
    }

    /// Begins the next layer in the file, which is made if need be.
    fn begin(&mut self, store: Option<&Store>) -> Result<&File> {
        if self.file.is_none() {
            self.file = Some(spool(store)().map_err(keeping)?);
        }
        let file = self.file.as_ref().ok_or_else(changed)?;
        self.starts.push((&mut &*file).stream_position().map_err(keeping)?);
        Ok(file)
    }

    /// The file is unlinked, so that no other program can write to it.
    fn section(&self, position: usize) -> Result<Section<&File>> {
        let kept = self.file.as_ref().zip(self.starts.get(position));
        let (file, start) = kept.ok_or_else(changed)?;
        let end = self.starts.get(position + 1).copied().unwrap_or(u64::MAX);
        Ok(Section::new(file, *start..end))
    }
}

/// A reader of a stored layer that also writes it to the temporary file.
struct Spooling<'a> {
    content: Box<dyn Read + 'a>,
    file: &'a File,
}

impl Read for Spooling<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read(buffer)?;
        self.file.write_all(&buffer[..n]).map_err(|source| io::Error::other(keeping(source)))?;
        Ok(n)
    }
}

fn keeping(source: io::Error) -> layer_format::Error {
    layer_format::Error::io("keeping what comes early", source)
}

fn changed() -> Error {
    let reason = "changed while it was read";
    layer_format::Error::Malformed { what: "the archive".to_owned(), reason }.into()
}
