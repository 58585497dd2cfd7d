//! The stages of an unpack, which run at the same time: reading and hashing stored bytes, decompressing them, hashing the
//! result, and writing files.
//!
//! ```text
//! reader ──raw──► decoder ──plain──► applier (this thread)
//!                    └─────plain──► hasher ──diff id──► applier
//! ```
//!
//! One thread for each stage is the fastest arrangement, measured on two cores (docs/performance.md). The threads aren't
//! scoped: when a layer can't be applied, the program doesn't wait for a reader that hangs on a silent pipe.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::interrupt::Interruptible;
use cli::{Progress, Task};
use image::{Image, Layer, Source};
use layer_format::layer::{Change, Reader};
use layer_format::{Algorithm, Decoder, Digest, Error, Hasher};
use rootfs::{Applier, Report};
use store::{ListingDraft, Pair, Store};
use stream::relay::{Chunk, Gone, Pool, Sending, Taking, relay};

use crate::limits::Budget;
use crate::writeback::Writeback;

/// How many chunks may wait between two stages: enough that no stage waits for a wake-up, few enough to stay in cache.
const DEPTH: usize = 8;

/// What is known of a layer before it is read.
#[derive(Clone, Copy, Debug)]
struct Plan {
    pair: Pair,
    /// Whether this pair of digests was verified before, so that the blob's digest proves the diff id.
    is_known: bool,
}

/// How a layer's diff id is verified.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// It follows from the blob's digest.
    Implied,
    /// It is computed by the hasher.
    Computed,
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
    plain: Taking,
    proofs: Receiver<Proof>,
    digests: Receiver<Digest>,
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
    let mut stages = start(source, image.clone(), plans.clone(), progress.clone())
        .context("starting a thread")?;
    for (position, plan) in plans.iter().enumerate() {
        let mut listing =
            store.and_then(|store| ListingDraft::if_missing(store, plan.pair.diff_id()));
        apply(&mut stages, &mut filling, plan, listing.as_mut())
            .with_context(|| image.layer_name(position))?;
        if let Some(listing) = listing {
            listing.keep(plan.pair.diff_id());
        }
        if !plan.is_known {
            plan.pair.remember(store);
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
        Plan { pair, is_known: pair.is_known(store) }
    };
    image.layers.iter().map(plan).collect()
}

fn start(source: Source, image: Image, plans: Vec<Plan>, progress: Progress) -> io::Result<Stages> {
    let (raw_sending, raw) = relay(DEPTH);
    let (plain_sending, plain) = relay(DEPTH);
    let (hash_sending, hashing) = relay(DEPTH);
    let (proof_sending, proofs) = sync_channel(plans.len());
    let (order_sending, orders) = sync_channel(plans.len());
    let (digest_sending, digests) = sync_channel(plans.len());
    // The reader, which may hang on a silent pipe, is started last: without input the others end.
    Builder::new().spawn(move || hash(hashing, &orders, &digest_sending))?;
    Builder::new().spawn(move || {
        let mut decoding = Decoding {
            raw,
            plain: plain_sending,
            hashing: hash_sending,
            orders: order_sending,
            proofs: proof_sending,
            pool: Pool::default(),
        };
        plans.iter().try_for_each(|plan| decoding.layer(plan))
    })?;
    let reader = Builder::new().spawn(move || read(source, &image, &raw_sending, &progress))?;
    Ok(Stages { plain, proofs, digests, reader })
}

/// The first stage: stored bytes, checked against the manifest's digests.
fn read(
    mut source: Source,
    image: &Image,
    raw: &Sending,
    progress: &Progress,
) -> Result<(), Error> {
    let pool = Pool::default();
    let begin = |layer: &Layer| progress.task(layer.digest().short(), layer.size());
    let tasks: Vec<Task> = image.layers.iter().map(begin).collect();
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

/// The second stage: decompresses the stored bytes for the applier and the hasher.
struct Decoding {
    raw: Taking,
    plain: Sending,
    hashing: Sending,
    orders: SyncSender<Algorithm>,
    proofs: SyncSender<Proof>,
    pool: Pool,
}

impl Decoding {
    fn layer(&mut self, plan: &Plan) -> Result<(), Gone> {
        let mut decoder = match Decoder::new(&mut self.raw) {
            Ok(decoder) => decoder,
            Err(error) => return self.plain.fail(error).and(Err(Gone)),
        };
        let hashing = if plan.is_known || plan.pair.is_same(decoder.codec()) {
            self.proofs.send(Proof::Implied).map_err(|_| Gone)?;
            None
        } else {
            self.orders.send(plan.pair.diff_id().0.algorithm()).map_err(|_| Gone)?;
            self.proofs.send(Proof::Computed).map_err(|_| Gone)?;
            Some(&self.hashing)
        };
        loop {
            match Chunk::read_from(&self.pool, &mut decoder) {
                Ok(Some(chunk)) => {
                    hashing.map_or(Ok(()), |hashing| hashing.send(chunk.clone()))?;
                    self.plain.send(chunk)?;
                }
                Ok(None) => break,
                Err(error) => return self.plain.fail(error).and(Err(Gone)),
            }
        }
        drop(decoder);
        hashing.map_or(Ok(()), Sending::end)?;
        self.raw.next_stream();
        self.plain.end()
    }
}

/// The third stage: digests of the uncompressed bytes, in order.
fn hash(mut plain: Taking, orders: &Receiver<Algorithm>, digests: &SyncSender<Digest>) {
    for algorithm in orders {
        let mut hasher = Hasher::new(algorithm);
        loop {
            match plain.take_chunk() {
                Ok(Some(chunk)) => hasher.update(&chunk),
                Ok(None) => break,
                // The decoder has failed, and has told the applier.
                Err(_) => return,
            }
        }
        plain.next_stream();
        if digests.send(hasher.finish()).is_err() {
            return;
        }
    }
}

/// The last stage: files.
fn apply(
    stages: &mut Stages,
    filling: &mut Filling,
    plan: &Plan,
    mut listing: Option<&mut ListingDraft>,
) -> anyhow::Result<()> {
    let mut layer = Reader::new(Interruptible(&mut stages.plain));
    let Filling { applier, budget, writeback } = filling;
    applier.begin_layer();
    while let Some(change) = layer.read_change()? {
        // The chunks that have come already may hold many small files.
        cli::interrupt::check()?;
        budget.spend(&change)?;
        if let Some(listing) = &mut listing {
            listing.add(&change);
        }
        applier.apply(&change, &mut layer)?;
        if let (Some(writeback), Change::Add(entry)) = (&mut *writeback, &change) {
            writeback.advance(entry.kind.content_size());
        }
    }
    applier.end_layer()?;
    stages.plain.next_stream();
    let stopped = || Error::Truncated { what: "the layer".to_owned() };
    match stages.proofs.recv().map_err(|_| stopped())? {
        Proof::Implied => Ok(()),
        Proof::Computed => {
            let found = stages.digests.recv().map_err(|_| stopped())?;
            Ok(plan.pair.check(found)?)
        }
    }
}
