//! Refuses layers that unpack would refuse: each change is checked as it comes. A hard link to a file of a layer below is
//! checked against the tree of those layers, once the new one has been read.

use std::fs::File;
use std::io::BufReader;

use cli::interrupt::{self, Interruptible};
use image::layer::BUFFER;
use layer_format::layer::{Change, Reader, check_possible};
use layer_format::listing::{OwnLinks, Tree};
use layer_format::{Decoder, DiffId, Error};
use store::{ListingDraft, Store};

/// What is known of the layer's changes so far.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) n_entries: u64,
    links: OwnLinks,
    listing: Option<ListingDraft>,
}

impl Changes {
    /// Starts without changes. With a store, the listing of the layer will be left there.
    pub(crate) fn new(store: Option<&Store>) -> Self {
        Self { listing: store.map(ListingDraft::new), ..Self::default() }
    }

    /// Takes the next change. `content` is the offset in the layer at which a file's content begins.
    ///
    /// # Errors
    /// If it can't be unpacked, or is the beginning of an image stream.
    pub(crate) fn take(&mut self, change: &Change, content: u64) -> anyhow::Result<()> {
        if self.n_entries == 0 && is_start_of_stream(change) {
            return Err(cli::usage("an image stream, not a layer")
                .hint("load takes image streams; flatten makes one layer of an image")
                .into());
        }
        check_possible(change)?;
        self.n_entries += 1;
        self.links.take(change);
        if let Some(listing) = &mut self.listing {
            listing.add(change, Some(content));
        }
        Ok(())
    }

    /// Whether all hard links lead to files of the layer itself, so that they are good on any base.
    pub(crate) fn are_good(&self) -> bool {
        self.links.are_good()
    }

    /// Leaves the listing in the store.
    pub(crate) fn keep(self, diff_id: &DiffId) {
        if let Some(listing) = self.listing {
            listing.keep(diff_id);
        }
    }
}

fn is_start_of_stream(change: &Change) -> bool {
    matches!(change, Change::Add(entry) if entry.path.as_bytes() == b"oci-layout")
}

/// Checks that a layer, compressed or not, can be unpacked on top of its base.
///
/// # Errors
/// Those of the first change that can't.
pub(crate) fn on_top(mut base: Tree, layer: File) -> anyhow::Result<()> {
    let reading = |source| Error::io("reading the layer again", source);
    let decoder = Decoder::new(BufReader::with_capacity(BUFFER, layer)).map_err(reading)?;
    let mut layer = Reader::new(BufReader::with_capacity(BUFFER, Interruptible(decoder)));
    base.begin_layer();
    while let Some(change) = layer.read_change()? {
        interrupt::check()?;
        base.apply(&change)?;
    }
    Ok(())
}
