//! Writes the new image as a stream.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};

use anyhow::Context as _;
use cli::{Io, Output, Progress};
use image::Opened;
use layer_format::{Descriptor, Manifest, Reference};
use store::Store;
use stream::{Graph, Name, Preamble, Writer};

/// An image that is about to be written.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) names: &'a [Reference],
    pub(crate) manifest: Manifest,
}

impl Outgoing<'_> {
    fn begin<'a>(&self, output: &'a mut Output) -> anyhow::Result<Writer<&'a mut Output>> {
        let target = self.manifest.descriptor();
        let target = Descriptor::new(&target.media_type, target.digest, target.size);
        let name =
            |name: &Reference| Name { reference: Some(name.clone()), target: target.clone() };
        let names: Vec<_> = self.names.iter().map(name).collect();
        let image = Graph { indexes: vec![], manifests: vec![self.manifest.clone()] };
        let mut writer = Writer::new(output, &Preamble::of(&names, std::slice::from_ref(&image))?)?;
        writer.documents(&image)?;
        Ok(writer)
    }

    /// Writes the image from the store; the kernel copies the blobs.
    pub(crate) fn out_of_store(&self, store: &Store, io: &mut Io<'_>) -> anyhow::Result<()> {
        let progress = io.progress.clone();
        let mut writer = self.begin(&mut io.output)?;
        for blob in self.manifest.parts() {
            send(&mut writer, &store.whole_blob(blob)?, blob, &progress)?;
        }
        cli::interrupt::check()?;
        writer.finish().map(drop)?;
        Ok(())
    }

    /// Writes the image without a store: the layers of the base as they are read, the new one from its file.
    pub(crate) fn without_store(
        &self,
        config: &[u8],
        below: Option<Opened>,
        mut layer: File,
        io: &mut Io<'_>,
    ) -> anyhow::Result<()> {
        let progress = io.progress.clone();
        let mut writer = self.begin(&mut io.output)?;
        writer.blob(&self.manifest.config, config)?;
        if let Some(mut below) = below {
            let n_below = below.image().layers.len();
            for (position, blob) in self.manifest.layers.iter().take(n_below).enumerate() {
                pass(&mut below, position, blob, &mut writer, &progress)?;
            }
            below.finish()?;
        }
        layer.seek(SeekFrom::Start(0)).context("reading the new layer")?;
        if let Some(blob) = self.manifest.layers.last() {
            send(&mut writer, &layer, blob, &progress)?;
        }
        cli::interrupt::check()?;
        writer.finish().map(drop)?;
        Ok(())
    }
}

/// Writes a layer of the base as it is read.
fn pass(
    below: &mut Opened,
    position: usize,
    blob: &Descriptor,
    writer: &mut Writer<&mut Output>,
    progress: &Progress,
) -> anyhow::Result<()> {
    cli::interrupt::check()?;
    if writer.has(&blob.digest) {
        return Ok(());
    }
    let task = progress.task(blob.digest.short(), Some(blob.size));
    task.state("Streaming");
    let content = task.read(below.stored(position)?);
    writer.blob(blob, content).with_context(|| format!("blob {}", blob.digest))?;
    task.done("Streamed");
    Ok(())
}

fn send(
    writer: &mut Writer<&mut Output>,
    file: &File,
    blob: &Descriptor,
    progress: &Progress,
) -> anyhow::Result<()> {
    let task = progress.task(blob.digest.short(), Some(blob.size));
    task.state("Streaming");
    let sent =
        writer.blob_by(blob, |output| output.send(file, 0..blob.size, &mut |n| task.advance(n)));
    sent.with_context(|| format!("blob {}", blob.digest))?;
    task.done("Streamed");
    Ok(())
}
