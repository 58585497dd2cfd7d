//! Blobs of a stream that a registry may take from another of its repositories once a manifest there names them, as AWS ECR
//! does. Manifests come last, and a pipe has the bytes only once: until then a blob waits in its unlinked file.
//!
//! ```text
//! a: PUT the blob ... config, manifest ─┐
//! b: mount? 202 ── waits ───────────────┴─► mount: 201, or else PUT out of the file
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer_format::Descriptor;
use network::threads::for_each;

use crate::blob_pusher::{BlobPusher, PendingBlob};
use crate::spool::Spool;
use crate::target::Target;

/// Blobs smaller than this, in bytes, don't wait: to cancel an upload and ask for a mount costs as much as to send them.
const MIN_SIZE: u64 = 64 << 10;
/// How many blobs may wait at once. Each is an open file.
const MAX_WAITING: usize = 128;

/// The blobs that wait; threads share it.
#[derive(Debug)]
pub(crate) struct Later<'a> {
    pusher: &'a BlobPusher<'a>,
    targets: Arc<[Target]>,
    /// How many are pushed at once.
    jobs: usize,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// The repository (`host/path`) that lacks it.
    target: String,
    blob: Descriptor,
    spool: Arc<Spool>,
    /// Which of the spool's readers this is.
    number: usize,
}

impl<'a> Later<'a> {
    pub(crate) fn new(pusher: &'a BlobPusher<'a>, targets: Arc<[Target]>, jobs: usize) -> Self {
        Self { pusher, targets, jobs, waiting: Mutex::default() }
    }

    /// Whether a blob should wait instead of being sent.
    pub(crate) fn wants(&self, pending: &PendingBlob<'_>) -> bool {
        pending.blob.size >= MIN_SIZE
            && self.lock().len() < MAX_WAITING
            && self.pusher.has_brought_elsewhere(pending)
    }

    /// Cancels the upload of a blob that is whole in `spool`, and makes the blob wait. If the disk was full, `spool` has only the
    /// end of it, and it can only be mounted.
    pub(crate) fn put(&self, pending: PendingBlob<'_>, spool: Arc<Spool>, number: usize) {
        let target = pending.target.name.clone();
        let blob = pending.blob.clone();
        pending.cancel();
        self.lock().push(Waiting { target, blob, spool, number });
    }

    /// Pushes the blobs that wait for a repository, before its manifest is put.
    pub(crate) fn settle(&self, target: &Target) -> anyhow::Result<()> {
        let (due, rest): (Vec<_>, _) =
            self.take().into_iter().partition(|waiting: &Waiting| waiting.target == target.name);
        *self.lock() = rest;
        self.push_all(&due)
    }

    /// Pushes all blobs that wait, because the disk is full and their files take up room; `false` if there were none.
    pub(crate) fn make_room(&self) -> anyhow::Result<bool> {
        let all = self.take();
        let is_any = !all.is_empty();
        self.push_all(&all)?;
        Ok(is_any)
    }

    fn push_all(&self, waiting: &[Waiting]) -> anyhow::Result<()> {
        for_each(self.jobs, waiting, |Waiting { target, blob, spool, number }| {
            let target = self.targets.iter().find(|it| it.name == *target);
            target.map_or(Ok(()), |target| {
                self.pusher.push(target, blob, |task| Ok(spool.share(*number, task.meter())))
            })
        })
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
