//! Loading from an OCI layout directory, for example another store. Only blobs that its images lead to are taken.

use std::collections::HashSet;
use std::fs::File;

use anyhow::Context as _;
use cli::Io;
use layer_format::{Descriptor, Error, Platform};
use store::Store;
use stream::Graph;
use stream::archive::{Blobs, Contents};

use crate::intake::{Intake, Offer, of_store};

/// Takes all images of a layout.
pub(crate) fn take(
    layout: &Store,
    platform: Option<&Platform>,
    intake: &mut Intake<'_>,
    io: &Io<'_>,
) -> anyhow::Result<Contents> {
    let entries: Vec<_> = layout.images()?.into_iter().map(|image| image.descriptor).collect();
    let contents = Contents::of_layout(entries, platform, &mut Layout { layout, intake })?;
    let mut known = HashSet::new();
    let parts = contents.images.iter().flat_map(|found| &found.parts);
    let new = parts.filter(|part| known.insert(part.blob.digest));
    io.progress.expect(new.map(|part| part.blob.size).fold(0, u64::saturating_add));
    let mut seen = HashSet::new();
    for found in &contents.images {
        let documents = descriptors(&found.image);
        let parts = found.parts.iter().map(|part| part.blob.clone());
        for blob in documents.chain(parts).filter(|blob| seen.insert(blob.digest)) {
            take_blob(&blob, layout, intake, io)
                .with_context(|| format!("blob {}", blob.digest))?;
        }
    }
    Ok(contents)
}

fn take_blob(
    blob: &Descriptor,
    layout: &Store,
    intake: &mut Intake<'_>,
    io: &Io<'_>,
) -> anyhow::Result<()> {
    if intake.is_there(&blob.digest, blob.size)? {
        return Ok(());
    }
    let content: File =
        layout.blob(&blob.digest)?.ok_or(store::Error::MissingBlob { digest: blob.digest })?;
    let task = io.progress.task(blob.digest.short(), Some(blob.size));
    task.state("Loading");
    let offer = Offer { claimed: Some(blob.digest), size: blob.size };
    intake.take(offer, &mut task.read(content))?;
    task.done("Loaded");
    Ok(())
}

fn descriptors(image: &Graph) -> impl Iterator<Item = Descriptor> {
    let indexes = image.indexes.iter().map(layer_format::Index::descriptor);
    indexes.chain(image.manifests.iter().map(layer_format::Manifest::descriptor))
}

/// The blobs that the layout has, and those that the store has already.
struct Layout<'a, 'b> {
    layout: &'a Store,
    intake: &'a mut Intake<'b>,
}

impl Blobs for Layout<'_, '_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool, Error> {
        let is_there = self.layout.has(&blob.digest, blob.size).map_err(of_store)?;
        Ok(is_there || self.intake.has(blob)?)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        match self.layout.document_if_here(&descriptor.digest).map_err(of_store)? {
            Some(raw) => Ok(Some(raw)),
            None => Blobs::document(self.intake, descriptor),
        }
    }
}
