//! The image's layers, read once or twice: verified, with progress.

use std::io::{self, BufReader, Read};

use anyhow::Context as _;
use cli::{Progress, Task};
use layer_format::Error;
use layer_format::archive::{Image, Layer};
use layer_format::layer::Reader;
use layer_format::listing::Tree;
use store::{Opened, Store};

/// The size of the pieces that layers are read in.
const BUFFER: usize = 128 << 10;

/// An image's layers.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    opened: Opened,
    /// As it was found first.
    pub(crate) image: Image,
    pub(crate) store: Option<&'a Store>,
    progress: &'a Progress,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(opened: Opened, store: Option<&'a Store>, progress: &'a Progress) -> Self {
        let image = opened.image().clone();
        Self { opened, image, store, progress }
    }

    /// What the layers make together: from their listings, or from themselves where there is none.
    pub(crate) fn tree(&mut self) -> anyhow::Result<Tree> {
        let mut tree = Tree::new();
        for (position, layer) in self.image.layers.iter().enumerate() {
            let name = || name(position, &self.image);
            if self.opened.add_listed(&mut tree, position).with_context(name)? {
                continue;
            }
            let task = begin(layer, self.progress);
            task.state("Listing");
            let stored = self.opened.stored(position).with_context(name)?;
            let passing = Passing { content: stored, task: &task };
            store::add_layer(&mut tree, layer, passing, self.store).with_context(name)?;
            task.done("Listed");
        }
        self.opened.rewind()?;
        Ok(tree)
    }

    /// Reads each layer, base first; at its end it has been verified. Then the archive is read to its end.
    pub(crate) fn read(
        mut self,
        mut read: impl FnMut(usize, &mut Reader<BufReader<Box<dyn Read + '_>>>) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        for (position, layer) in self.image.layers.iter().enumerate() {
            let name = || name(position, &self.image);
            let task = begin(layer, self.progress);
            task.state("Flattening");
            let stored = self.opened.stored(position).with_context(name)?;
            let passing = Passing { content: stored, task: &task };
            let content = store::uncompressed(layer, passing, self.store).with_context(name)?;
            let mut reader = Reader::new(BufReader::with_capacity(BUFFER, content));
            read(position, &mut reader).with_context(name)?;
            drop(reader);
            task.done("Flattened");
        }
        Ok(self.opened.finish()?)
    }
}

/// Stored bytes on their way: counted, and ended by signals.
struct Passing<'a, R> {
    content: R,
    task: &'a Task,
}

impl<R: Read> Read for Passing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        cli::interrupt::check().map_err(io::Error::other)?;
        let n = self.content.read(buffer)?;
        self.task.advance(n as u64);
        Ok(n)
    }
}

fn begin(layer: &Layer, progress: &Progress) -> Task {
    progress.task(id(layer), layer.blob.as_ref().map(|blob| blob.size))
}

/// The first digits by which people know a layer.
fn id(layer: &Layer) -> String {
    layer.blob.as_ref().map_or(layer.diff_id.0, |blob| blob.digest).short()
}

/// Names a layer in an error: which of how many, and its digest.
fn name(position: usize, image: &Image) -> String {
    let id = id(&image.layers[position]);
    format!("layer {} of {} ({id})", position + 1, image.layers.len())
}
