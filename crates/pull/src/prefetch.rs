//! Without a store: blobs go down the stream in their order, and the next ones are requested ahead.
//!
//! ```text
//! registry ──┬─► worker ──► small blobs, whole and checked ──┐
//!            └─► worker ──► a large blob, only opened ───────┴─► this thread ──► stream
//! ```
//!
//! Small blobs wait in memory, of which there is a fixed amount. A large one is read when its turn comes, at the pace of the
//! program that reads the stream; its answer has begun by then, so that no blob costs a round trip of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use cli::{Progress, Task};
use layer_format::{Descriptor, Error, Verified};
use stream::Writer;

use crate::blob::Blob;
use crate::fetch::{Fetching, next, start};
use crate::parts::{Content, EndsWork, Parts};
use crate::slot::lock;

/// Blobs up to this size, in bytes, are downloaded whole.
const SMALL: u64 = 1 << 20;
/// How many bytes of small blobs are in memory at most, those that are being downloaded included.
const MEMORY: u64 = 8 << 20;

/// The blobs that have been requested ahead of the stream; threads share it.
#[derive(Debug)]
struct Prefetch<'a> {
    blobs: &'a [Blob],
    progress: &'a Progress,
    parts: &'a Parts,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State<'p> {
    /// The position of the first blob that no worker has requested.
    next: usize,
    /// How many bytes the small blobs in memory take.
    n_bytes: u64,
    /// Whether a large blob has been opened and not yet been taken.
    has_large: bool,
    /// What has been requested and not yet been taken, by position.
    ready: BTreeMap<usize, anyhow::Result<Ready<'p>>>,
    /// Whether no more blobs are wanted.
    is_over: bool,
}

/// A blob that can be sent.
#[derive(Debug)]
enum Ready<'p> {
    /// A small one, verified.
    Whole(Vec<u8>, Task),
    /// A large one, whose answer has begun.
    Open(Content<'p>, Task),
}

impl Fetching<'_> {
    /// Sends all blobs down the stream without a store.
    pub(crate) fn pass<W: Write>(&self, writer: &mut Writer<W>) -> anyhow::Result<()> {
        let parts = Parts::new(self.connections, &self.blobs, 1);
        self.expect();
        let prefetch = Prefetch {
            parts: &parts,
            blobs: &self.blobs,
            progress: self.progress,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        thread::scope(|scope| {
            let _end = EndsWork(&parts);
            start(scope, parts.n_threads(), || parts.work())?;
            let started = start(scope, self.jobs.min(self.blobs.len()), || prefetch.work());
            let passed = started.and_then(|_| self.pass_each(&prefetch, writer));
            prefetch.update(|state| state.is_over = true);
            passed
        })
    }

    fn pass_each<W: Write>(
        &self,
        prefetch: &Prefetch<'_>,
        writer: &mut Writer<W>,
    ) -> anyhow::Result<()> {
        let mut blobs = self.blobs.iter().enumerate();
        for step in &self.order {
            let Some((position, blob)) = next(step, &mut blobs, writer)? else { continue };
            let sent =
                prefetch.take(position).and_then(|ready| ready.send(&blob.descriptor, writer));
            sent.with_context(|| blob.label())?;
        }
        Ok(())
    }
}

impl<'a> Prefetch<'a> {
    /// Requests one blob after the other, as far ahead as there is room.
    fn work(&self) {
        while let Some(position) = self.claim() {
            let ready = self.bring(position, &self.blobs[position]);
            self.update(|state| drop(state.ready.insert(position, ready)));
        }
    }

    /// Waits for room for the next blob, and returns its position; `None` if there are no more.
    fn claim(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        while let Some(blob) = self.blobs.get(state.next).filter(|_| !state.is_over) {
            if state.claim(&blob.descriptor) {
                return Some(state.next - 1);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn bring(&self, position: usize, blob: &Blob) -> anyhow::Result<Ready<'a>> {
        let Blob { descriptor, repository, .. } = blob;
        let task = self.progress.task(descriptor.digest.short(), Some(descriptor.size));
        task.state("Downloading");
        if is_large(descriptor) {
            return Ok(Ready::Open(self.parts.open(position, blob, 0)?, task));
        }
        let content = repository.whole_blob(descriptor)?;
        task.advance(descriptor.size);
        Ok(Ready::Whole(content, task))
    }

    /// Waits for a blob, and frees its room for others.
    fn take(&self, position: usize) -> anyhow::Result<Ready<'a>> {
        let mut state = lock(&self.state);
        let ready = loop {
            match state.ready.remove(&position) {
                Some(ready) => break ready,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.free(&self.blobs[position].descriptor);
        self.changed.notify_all();
        ready
    }

    fn update(&self, change: impl FnOnce(&mut State<'a>)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

impl State<'_> {
    /// Takes room for the next blob; `false` if there is none.
    fn claim(&mut self, blob: &Descriptor) -> bool {
        let fits = if is_large(blob) {
            !std::mem::replace(&mut self.has_large, true)
        } else {
            let fits = self.n_bytes + blob.size <= MEMORY;
            self.n_bytes += if fits { blob.size } else { 0 };
            fits
        };
        self.next += usize::from(fits);
        fits
    }

    fn free(&mut self, blob: &Descriptor) {
        if is_large(blob) {
            self.has_large = false;
        } else {
            self.n_bytes -= blob.size;
        }
    }
}

impl Ready<'_> {
    fn send<W: Write>(self, blob: &Descriptor, writer: &mut Writer<W>) -> anyhow::Result<()> {
        let (sent, task) = match self {
            Self::Whole(content, task) => (writer.blob(blob, &content[..]), task),
            Self::Open(mut content, task) => {
                let read = task.read(&mut content);
                let read = Verified::new(read, "blob", blob.digest, Some(blob.size));
                let sent = writer.blob(blob, read);
                if matches!(sent, Err(Error::DigestMismatch { .. })) {
                    // It is too late for another mirror, but the error names the one that sent it.
                    content.distrust();
                }
                (sent, task)
            }
        };
        sent?;
        task.done("Pull complete");
        Ok(())
    }
}

fn is_large(blob: &Descriptor) -> bool {
    blob.size > SMALL
}

#[cfg(test)]
mod tests {
    use layer_format::Digest;

    use super::*;

    /// How many of blobs of these sizes are asked for before any is sent.
    #[track_caller]
    fn check(sizes: &[u64], expected: usize) {
        let mut state = State::default();
        let blob = |&size: &u64| Descriptor::new("", Digest::of(b""), size);
        let n_claimed = sizes.iter().map(blob).take_while(|blob| state.claim(blob)).count();
        assert_eq!((n_claimed, state.next), (expected, expected), "{sizes:?}");
    }

    #[test]
    fn as_much_is_asked_for_as_memory_holds() {
        check(&[20_000; 40], 40);
        check(&[SMALL; 40], 8);
        check(&[SMALL - 1; 40], 8);
        check(&[0; 1000], 1000);
        check(&[SMALL + 1, 5, SMALL + 1, 5], 2);
        check(&[5, 5, 1 << 40, 5, 5], 5);
    }

    #[test]
    fn what_was_taken_makes_room() {
        let mut state = State::default();
        let [small, large] =
            [SMALL, SMALL + 1].map(|size| Descriptor::new("", Digest::of(b""), size));
        assert!((0..8).all(|_| state.claim(&small)) && !state.claim(&small));
        state.free(&small);
        assert!(state.claim(&small) && !state.claim(&small));
        assert!(state.claim(&large) && !state.claim(&large));
        state.free(&large);
        assert!(state.claim(&large));
    }
}
