//! Applies the layers: several at once where they can be read apart, and otherwise one after the other.
//!
//! Several at once is only the quicker way. If anything goes wrong on it, what was made is removed, and one layer after the other is
//! applied: that may fit where files before their turn didn't, and if not, its error is the one to tell.

use std::io;
use std::sync::Arc;
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::{Progress, Task};
use image::{Apart, Image, Layer, Source};
use layer_format::Error;
use layer_format::layer::Change;
use rootfs::{Applier, Report, Staged, Staging};
use store::Store;

use crate::ahead::{Ahead, Begun, Changes, Job, Turn, Workshop};
use crate::limits::Budget;
use crate::reading::{Feed, Plan, Reading, Stages};
use crate::writeback::Writeback;

/// The directory that is being filled, and the limits for it.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) applier: Applier,
    pub(crate) budget: Arc<Budget>,
    /// `None` with `--no-sync`.
    pub(crate) writeback: Option<Writeback>,
}

/// What is unpacked, and who is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) image: &'a Image,
    pub(crate) store: Option<&'a Store>,
    pub(crate) progress: &'a Progress,
}

/// Applies all layers of an image, and verifies them to the last byte.
///
/// # Errors
/// Those of the image, of the limits and of the disk.
pub(crate) fn unpack(
    mut source: Source,
    run: Run<'_>,
    mut filling: Filling,
    workshop: &Workshop<'_>,
) -> anyhow::Result<Report> {
    let plans = Plan::of(run.image, run.store);
    let mut is_done = false;
    if let Some(lanes) = workshop.open(run.image)
        && let Some(apart) = source.apart(run.image)?
    {
        is_done = at_once(apart, &plans, run, (&mut filling, workshop, lanes)).is_ok();
        if !is_done {
            cli::interrupt::check()?;
            filling.empty(workshop)?;
        }
    }
    if is_done {
        source.finish()?;
    } else {
        in_turn(source, &plans, run, &mut filling)?;
    }
    let report = filling.applier.finish()?;
    if let Some(writeback) = filling.writeback {
        writeback.finish().context("bringing files to the disk")?;
    }
    Ok(report)
}

impl Run<'_> {
    /// Shows the layers, and says what is to be done with them.
    fn job(&self, plans: &[Plan], budget: &Arc<Budget>) -> Job {
        let begin = |layer: &Layer| self.progress.task(layer.digest().short(), layer.size());
        let tasks: Vec<Task> = self.image.layers.iter().map(begin).collect();
        let sizes: Option<Vec<u64>> = self.image.layers.iter().map(Layer::size).collect();
        if let Some(sizes) = sizes {
            self.progress.expect(sizes.into_iter().fold(0, u64::saturating_add));
        }
        let (budget, store) = (Arc::clone(budget), self.store.cloned());
        Job { plans: plans.to_vec(), tasks, budget, store }
    }
}

/// Applies several layers at once.
fn at_once(
    apart: Apart,
    plans: &[Plan],
    run: Run<'_>,
    (filling, workshop, lanes): (&mut Filling, &Workshop<'_>, (Staging, usize)),
) -> anyhow::Result<()> {
    let job = run.job(plans, &filling.budget);
    let ahead = Ahead::start(apart, job, workshop, lanes)?;
    for position in 0..plans.len() {
        filling.applier.begin_layer();
        let begun = match ahead.turn(position)? {
            Turn::Whole(reading) => Begun::Rest(reading),
            Turn::Begun(mut changes) => filling.begun(&mut changes)?,
        };
        let task = match begun {
            Begun::Rest(reading) => filling.rest(*reading)?.end()?.1.remember(run.store),
            Begun::Done(task) => {
                filling.applier.end_layer()?;
                *task
            }
        };
        task.done("Unpacked");
    }
    ahead.finish();
    Ok(())
}

/// Applies one layer after the other, by the same stages.
fn in_turn(
    source: Source,
    plans: &[Plan],
    run: Run<'_>,
    filling: &mut Filling,
) -> anyhow::Result<()> {
    let job = run.job(plans, &filling.budget);
    let started = start(source, run.image.clone(), job).context("starting a thread")?;
    let (mut stages, reader) = started;
    for (position, plan) in plans.iter().enumerate() {
        filling.applier.begin_layer();
        let applied = filling.rest(Reading::begin(stages, *plan, run.store)).and_then(Reading::end);
        if applied.is_err() {
            plan.pair.forget_index(run.store);
        }
        let (rest, proved) = applied.with_context(|| run.image.layer_name(position))?;
        stages = rest;
        proved.remember(run.store).done("Unpacked");
    }
    match reader.join() {
        Ok(finished) => Ok(finished?),
        Err(panic) => std::panic::resume_unwind(panic),
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

    /// Removes everything that was made, to begin again.
    fn empty(&mut self, workshop: &Workshop<'_>) -> anyhow::Result<()> {
        self.applier = Applier::new(workshop.root.try_clone()?, workshop.options)?;
        rootfs::clear(workshop.root, None)?;
        self.budget = Arc::new(self.budget.renewed());
        Ok(())
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
fn start(
    source: Source,
    image: Image,
    job: Job,
) -> io::Result<(Stages, thread::JoinHandle<Result<(), Error>>)> {
    let Job { plans, tasks, store, .. } = job;
    let asks = plans.iter().map(|plan| plan.ask).collect();
    let (stages, feed) =
        Stages::start(asks, move |position| plans[position].pair.seek(store.as_ref()))?;
    // The reader, which may hang on a silent pipe, is started last: without input the others end.
    let reader = Builder::new().spawn(move || read(source, &image, &feed, tasks))?;
    Ok((stages, reader))
}

/// The first stage: stored bytes, checked against the manifest's digests.
fn read(mut source: Source, image: &Image, feed: &Feed, tasks: Vec<Task>) -> Result<(), Error> {
    for (position, task) in tasks.into_iter().enumerate() {
        if feed.send(task, source.layer(image, position)).is_err() {
            return Ok(());
        }
    }
    source.finish()
}
