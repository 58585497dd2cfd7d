//! One layer, from its blob to a directory of its own, verified to the last byte.

use std::io::BufReader;

use anyhow::Context as _;
use cli::Task;
use cli::interrupt::Interruptible;
use image::Layer;
use image::layer::{BUFFER, Content};
use layer_format::layer::{Change, Reader};
use rootfs::overlay::{Control, Overlay, StandaloneCheck, WritableLayer};
use rootfs::{Applier, Root, Skipped};
use store::{About, Extracted, Layers, ListingDraft, Store};

use crate::directory::{self, Draft, open};
use crate::floor::{Floor, OPTIONS};
use crate::keys::Keys;
use crate::mount_error;

/// What the extraction of each layer of an image needs.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) store: &'a Store,
    pub(crate) cache: &'a Layers,
    pub(crate) control: Control,
}

/// Extracts a layer: by itself if it turns out to stand alone, and otherwise again on top of those `below`, base first. Adds to
/// `skipped` the attributes that the system refused to set.
///
/// # Errors
/// Those of the layer, of the kernel and of the store.
pub(crate) fn layer(
    job: &Job<'_>,
    layer: &Layer,
    keys: Keys,
    below: &[Extracted],
    task: &Task,
    skipped: &mut Skipped,
) -> anyhow::Result<Extracted> {
    let draft = Draft::begin(job.cache)?;
    let alone = Applier::new(draft.root()?, OPTIONS)?;
    let applied = apply(job, layer, alone, Some(StandaloneCheck::new()), task)?;
    if let Some(applied) = applied {
        skipped.add(applied.skipped);
        return draft.finish(applied.about(keys, true));
    }
    rootfs::clear(&draft.root()?, None)?;
    task.position(0);
    let applied = over(job, layer, &draft, below, task)?;
    skipped.add(applied.skipped);
    draft.finish(applied.about(keys, false))
}

/// What is known of a layer once it has been applied.
struct Applied {
    /// Whether the layer has an entry for the root directory.
    describes_root: bool,
    /// The bytes of its files.
    bytes: u64,
    skipped: Skipped,
}

impl Applied {
    fn about(&self, keys: Keys, stands_alone: bool) -> About {
        let key = if stands_alone { keys.diff } else { keys.chain };
        About { key, stands_alone, describes_root: self.describes_root, bytes: self.bytes }
    }
}

/// Applies a layer to a mount of those below it; the kernel writes the changes into the draft.
fn over(
    job: &Job<'_>,
    layer: &Layer,
    draft: &Draft,
    below: &[Extracted],
    task: &Task,
) -> anyhow::Result<Applied> {
    let work = make_dir(draft, "work")?;
    let mut lowers = open(below.iter().rev())?;
    if lowers.is_empty() {
        let floor = make_dir(draft, "floor")?;
        Floor::Bare.fill(&floor)?;
        lowers.push(floor);
    }
    let upper = draft.root()?;
    let upper = Some(WritableLayer { dir: &upper, work: &work });
    let overlay = Overlay { source: "strata", lowers: &lowers, upper, control: job.control };
    let mount = overlay.mount().map_err(mount_error::explain)?;
    let applied = apply(job, layer, Applier::new(mount.root()?, OPTIONS)?, None, task)?;
    drop(mount);
    for name in ["work", "floor"] {
        directory::remove(&draft.path().join(name))?;
    }
    Ok(applied.expect("it need not stand alone"))
}

/// Makes a directory beside the layer's in the draft, and opens it.
fn make_dir(draft: &Draft, name: &str) -> anyhow::Result<Root> {
    let path = draft.path().join(name);
    std::fs::create_dir(&path).context("making a directory in the layer cache")?;
    Ok(Root::open(&path)?)
}

/// Applies a layer. With `alone`, gives up at the first change for which the layer doesn't stand alone, and returns `None`.
fn apply(
    job: &Job<'_>,
    layer: &Layer,
    mut applier: Applier,
    mut alone: Option<StandaloneCheck>,
    task: &Task,
) -> anyhow::Result<Option<Applied>> {
    let mut listing = ListingDraft::if_missing(job.store, &layer.diff_id);
    let stored = task.read(image::stored_layer(job.store, layer)?);
    let mut content = Content::of(layer, stored, Some(job.store))?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, Interruptible(&mut content)));
    let mut describes_root = false;
    applier.begin_layer();
    while let Some(change) = reader.read_change()? {
        cli::interrupt::check()?;
        if alone.as_mut().is_some_and(|alone| !alone.admits(&change)) {
            return Ok(None);
        }
        if let Some(listing) = &mut listing {
            listing.add(&change, Some(reader.position()));
        }
        describes_root |= matches!(&change, Change::Add(entry) if entry.path.is_root());
        applier.apply(&change, &mut reader)?;
    }
    applier.end_layer()?;
    if let Some(listing) = listing {
        listing.keep(&layer.diff_id);
    }
    drop(reader);
    content.note(Some(job.store));
    let report = applier.finish()?;
    Ok(Some(Applied { describes_root, bytes: report.bytes, skipped: report.skipped }))
}
