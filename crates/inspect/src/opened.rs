//! The image, found; and its layers, uncompressed and verified as they are read.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use anyhow::Context as _;
use cli::interrupt::Stopping;
use cli::{Explain as _, Io, Progress, Task};
use layer_format::archive::{Choice, Image};
use layer_format::layer::Reader;
use layer_format::{Codec, Decoder, Error, Verified};
use store::{Location, Source, Store};

/// The size of the pieces that layers are read in.
const BUFFER: usize = 128 << 10;

/// An image and the place that it is in.
#[derive(Debug)]
pub(crate) struct Opened {
    source: Source,
    pub(crate) image: Image,
    pub(crate) location: Location,
    /// Ours, if there is one.
    pub(crate) store: Option<Store>,
    choice: Choice,
    /// Where the stored bytes of layers are kept that can't be read twice.
    pub(crate) kept: Option<File>,
}

/// How large a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stored: u64,
    pub(crate) uncompressed: u64,
}

impl Opened {
    /// Opens what IMAGE means, and finds the image in it.
    pub(crate) fn open(
        text: &str,
        store: Option<&Path>,
        choice: Choice,
        io: &mut Io<'_>,
    ) -> anyhow::Result<Self> {
        let store = Store::path_or_usual(store).and_then(Store::open_existing);
        let location = Location::from(text);
        let mut source = match location {
            Location::Input => standard_input(store.as_ref().ok().and_then(Option::as_ref), io)?,
            Location::Stored(ref name) => match &store {
                Ok(Some(store)) => Source::stored(store.clone(), name.clone()),
                Ok(None) => {
                    let none = store::Error::NotFound { text: name.clone() };
                    return Err(none).hinted(store::Error::hint);
                }
                Err(_) => return Err(store.map(|_| ()).expect_err("it is an error").into()),
            },
            ref location => open(location, store.as_ref().ok().and_then(Option::as_ref))?,
        };
        let image = source.image(&choice).hinted(store::Error::hint)?;
        image.doubt.iter().for_each(|doubt| io.warn(doubt));
        Ok(Self { source, image, location, store: store.ok().flatten(), choice, kept: None })
    }

    /// The same image anew, to read its layers again.
    pub(crate) fn reopened(&self) -> anyhow::Result<Self> {
        let store = self.store.as_ref();
        let mut source = match (&self.location, &self.source) {
            (_, Source::Stored { store, name }) => {
                Source::Stored { store: store.clone(), name: name.clone() }
            }
            (location, _) => open(location, store)?,
        };
        let image = source.image(&self.choice)?;
        let (location, choice) = (self.location.clone(), self.choice.clone());
        Ok(Self { source, image, location, store: self.store.clone(), choice, kept: None })
    }

    /// The layout that the image is in, if it is in one.
    pub(crate) fn layout(&self) -> Option<&Store> {
        match &self.source {
            Source::Stored { store, .. } => Some(store),
            Source::Archive(_) => None,
        }
    }

    /// Reads a whole layer as changes; at its end all its bytes have been checked.
    pub(crate) fn read_layer<T>(
        &mut self,
        position: usize,
        progress: &Progress,
        read: impl FnOnce(&mut Reader<BufReader<Stopping<&mut dyn Read>>>) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        let (result, _) = self.layer(position, progress, |content| {
            read(&mut Reader::new(BufReader::with_capacity(BUFFER, Stopping(content))))
        })?;
        Ok(result)
    }

    /// Reads a whole layer only to see how large it is.
    pub(crate) fn measure(
        &mut self,
        position: usize,
        progress: &Progress,
    ) -> anyhow::Result<Sizes> {
        let count = |content: &mut dyn Read| {
            let copied = io::copy(content, &mut io::sink());
            copied.map_err(|source| Error::io("reading a layer", source))
        };
        let (uncompressed, stored) = self.layer(position, progress, count)?;
        Ok(Sizes { stored, uncompressed })
    }

    /// How many bytes a layer takes as it is stored.
    pub(crate) fn stored_size(
        &mut self,
        position: usize,
        progress: &Progress,
    ) -> anyhow::Result<u64> {
        match &self.image.layers[position].blob {
            Some(blob) => Ok(blob.size),
            None => Ok(self.measure(position, progress)?.stored),
        }
    }

    /// A layer's stored bytes.
    pub(crate) fn stored_layer(&mut self, position: usize) -> anyhow::Result<Box<dyn Read + '_>> {
        Ok(self.source.layer(&self.image, position)?)
    }

    /// Reads an archive to its end and checks that it is whole.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        Ok(self.source.finish()?)
    }

    fn layer<T>(
        &mut self,
        position: usize,
        progress: &Progress,
        read: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
    ) -> anyhow::Result<(T, u64)> {
        let name = || self.image.layer_name(position);
        let layer = &self.image.layers[position];
        let task = progress.task(layer.digest().short(), layer.size());
        task.state("Reading");
        let pair =
            layer.blob.as_ref().and_then(|blob| self.store.as_ref()?.verified_pair(&blob.digest));
        let is_known = pair == Some(layer.diff_id);
        let content = self.source.layer(&self.image, position).with_context(name)?;
        let mut passing = Passing { content, task: &task, kept: self.kept.as_mut(), size: 0 };
        let result = decode(&mut passing, layer, is_known, read).with_context(name)?;
        let size = passing.size;
        task.done("Read");
        Ok((result, size))
    }
}

/// Hands the uncompressed bytes to `read`, checked against the diff id unless that was done before.
fn decode<T>(
    stored: impl Read,
    layer: &layer_format::archive::Layer,
    is_known: bool,
    read: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut decoder = Decoder::new(BufReader::with_capacity(BUFFER, stored))
        .map_err(|source| Error::io("reading a layer", source))?;
    let blob = layer.blob.as_ref().map(|blob| blob.digest);
    // Without compression both digests are of the same bytes.
    let is_same = decoder.codec() == Codec::None && blob == Some(layer.diff_id.0);
    if is_known || is_same {
        return read(&mut decoder);
    }
    read(&mut Verified::new(decoder, "uncompressed layer", layer.diff_id.0, None))
}

/// Counts stored bytes, and keeps them where that was asked for.
struct Passing<'a, R> {
    content: R,
    task: &'a Task,
    kept: Option<&'a mut File>,
    size: u64,
}

impl<R: Read> Read for Passing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        cli::interrupt::check().map_err(io::Error::other)?;
        let n = self.content.read(buffer)?;
        if let Some(kept) = &mut self.kept {
            kept.write_all(&buffer[..n])?;
        }
        self.size += n as u64;
        self.task.advance(n as u64);
        Ok(n)
    }
}

fn standard_input(store: Option<&Store>, io: &mut Io<'_>) -> anyhow::Result<Source> {
    let input = io.input.take_binary()?;
    let file = input.as_regular_file().map(File::try_clone).transpose();
    let file = file.context("opening standard input")?;
    Source::from_input(input, file, store).context("standard input")
}

fn open(location: &Location, store: Option<&Store>) -> anyhow::Result<Source> {
    match location {
        Location::Path(path) => Ok(Source::at(path, store)?),
        Location::Archive(path) => Ok(Source::archive(path, store)?),
        Location::Layout(path) => Ok(Source::layout(path)?),
        Location::Dir(path) | Location::Layer(path) => {
            let path = path.to_string_lossy();
            Err(cli::usage(format!("{path}: only an image can be inspected")).into())
        }
        Location::Input | Location::Stored(_) => unreachable!("opened by the caller"),
    }
}
