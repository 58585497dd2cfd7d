//! An image that is read up to twice: for what its layers hold, where no listing tells, and for their contents.
//!
//! A store or a layout gives layers as often as they are asked for, and a file is opened again. What comes down a pipe is
//! kept meanwhile, as it is stored, in an unlinked file.
//!
//! ```text
//! open ──► first round: stored(n), as far as it is needed ──► rewind ──► second round: stored(n) ──► finish
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use layer_format::archive::{Choice, Image};
use layer_format::listing::Tree;

use crate::Result;
use crate::error::Error;
use crate::source::{Location, Source, spool};
use crate::store::Store;

/// An image, found, whose layers can be read twice.
#[derive(Debug)]
pub struct Opened {
    /// None once a pipe is read to its end.
    source: Option<Source>,
    again: Again,
    choice: Choice,
    image: Image,
    store: Option<Store>,
    was_read: bool,
}

/// How the layers are had once more.
#[derive(Debug)]
enum Again {
    /// Their source gives them.
    Same,
    /// The file is opened again.
    Path(PathBuf),
    /// The archive begins here in an open file.
    Seek(File, u64),
    /// They are kept.
    Kept(Kept),
}

/// Stored layers, one after the other.
#[derive(Debug, Default)]
struct Kept {
    file: Option<File>,
    /// Where each begins.
    starts: Vec<u64>,
}

impl Opened {
    /// Opens what IMAGE means and finds the image in it; `choice` says which, where there are several. Standard input is for
    /// [`from_input`](Self::from_input).
    pub fn open(location: &Location, choice: Choice, store: Option<&Store>) -> Result<Self> {
        let source = match location {
            Location::Path(path) => Source::at(path, store)?,
            Location::Archive(path) => Source::archive(path, store)?,
            Location::Layout(path) => Source::layout(path)?,
            Location::Stored(name) => match store {
                Some(store) => Source::stored(store.clone(), name.clone()),
                None => return Err(Error::NotFound { text: name.clone() }),
            },
            Location::Input => return Err(Error::NotAnImage { what: "standard input".to_owned() }),
            Location::Dir(path) | Location::Layer(path) => {
                return Err(Error::NotAnImage { what: path.to_string_lossy().into_owned() });
            }
        };
        let again = match (&source, location) {
            (Source::Archive(_), Location::Path(path) | Location::Archive(path)) => {
                let metadata = std::fs::metadata(path).map_err(Error::io("looking at", path))?;
                // Whatever else it is can be read once.
                if metadata.is_file() {
                    Again::Path(path.clone())
                } else {
                    Again::Kept(Kept::default())
                }
            }
            _ => Again::Same,
        };
        Self::find(source, again, choice, store)
    }

    /// Opens an archive on standard input or the like. `file` is the same input where it is a regular file.
    pub fn from_input(
        input: impl Read + Send + 'static,
        file: Option<File>,
        choice: Choice,
        store: Option<&Store>,
    ) -> Result<Self> {
        let again = match &file {
            Some(file) => {
                let reading = |source| layer_format::Error::io("reading the archive", source);
                let mut file = file.try_clone().map_err(reading)?;
                let start = file.stream_position().map_err(reading)?;
                Again::Seek(file, start)
            }
            None => Again::Kept(Kept::default()),
        };
        Self::find(Source::from_input(input, file, store)?, again, choice, store)
    }

    fn find(
        mut source: Source,
        again: Again,
        choice: Choice,
        store: Option<&Store>,
    ) -> Result<Self> {
        let image = source.image(&choice)?;
        let store = store.cloned();
        Ok(Self { source: Some(source), again, choice, image, store, was_read: false })
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Takes a layer into a tree from its listing, if the store has one.
    pub fn add_listed(&self, tree: &mut Tree, position: usize) -> Result<bool> {
        let diff_id = &self.image.layers[position].diff_id;
        self.store.as_ref().map_or(Ok(false), |store| store.add_listed(tree, diff_id))
    }

    /// The stored bytes of a layer, which are to be read to their end, where they have been checked against the manifest.
    /// In each round the layers in order, any of them left out.
    pub fn stored(&mut self, position: usize) -> Result<Box<dyn Read + '_>> {
        self.was_read = true;
        let Some(source) = &mut self.source else {
            let Again::Kept(kept) = &self.again else { return Err(changed()) };
            return Ok(Box::new(kept.section(position)));
        };
        let Again::Kept(kept) = &mut self.again else {
            return Ok(source.layer(&self.image, position)?);
        };
        kept.keep(source, &self.image, position, self.store.as_ref())?;
        let file = kept.begin(self.store.as_ref())?;
        let content = source.layer(&self.image, position)?;
        Ok(Box::new(Keeping { content, file }))
    }

    /// Ends the first round. If any layer was read, the archive has now been read to its end and was whole.
    pub fn rewind(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.was_read) {
            self.again = Again::Same;
            return Ok(());
        }
        if matches!(self.again, Again::Same) {
            return Ok(());
        }
        let Some(mut source) = self.source.take() else { return Ok(()) };
        if let Again::Kept(kept) = &mut self.again {
            let n_layers = self.image.layers.len();
            kept.keep(&mut source, &self.image, n_layers, self.store.as_ref())?;
        }
        // It may share its place in the file with the one that comes after it.
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
        Ok(match &mut self.again {
            Again::Same | Again::Kept(_) => None,
            Again::Path(path) => Some(Source::archive(path, store)?),
            Again::Seek(file, start) => {
                file.seek(SeekFrom::Start(*start)).map_err(reading)?;
                let file = file.try_clone().map_err(reading)?;
                Some(Source::from_input(io::empty(), Some(file), store)?)
            }
        })
    }

    /// Reads what is left of an archive and checks that it is whole.
    pub fn finish(self) -> Result<()> {
        Ok(self.source.map_or(Ok(()), Source::finish)?)
    }
}

impl Kept {
    /// Keeps the layers below `end` that nobody has asked for.
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

    /// The file, for the next layer.
    fn begin(&mut self, store: Option<&Store>) -> Result<&File> {
        if self.file.is_none() {
            self.file = Some(spool(store)().map_err(keeping)?);
        }
        let file = self.file.as_ref().ok_or_else(changed)?;
        self.starts.push((&mut &*file).stream_position().map_err(keeping)?);
        Ok(file)
    }

    fn section(&self, position: usize) -> Section<'_> {
        let at = self.starts.get(position).copied().unwrap_or(u64::MAX);
        let end = self.starts.get(position + 1).copied().unwrap_or(u64::MAX);
        Section { file: self.file.as_ref(), at, end }
    }
}

/// A layer that is kept while it is read.
struct Keeping<'a> {
    content: Box<dyn Read + 'a>,
    file: &'a File,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read(buffer)?;
        self.file.write_all(&buffer[..n]).map_err(|source| io::Error::other(keeping(source)))?;
        Ok(n)
    }
}

/// A layer that was kept. Nobody else can write to the file.
struct Section<'a> {
    file: Option<&'a File>,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = self.file else { return Ok(0) };
        let left = self.end.saturating_sub(self.at);
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = file.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
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
