//! Many blobs in, one ordered stream out.
//!
//! ```text
//! registry ──┬─► worker ──► partial blob in the store ──┐
//!            ├─► worker ──► partial blob in the store ──┼─► follower (this thread) ──► stream
//!            └─► worker ──► partial blob in the store ──┘
//! ```
//!
//! Workers take blobs in stream order and hash them while they arrive. The follower reads the first blob from the store
//! while it is still growing, then the next, at the pace of the program that reads the stream; downloads run ahead of it.
//! When anything fails, everything stops, and what the store has of a blob stays for the next run.
//!
//! With `--verify`, the diff id of each blob is checked while it downloads.

use std::io::{BufRead as _, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cli::{Progress, Task};
use layer_format::Descriptor;
use store::{Claim, Lease, Partial};
use stream::Writer;

use crate::blob::Blob;
use crate::diff_ids;
use crate::parts::{Content, EndsWork, Parts};
use crate::select::RawDocument;
use crate::slot::{Follower, Slot, lock};

/// How many bytes of a blob are written at a time.
const PIECE: usize = 256 << 10;
/// How often to look at a download that another program is busy with.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long another program's download may stand still before this one downloads the blob as well.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The image stream on standard output.
pub(crate) type Stream<'a> = Writer<&'a mut cli::Output>;

/// A part of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// A manifest, an index or a config, which has been downloaded already.
    Document(RawDocument<'a>),
    /// The next of [`Fetching::blobs`].
    Blob,
}

/// The download of all blobs of some images.
#[derive(Debug)]
pub(crate) struct Fetching<'a> {
    /// In stream order, each once.
    pub(crate) blobs: Vec<Blob>,
    /// The whole stream: documents, and a step for each blob.
    pub(crate) order: Vec<Step<'a>>,
    pub(crate) check: Check,
    /// How many blobs to download at once.
    pub(crate) jobs: usize,
    /// How many connections the parts of large blobs come by at once.
    pub(crate) connections: u8,
    /// Sink for progress.
    pub(crate) progress: &'a Progress,
}

/// What is checked about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Its digest. The first program that decompresses the layer checks the rest.
    Digest,
    /// Its digest and its diff id.
    DiffId,
}

/// What the workers share.
struct Work<'a> {
    fetching: &'a Fetching<'a>,
    lease: &'a Lease,
    parts: Parts,
    /// One for each blob.
    slots: Vec<Slot>,
    /// The position of the next blob that no worker has taken.
    next: AtomicUsize,
    is_stopped: AtomicBool,
    /// The progress line of each blob, until a worker takes it.
    tasks: Vec<Mutex<Option<Task>>>,
}

impl Fetching<'_> {
    /// Downloads all blobs into the store.
    pub(crate) fn store(&self, lease: &Lease) -> anyhow::Result<()> {
        self.work(lease, |_| Ok(()))
    }

    /// Downloads all blobs into the store, and sends them down the stream.
    pub(crate) fn stream(&self, lease: &Lease, writer: &mut Stream<'_>) -> anyhow::Result<()> {
        self.work(lease, |work| self.follow(work, writer))
    }

    /// Writes the stream, reading each blob while its worker downloads it.
    fn follow(&self, work: &Work<'_>, writer: &mut Stream<'_>) -> anyhow::Result<()> {
        let mut blobs = self.blobs.iter().zip(&work.slots);
        for step in &self.order {
            let Some((blob, slot)) = next(step, &mut blobs, writer)? else { continue };
            let follower = Follower::new(slot);
            let sent = writer.blob_by(&blob.descriptor, |output| follower.send(output));
            match sent {
                // A worker has failed, and its error is the one to tell.
                Err(_) if slot.lock().is_stopped => return Ok(()),
                sent => sent?,
            }
        }
        Ok(())
    }

    /// Runs the workers, and `follow` beside them on this thread.
    ///
    /// # Errors
    /// That of `follow`, else that of the first worker that failed.
    fn work(
        &self,
        lease: &Lease,
        follow: impl FnOnce(&Work<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let digests: Vec<_> = self.blobs.iter().map(|blob| blob.descriptor.digest).collect();
        lease.protect(&digests)?;
        self.expect();
        let work = Work {
            fetching: self,
            lease,
            parts: Parts::new(self.connections, &self.blobs, self.jobs),
            slots: self.blobs.iter().map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
            tasks: self.blobs.iter().map(|blob| Mutex::new(Some(self.waiting(blob)))).collect(),
        };
        thread::scope(|scope| {
            let _end = EndsWork(&work.parts);
            start(scope, work.parts.n_threads(), || work.parts.work())?;
            let workers = start(scope, self.jobs.min(self.blobs.len()), || work.run())?;
            let followed = follow(&work);
            if followed.is_err() {
                work.stop();
            }
            let mut result = Ok(());
            for worker in workers {
                let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(done);
            }
            match (result, followed) {
                // The workers stopped because the follower did.
                (_, Err(error)) => Err(error),
                (result, Ok(())) => result,
            }
        })
    }

    /// Tells how many bytes there are in all.
    pub(crate) fn expect(&self) {
        let sizes = self.blobs.iter().map(|blob| blob.descriptor.size);
        self.progress.expect(sizes.fold(0, u64::saturating_add));
    }

    fn waiting(&self, blob: &Blob) -> Task {
        let task = self.progress.task(blob.descriptor.digest.short(), Some(blob.descriptor.size));
        task.state("Waiting");
        task
    }
}

