//! Applies the layers one after the other. Where they can be read apart, those to come are [worked ahead](crate::ahead).

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::{Progress, Task};
use image::{Image, Layer, Source};
use layer_format::Error;
use layer_format::layer::Change;
use rootfs::{Applier, Report, Staged};
use store::Store;
use stream::decompress::Decompressed;
use stream::relay::{Gone, Pool, Sender, relay};

use crate::ahead::{Ahead, Begun, Changes, Job, Turn, Workshop};
use crate::limits::Budget;
use crate::reading::{DEPTH, Plan, Reading, Stages, never};
use crate::writeback::Writeback;

/// The directory that is being filled, and the limits for it.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) applier: Applier,
    pub(crate) budget: Arc<Budget>,
    /// `None` with `--no-sync`.
    pub(crate) writeback: Option<Writeback>,
}

/// Applies all layers of `image`, and verifies them to the last byte.
///
/// # Errors
/// Those of the image, of the limits and of the disk.
pub(crate) fn unpack(
    source: Source,
    image: &Image,
    mut filling: Filling,
    workshop: &Workshop<'_>,
    (store, progress): (Option<&Store>, &Progress),
) -> anyhow::Result<Report> {
    let plans = Plan::of(image, store);
    let begin = |layer: &Layer| progress.task(layer.digest().short(), layer.size());
    let tasks: Vec<Task> = image.layers.iter().map(begin).collect();
    let sizes: Option<Vec<u64>> = image.layers.iter().map(Layer::size).collect();
    if let Some(sizes) = sizes {
        progress.expect(sizes.into_iter().fold(0, u64::saturating_add));
    }
    let budget = Arc::clone(&filling.budget);
    let job = Job { plans: plans.clone(), tasks, budget, store: store.cloned() };
    let mut layers = Layers::start(source, image, job, workshop)?;
    for (position, plan) in plans.iter().enumerate() {
        let applied = layers.apply(position, &mut filling, plan, store);
        if applied.is_err() {
            plan.pair.forget_index(store);
        }
        applied.with_context(|| image.layer_name(position))?.done("Unpacked");
    }
    layers.finish()?;
    let report = filling.applier.finish()?;
    if let Some(writeback) = filling.writeback {
        writeback.finish().context("bringing files to the disk")?;
    }
    Ok(report)
}

/// Where the layers come from.
enum Layers {
    /// One after the other, by the same stages.
    InTurn {
        /// `None` after an error.
        stages: Option<Stages>,
        reader: thread::JoinHandle<Result<(), Error>>,
    },
    /// Each by itself.
    Apart { ahead: Ahead, source: Source },
}

impl Layers {
    fn start(
        mut source: Source,
        image: &Image,
        job: Job,
        workshop: &Workshop<'_>,
    ) -> anyhow::Result<Self> {
        const STARTING: &str = "starting a thread";
        if let Some(lanes) = workshop.open(image)
            && let Some(apart) = source.apart(image)?
        {
            let ahead = Ahead::start(apart, job, workshop, lanes)?;
            return Ok(Self::Apart { ahead, source });
        }
        let (stages, reader) = in_turn(source, image.clone(), job).context(STARTING)?;
        Ok(Self::InTurn { stages: Some(stages), reader })
    }

    /// Applies the next layer.
    fn apply(
        &mut self,
        position: usize,
        filling: &mut Filling,
        plan: &Plan,
        store: Option<&Store>,
    ) -> anyhow::Result<Task> {
        filling.applier.begin_layer();
        match self {
            Self::InTurn { stages, .. } => {
                let stopped = || Error::Truncated { what: "the layer".to_owned() };
                let reading = Reading::begin(stages.take().ok_or_else(stopped)?, *plan, store);
                let (rest, proved) = filling.rest(reading)?.end()?;
                *stages = Some(rest);
                Ok(proved.remember(store))
            }
            Self::Apart { ahead, .. } => {
                let reading = match ahead.turn(position)? {
                    Turn::Whole(reading) => *reading,
                    Turn::Begun(mut begun) => match filling.begun(&mut begun)? {
                        Begun::Rest(reading) => *reading,
                        Begun::Done(task) => {
                            filling.applier.end_layer()?;
                            return Ok(*task);
                        }
                    },
                };
                let (_, proved) = filling.rest(reading)?.end()?;
                Ok(proved.remember(store))
            }
        }
    }

    /// Checks that nothing is wrong with what follows the layers.
    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::InTurn { reader, .. } => match reader.join() {
                Ok(finished) => Ok(finished?),
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Self::Apart { ahead, source } => {
                ahead.finish();
                Ok(source.finish()?)
            }
        }
    }
}

impl Filling {
    /// Applies what others have read of a layer.
    fn begun(&mut self, changes: &mut Changes) -> anyhow::Result<Begun> {
        loop {
            match changes.next()? {
                Ok((change, staged)) => self.put(&change, staged.as_ref())?,
                Err(begun) => return Ok(begun),
            }
        }
    }

    /// Applies a change whose file was made already, if it is one.
    fn put(&mut self, change: &Change, staged: Option<&Staged>) -> anyhow::Result<()> {
        match (change, staged) {
            (Change::Add(entry), Some(staged)) => self.applier.put(&entry.path, staged)?,
            _ => self.applier.apply(change, &mut io::empty())?,
        }
        self.advance(change);
        Ok(())
    }

    /// Applies the rest of a layer, to its end.
    fn rest(&mut self, mut reading: Reading) -> anyhow::Result<Reading> {
        while let Some(change) = reading.next(&self.budget)? {
            self.applier.apply(&change, reading.content())?;
            self.advance(&change);
        }
        self.applier.end_layer()?;
        Ok(reading)
    }

    fn advance(&mut self, change: &Change) {
        if let (Some(writeback), Change::Add(entry)) = (&mut self.writeback, change) {
            writeback.advance(entry.kind.content_size());
        }
    }
}

/// Starts the stages for all layers of a source, one after the other.
fn in_turn(
    source: Source,
    image: Image,
    job: Job,
) -> io::Result<(Stages, thread::JoinHandle<Result<(), Error>>)> {
    let Job { plans, tasks, store, .. } = job;
    let (sending, raw) = relay(DEPTH);
    let (task_sending, tasks_done) = mpsc::channel();
    let asks = plans.iter().map(|plan| plan.ask).collect();
    let seek = move |position: usize| plans[position].pair.seek(store.as_ref());
    let layers = Decompressed::start_seeking(raw, asks, seek, never)?;
    // The reader, which may hang on a silent pipe, is started last: without input the others end.
    let read = move || read(source, &image, &sending, (tasks, &task_sending));
    let reader = Builder::new().spawn(read)?;
    Ok((Stages { layers, tasks: tasks_done }, reader))
}

/// The first stage: stored bytes, checked against the manifest's digests.
fn read(
    mut source: Source,
    image: &Image,
    raw: &Sender,
    (tasks, done): (Vec<Task>, &mpsc::Sender<Task>),
) -> Result<(), Error> {
    let pool = Pool::default();
    for (position, task) in tasks.into_iter().enumerate() {
        task.state("Extracting");
        let sent = match source.layer(image, position) {
            Ok(content) => raw.send_all(&pool, &mut task.read(content)),
            Err(error) => raw.fail(error.into()).and(Err(Gone)),
        };
        if sent.is_err() || done.send(task).is_err() {
            // Whoever applies has the error, or had one of its own.
            return Ok(());
        }
    }
    source.finish()
}
