//! The image's layers, read once or twice: verified, with progress.

use std::io::{BufReader, Read};

use anyhow::Context as _;
use cli::Progress;
use cli::interrupt::Stopping;
use layer_format::Error;
use layer_format::archive::Image;
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
            let name = || self.image.layer_name(position);
            if self.opened.add_listed(&mut tree, position).with_context(name)? {
                continue;
            }
            let task = self.progress.task(layer.digest().short(), layer.size());
            task.state("Listing");
            let stored = self.opened.stored(position).with_context(name)?;
            let passing = Stopping(task.read(stored));
            store::add_layer(&mut tree, layer, passing, self.store).with_context(name)?;
            task.done("Listed");
        }
        self.opened.rewind()?;
        Ok(tree)
    }

    /// Reads each layer, base first; at its end it has been verified. Then the archive is read to its end.
    pub(crate) fn read(
        mut self,
        mut read: impl FnMut(
            usize,
            &mut Reader<BufReader<Stopping<Box<dyn Read + '_>>>>,
        ) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        for (position, layer) in self.image.layers.iter().enumerate() {
            let name = || self.image.layer_name(position);
            let task = self.progress.task(layer.digest().short(), layer.size());
            task.state("Flattening");
            let stored = self.opened.stored(position).with_context(name)?;
            let passing = Stopping(task.read(stored));
            let content = store::uncompressed(layer, passing, self.store).with_context(name)?;
            let mut reader = Reader::new(BufReader::with_capacity(BUFFER, Stopping(content)));
            read(position, &mut reader).with_context(name)?;
            drop(reader);
            task.done("Flattened");
        }
        Ok(self.opened.finish()?)
    }
}
