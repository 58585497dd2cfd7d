//! Blobs of a stream that a registry may take from another of its repositories once a manifest there names them, as AWS ECR
//! does. Manifests come last, and a pipe has the bytes only once: until then a blob waits in its unlinked file.
//!
//! ```text
//! a: PUT the blob ... config, manifest ─┐
//! b: mount? 202 ── waits ───────────────┴─► mount: 201, or else PUT out of the file
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer_format::Descriptor;

use crate::courier::{Courier, Parcel};
use crate::spool::Spool;
use crate::target::Target;
use crate::workers::for_each;

/// Smaller blobs are sent: to cancel an upload and ask for a mount costs as much.
const LEAST: u64 = 64 << 10;
/// How many blobs may wait. Each is an open file.
const MOST: usize = 128;

/// The blobs that wait.
#[derive(Debug)]
pub(crate) struct Later<'a> {
    courier: &'a Courier<'a>,
    targets: Arc<[Target]>,
    /// How many are brought at once.
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
    pub(crate) fn new(courier: &'a Courier<'a>, targets: Arc<[Target]>, jobs: usize) -> Self {
        Self { courier, targets, jobs, waiting: Mutex::default() }
    }

    /// Whether a blob that must be sent otherwise should wait.
    pub(crate) fn wants(&self, parcel: &Parcel<'_>) -> bool {
        parcel.blob.size >= LEAST
            && self.lock().len() < MOST
            && self.courier.has_brought_elsewhere(parcel)
    }

    /// Takes a blob that has come. Where the disk was full, `spool` has only its end, and a mount is the only way.
    pub(crate) fn put(&self, parcel: Parcel<'_>, spool: Arc<Spool>, number: usize) {
        let (target, blob) = (parcel.target.name.clone(), parcel.blob.clone());
        parcel.give_back();
        self.lock().push(Waiting { target, blob, spool, number });
    }

    /// Brings what a repository still lacks, before its manifest is put.
    pub(crate) fn settle(&self, target: &Target) -> anyhow::Result<()> {
        let (due, rest): (Vec<_>, _) =
            self.take().into_iter().partition(|waiting: &Waiting| waiting.target == target.name);
        *self.lock() = rest;
        self.bring_all(&due)
    }

    /// Brings all that waits, because its files take up room that is needed now. Says whether there was anything.
    pub(crate) fn make_room(&self) -> anyhow::Result<bool> {
        let all = self.take();
        let is_any = !all.is_empty();
        self.bring_all(&all)?;
        Ok(is_any)
    }

    fn bring_all(&self, waiting: &[Waiting]) -> anyhow::Result<()> {
        for_each(self.jobs, waiting, |Waiting { target, blob, spool, number }| {
            let target = self.targets.iter().find(|it| it.name == *target);
            target.map_or(Ok(()), |target| {
                self.courier.bring(target, blob, |task| Ok(spool.share(*number, task.meter())))
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
