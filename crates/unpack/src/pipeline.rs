//! The stages of an unpack, which run at the same time: reading and hashing stored bytes, decompressing them, hashing the
//! result, and writing files.
//!
//! ```text
//! reader ──raw──► decoder ──plain──► applier (this thread)
//!                    └─────plain──► hasher ──diff id──► applier
//! ```
//!
//! The decoder and the hasher are [`Decompressed`]. The threads aren't scoped: when a layer can't be applied, the program doesn't
//! wait for a reader that hangs on a silent pipe.

use std::io;
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::interrupt::Interruptible;
use cli::{Progress, Task};
use image::{Image, Layer, Source};
use layer_format::layer::{Change, Reader};
use layer_format::{Error, SeekIndex};
use rootfs::{Applier, Report};
use store::{ListingDraft, Pair, Store};
use stream::decompress::{Ask, Decompressed};
use stream::relay::{Gone, Pool, Sender, relay};

use crate::limits::Budget;
use crate::writeback::Writeback;

/// How many chunks may wait for the decoder.
const DEPTH: usize = 8;

/// What is known of a layer before it is read.
#[derive(Clone, Copy, Debug)]
struct Plan {
    pair: Pair,
    /// What has to be computed to prove the diff id.
    ask: Ask,
}

/// The directory that is being filled, and the limits for it.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) applier: Applier,
    pub(crate) budget: Budget,
    /// `None` with `--no-sync`.
    pub(crate) writeback: Option<Writeback>,
}

/// The other stages, as the applier sees them.
struct Stages {
    layers: Decompressed,
    reader: thread::JoinHandle<Result<(), Error>>,
}

/// Applies all layers of `image`, and verifies them to the last byte.
///
/// # Errors
/// Those of the image, of the limits and of the disk.
pub(crate) fn unpack(
    source: Source,
    image: &Image,
    mut filling: Filling,
    store: Option<&Store>,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let plans = plan(image, store);
    let started = start(source, image.clone(), &plans, (store.cloned(), progress.clone()));
    let mut stages = started.context("starting a thread")?;
    for (position, plan) in plans.iter().enumerate() {
        let mut listing =
            store.and_then(|store| ListingDraft::if_missing(store, plan.pair.diff_id()));
        let applied = apply(&mut stages.layers, &mut filling, plan, listing.as_mut());
        if applied.is_err() {
            plan.pair.forget_index(store);
        }
        let index = applied.with_context(|| image.layer_name(position))?;
        if let Some(listing) = listing {
            listing.keep(plan.pair.diff_id());
        }
        if plan.ask != Ask::Nothing {
            plan.pair.remember(store);
        }
        if let Some(index) = index {
            plan.pair.keep_index(&index, store);
        }
    }
    match stages.reader.join() {
        Ok(finished) => finished?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    let report = filling.applier.finish()?;
    if let Some(writeback) = filling.writeback {
        writeback.finish().context("bringing files to the disk")?;
    }
    Ok(report)
}

fn plan(image: &Image, store: Option<&Store>) -> Vec<Plan> {
    let plan = |layer: &Layer| {
        let pair = Pair::of(layer);
        Plan { pair, ask: pair.ask(store) }
    };
    image.layers.iter().map(plan).collect()
}

fn start(
    source: Source,
    image: Image,
    plans: &[Plan],
    (store, progress): (Option<Store>, Progress),
) -> io::Result<Stages> {
    let (sending, raw) = relay(DEPTH);
    let asks = plans.iter().map(|plan| plan.ask).collect();
    let pairs: Vec<_> = plans.iter().map(|plan| plan.pair).collect();
    let seek = move |position: usize| pairs[position].seek(store.as_ref());
    let layers = Decompressed::start_seeking(raw, asks, seek, never)?;
    // The reader, which may hang on a silent pipe, is started last: without input the others end.
    let reader = Builder::new().spawn(move || read(source, &image, &sending, &progress))?;
    Ok(Stages { layers, reader })
}

/// The applier asks for interrupts, and the decoder ends with it.
fn never() -> bool {
    false
}

/// The first stage: stored bytes, checked against the manifest's digests.
fn read(mut source: Source, image: &Image, raw: &Sender, progress: &Progress) -> Result<(), Error> {
    let pool = Pool::default();
    let begin = |layer: &Layer| progress.task(layer.digest().short(), layer.size());
    let tasks: Vec<Task> = image.layers.iter().map(begin).collect();
    let sizes: Option<Vec<u64>> = image.layers.iter().map(Layer::size).collect();
    if let Some(sizes) = sizes {
        progress.expect(sizes.into_iter().fold(0, u64::saturating_add));
    }
    for (position, task) in tasks.into_iter().enumerate() {
        task.state("Extracting");
        let sent = match source.layer(image, position) {
            Ok(content) => raw.send_all(&pool, &mut task.read(content)),
            Err(error) => raw.fail(error.into()).and(Err(Gone)),
        };
        if sent.is_err() {
            // The applier has the error, or had one of its own.
            return Ok(());
        }
        task.done("Unpacked");
    }
    source.finish()
}

/// The last stage: files. Returns the layer's seek index, if one was made.
fn apply(
    layers: &mut Decompressed,
    filling: &mut Filling,
    plan: &Plan,
    mut listing: Option<&mut ListingDraft>,
) -> anyhow::Result<Option<SeekIndex>> {
    let mut layer = Reader::new(Interruptible(layers.plain()));
    let Filling { applier, budget, writeback } = filling;
    applier.begin_layer();
    while let Some(change) = layer.read_change()? {
        // The chunks that have come already may hold many small files.
        cli::interrupt::check()?;
        budget.spend(&change)?;
        if let Some(listing) = &mut listing {
            listing.add(&change, Some(layer.position()));
        }
        applier.apply(&change, &mut layer)?;
        if let (Some(writeback), Change::Add(entry)) = (&mut *writeback, &change) {
            writeback.advance(entry.kind.content_size());
        }
    }
    applier.end_layer()?;
    let found = layers.end_blob()?;
    if let Some(digest) = found.digest {
        plan.pair.check(digest)?;
    }
    Ok(found.index)
}
