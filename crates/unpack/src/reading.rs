//! A layer while it is read: the stages that decompress and hash it, and what is learnt on the way.
//!
//! ```text
//! reader ──raw──► decoder ──plain──► whoever applies
//!                    └─────plain──► hasher ──diff id──► whoever applies
//! ```
//!
//! The decoder and the hasher are [`Decompressed`]. No thread is scoped: when a layer can't be applied, the program doesn't wait for a
//! reader that hangs on a silent pipe.

use std::io::{self, BufRead, Read};
use std::sync::mpsc;

use cli::Task;
use cli::interrupt::Interruptible;
use image::{Image, Layer};
use layer_format::layer::{Change, Reader};
use layer_format::{Error, SeekIndex};
use store::{ListingDraft, Pair, Store};
use stream::decompress::{Ask, Decompressed, Seek};
use stream::relay::{Gone, Pool, Sender, relay};

use crate::limits::Budget;

/// How many chunks may wait for the decoder.
const DEPTH: usize = 8;

/// For the decoder, which ends with whoever applies: that one asks for interrupts.
fn never() -> bool {
    false
}

/// What is known of a layer before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) pair: Pair,
    /// What has to be computed to prove the diff id.
    pub(crate) ask: Ask,
}

impl Plan {
    /// The plans of an image's layers.
    pub(crate) fn of(image: &Image, store: Option<&Store>) -> Vec<Self> {
        let plan = |layer: &Layer| {
            let pair = Pair::of(layer);
            Self { pair, ask: pair.ask(store) }
        };
        image.layers.iter().map(plan).collect()
    }
}

/// The stages, which work for one layer after the other.
#[derive(Debug)]
pub(crate) struct Stages {
    layers: Decompressed,
    /// What shows a layer's progress, once its stored bytes were read to their end.
    tasks: mpsc::Receiver<Task>,
}

impl Stages {
    /// Starts the stages for as many layers as are asked for, and gives what the first stage sends their stored bytes by.
    ///
    /// # Errors
    /// A thread can't be started.
    pub(crate) fn start(
        asks: Vec<Ask>,
        seek: impl Fn(usize) -> Seek + Send + 'static,
    ) -> io::Result<(Self, Feed)> {
        let (raw, stored) = relay(DEPTH);
        let (done, tasks) = mpsc::channel();
        let layers = Decompressed::start_seeking(stored, asks, seek, never)?;
        Ok((Self { layers, tasks }, Feed { raw, done, pool: Pool::default() }))
    }
}

/// The first stage's way to the others.
#[derive(Debug)]
pub(crate) struct Feed {
    raw: Sender,
    done: mpsc::Sender<Task>,
    pool: Pool,
}

impl Feed {
    /// Sends a layer's stored bytes, or why there are none.
    ///
    /// # Errors
    /// [`Gone`], if no other layer is wanted: whoever applies has the error, or had one of its own.
    pub(crate) fn send(&self, task: Task, content: Result<impl Read, Error>) -> Result<(), Gone> {
        task.state("Extracting");
        match content {
            Ok(content) => self.raw.send_all(&self.pool, &mut task.read(content))?,
            Err(error) => return self.raw.fail(error.into()).and(Err(Gone)),
        }
        self.done.send(task).map_err(|_| Gone)
    }
}

/// A layer that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    layer: Reader<Interruptible<Decompressed>>,
    tasks: mpsc::Receiver<Task>,
    plan: Plan,
    listing: Option<ListingDraft>,
}

impl Reading {
    /// Begins the next layer of the stages.
    pub(crate) fn begin(stages: Stages, plan: Plan, store: Option<&Store>) -> Self {
        let Stages { layers, tasks } = stages;
        let layer = Reader::new(Interruptible(layers));
        let diff_id = plan.pair.diff_id();
        let listing = store.and_then(|store| ListingDraft::if_missing(store, diff_id));
        Self { layer, tasks, plan, listing }
    }

    /// The next change; `None` after the last one.
    ///
    /// # Errors
    /// Those of the layer, of the limits, and of an interrupt.
    pub(crate) fn next(&mut self, budget: &Budget) -> anyhow::Result<Option<Change>> {
        // The chunks that have come already may hold many small files.
        cli::interrupt::check()?;
        let Some(change) = self.layer.read_change()? else { return Ok(None) };
        budget.spend(&change)?;
        if let Some(listing) = &mut self.listing {
            listing.add(&change, Some(self.layer.position()));
        }
        Ok(Some(change))
    }

    /// The bytes of the file that the last change adds.
    pub(crate) fn content(&mut self) -> &mut impl BufRead {
        &mut self.layer
    }

    /// Ends the layer, of which all changes were read, and checks its diff id.
    ///
    /// # Errors
    /// The layer is another one, or its stages have failed.
    pub(crate) fn end(self) -> anyhow::Result<(Stages, Proved)> {
        let Self { layer, tasks, plan, listing } = self;
        let Interruptible(mut layers) = layer.into_inner();
        let found = layers.end_blob()?;
        if let Some(digest) = found.digest {
            plan.pair.check(digest)?;
        }
        let stopped = |_| Error::Truncated { what: "the layer".to_owned() };
        let task = tasks.recv().map_err(stopped)?;
        let proved = Proved { plan, task, listing, index: found.index };
        Ok((Stages { layers, tasks }, proved))
    }
}

/// A layer that is what the image says.
#[derive(Debug)]
pub(crate) struct Proved {
    plan: Plan,
    task: Task,
    listing: Option<ListingDraft>,
    index: Option<SeekIndex>,
}

impl Proved {
    /// Leaves in the store what was learnt of the layer.
    pub(crate) fn remember(self, store: Option<&Store>) -> Task {
        let Self { plan, task, listing, index } = self;
        if let Some(listing) = listing {
            listing.keep(plan.pair.diff_id());
        }
        if plan.ask != Ask::Nothing {
            plan.pair.remember(store);
        }
        if let Some(index) = index {
            plan.pair.keep_index(&index, store);
        }
        task
    }
}