/// The context of the error when no thread can be started.
const STARTING: &str = "starting a thread";

/// Starts at most `n` threads, and fewer if the system allows no more: those do all the work.
///
/// # Errors
/// The system's, if not even one can be started.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    n: usize,
    work: impl Fn() -> T + Copy + Send + 'scope,
) -> anyhow::Result<Vec<ScopedJoinHandle<'scope, T>>> {
    let mut threads = vec![];
    for _ in 0..n {
        match Builder::new().spawn_scoped(scope, work) {
            Ok(thread) => threads.push(thread),
            Err(_) if !threads.is_empty() => break,
            Err(error) => return Err(error).context(STARTING),
        }
    }
    Ok(threads)
}

/// Writes the document of a step; for a blob, flushes the stream, so that the reader has all of it while the blob is waited
/// for, and returns the next of `blobs`.
pub(crate) fn next<T, W: Write>(
    step: &Step<'_>,
    blobs: &mut impl Iterator<Item = T>,
    writer: &mut Writer<W>,
) -> anyhow::Result<Option<T>> {
    match step {
        Step::Document(document) => {
            writer.document(document.raw, document.digest)?;
            Ok(None)
        }
        Step::Blob => {
            writer.flush()?;
            Ok(blobs.next())
        }
    }
}

impl Work<'_> {
    /// Downloads one blob after the other until none is left, or something fails.
    fn run(&self) -> anyhow::Result<()> {
        loop {
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(blob) = self.fetching.blobs.get(position) else { return Ok(()) };
            let brought = self.bring(position, blob);
            if brought.is_err() {
                self.stop();
            }
            brought.with_context(|| blob.label())?;
            if self.is_stopped() {
                return Ok(());
            }
        }
    }

    /// Downloads a blob, a second time if the first may have been wrong through no fault of the registry.
    fn bring(&self, position: usize, blob: &Blob) -> anyhow::Result<()> {
        let slot = &self.slots[position];
        let Some(task) = lock(&self.tasks[position]).take() else { return Ok(()) };
        let brought = loop {
            match self.bring_checked(position, blob, &task) {
                // What an earlier program had left or a mirror sent was wrong, and is gone now.
                Err(error) if is_mismatch(&error) && slot.take_back() => {}
                brought => break brought?,
            }
        };
        if let Some(end) = brought {
            task.done(end);
        }
        Ok(())
    }

    /// Downloads a blob once, and checks meanwhile those of its diff ids that were never verified, if that is asked for.
    fn bring_checked(&self, position: usize, blob: &Blob, task: &Task) -> anyhow::Result<Ended> {
        let slot = &self.slots[position];
        let store = self.lease.store();
        let claims = match self.fetching.check {
            Check::Digest => vec![],
            Check::DiffId => diff_ids::unverified(blob, store),
        };
        if claims.is_empty() {
            return self.bring_once(position, blob, task);
        }
        let follower = Follower::checking(slot);
        let (brought, checked) = thread::scope(|scope| {
            let check = || diff_ids::check(blob, &claims, store, || follower.clone());
            let checking = Builder::new().spawn_scoped(scope, check).context(STARTING)?;
            let brought = self.bring_once(position, blob, task);
            if !matches!(brought, Ok(Some(_))) {
                slot.fail();
            }
            Ok::<_, anyhow::Error>((brought, checking.join()))
        })?;
        let checked = checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let brought = brought?;
        if brought.is_none() || (checked.is_err() && self.is_stopped()) {
            // Another worker has failed, and its error is the one to tell.
            return Ok(None);
        }
        checked?;
        diff_ids::remember(blob, &claims, store);
        Ok(brought)
    }

    /// Downloads a blob once, unless the store has it.
    fn bring_once(&self, position: usize, blob: &Blob, task: &Task) -> anyhow::Result<Ended> {
        let slot = &self.slots[position];
        let claimed = self.claim(&blob.descriptor, task)?;
        if self.is_stopped() {
            return Ok(None);
        }
        let Some(partial) = claimed else {
            let file = self
                .lease
                .store()
                .blob(&blob.descriptor.digest)?
                .context("the blob has vanished from the store")?;
            slot.update(|state| {
                state.file = Some(Arc::new(file));
                state.available = blob.descriptor.size;
                state.is_whole = true;
            });
            return Ok(Some("Already exists"));
        };
        let is_complete = self.download(partial, position, blob, task)?;
        Ok(is_complete.then_some("Pull complete"))
    }

    /// The partial blob to download into; `None` if the store has the blob, or if the work was stopped. While another program
    /// downloads the blob and makes headway, this waits for it.
    fn claim(&self, descriptor: &Descriptor, task: &Task) -> anyhow::Result<Option<Partial>> {
        let mut headway = Headway { n_bytes: 0, last: Instant::now() };
        loop {
            match self.lease.claim(descriptor)? {
                Claim::Present => return Ok(None),
                Claim::Ours(partial) => return Ok(Some(partial)),
                Claim::Busy { n_bytes } if headway.has_stalled(n_bytes, STALL_TIMEOUT) => {
                    return Ok(Some(self.lease.incoming(Some(descriptor))?));
                }
                Claim::Busy { .. } => {}
            }
            task.state("Waiting for another pull");
            cli::interrupt::check()?;
            if self.is_stopped() {
                return Ok(None);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Downloads what is missing of a blob, and verifies its digest; `false` if the work was stopped.
    fn download(
        &self,
        mut partial: Partial,
        position: usize,
        blob: &Blob,
        task: &Task,
    ) -> anyhow::Result<bool> {
        let slot = &self.slots[position];
        let file = partial.reader()?;
        let start = partial.offset();
        task.position(start);
        task.state("Downloading");
        slot.update(|state| {
            state.file = Some(Arc::new(file));
            state.n_doubtful = start;
            state.available = start;
        });
        let mut content = self.parts.open(position, blob, start)?;
        if !self.copy(&mut content, &mut partial, slot, task)? {
            return Ok(false);
        }
        let checked = partial.check().map_err(anyhow::Error::from);
        if start == 0 && checked.as_ref().is_err_and(is_mismatch) && content.distrust() {
            slot.update(|state| state.n_doubtful = state.available);
        }
        checked?;
        // The follower goes on while the blob is written to the disk; an error of that is reported at the end.
        slot.update(|state| state.is_whole = true);
        partial.commit()?;
        Ok(true)
    }

    /// Copies the rest of a blob from the registry into the store; `false` if the work was stopped.
    fn copy(
        &self,
        content: &mut Content<'_>,
        partial: &mut Partial,
        slot: &Slot,
        task: &Task,
    ) -> anyhow::Result<bool> {
        loop {
            let chunk = match content.fill_buf() {
                Err(_) if self.is_stopped() => return Ok(false),
                chunk => chunk?,
            };
            let n = chunk.len().min(PIECE);
            if n == 0 {
                return Ok(true);
            }
            partial.write_all(&chunk[..n])?;
            content.consume(n);
            task.advance(n as u64);
            slot.update(|state| state.available += n as u64);
            if self.is_stopped() {
                return Ok(false);
            }
            cli::interrupt::check()?;
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Ends all workers and the follower.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.parts.end();
        for slot in &self.slots {
            slot.update(|state| state.is_stopped = true);
        }
    }
}

/// The last state that the progress line of a blob shows; `None` if the work was stopped.
type Ended = Option<&'static str>;

/// Whether a blob came whole, and its digest was wrong.
fn is_mismatch(error: &anyhow::Error) -> bool {
    use layer_format::Error::DigestMismatch;
    matches!(error.downcast_ref(), Some(store::Error::Layer(DigestMismatch { .. })))
}

/// How far another program has come.
struct Headway {
    n_bytes: u64,
    /// When there was less.
    last: Instant,
}

impl Headway {
    /// Takes notice of how many bytes there are now. Returns whether there have been no more for longer than `patience`.
    fn has_stalled(&mut self, n_bytes: u64, patience: Duration) -> bool {
        if n_bytes > self.n_bytes {
            *self = Self { n_bytes, last: Instant::now() };
        }
        self.last.elapsed() > patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_headway_is_waited_for() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(30)).unwrap();
        let stalled = |n_bytes: u64| {
            Headway { n_bytes: 7, last: long_ago }.has_stalled(n_bytes, STALL_TIMEOUT)
        };
        assert!(stalled(7) && stalled(6) && !stalled(8));
        let mut headway = Headway { n_bytes: 0, last: Instant::now() };
        assert!(!headway.has_stalled(0, STALL_TIMEOUT) && !headway.has_stalled(0, STALL_TIMEOUT));
    }
}
