//! One blob to one repository, by the cheapest way: it is there; the registry has it in another repository; it is sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cli::{Progress, Task};
use layer_format::{Descriptor, Digest};
use registry::{Content, Upload};
use store::Store;

use crate::summary::{Action, Mode, Summary};
use crate::target::Target;

/// Blobs up to this size, in bytes, are sent without a question first where they are likely to be new: to send one that is
/// there after all costs hardly more than to ask.
const UNASKED: u64 = 1 << 20;

/// Pushes blobs to repositories; threads share it.
#[derive(Debug)]
pub(crate) struct BlobPusher<'a> {
    /// The store, if there is one: it remembers which repositories have a blob, and where interrupted uploads can go on.
    pub(crate) store: Option<&'a Store>,
    /// The repositories (`host/path`) that the image comes from.
    pub(crate) sources: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) progress: &'a Progress,
    pub(crate) summary: Summary,
    /// What this run has learned about the repositories.
    pub(crate) seen: Seen,
}

/// Which repositories (`host/path`) have which blob, and which have lacked one, as far as this run knows; threads share it.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Holdings>);

#[derive(Debug, Default)]
struct Holdings {
    having: HashMap<Digest, Vec<String>>,
    lacking: HashSet<String>,
}

impl Seen {
    /// Remembers that a repository has a blob.
    fn add(&self, blob: &Digest, repository: &str) {
        let mut holdings = self.lock();
        let names = holdings.having.entry(*blob).or_default();
        if !names.iter().any(|name| name == repository) {
            names.push(repository.to_owned());
        }
    }

    /// The repositories that have a blob.
    fn of(&self, blob: &Digest) -> Vec<String> {
        self.lock().having.get(blob).cloned().unwrap_or_default()
    }

    /// Remembers that a repository lacked a blob.
    fn add_lacking(&self, repository: &str) {
        self.lock().lacking.insert(repository.to_owned());
    }

    /// Whether a repository has lacked any blob. Then it is likely to lack the next ones too.
    fn has_lacked(&self, repository: &str) -> bool {
        self.lock().lacking.contains(repository)
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob that a repository lacks, with the upload that is to bring it there.
#[derive(Debug)]
pub(crate) struct PendingBlob<'a> {
    pub(crate) target: &'a Target,
    pub(crate) blob: &'a Descriptor,
    pub(crate) task: Task,
    upload: Upload,
    /// The repository (its path) that the registry refused to mount it from, though this run had seen it there.
    refused: Option<String>,
}

impl PendingBlob<'_> {
    /// Cancels the upload, so that it leaves nothing at the registry.
    pub(crate) fn cancel(mut self) {
        self.upload.cancel();
    }
}

impl BlobPusher<'_> {
    /// Begins to push a blob; `None` if nothing has to be sent: the repository has it, or it could be mounted, or this is a dry
    /// run.
    pub(crate) fn begin<'a>(
        &self,
        target: &'a Target,
        blob: &'a Descriptor,
    ) -> anyhow::Result<Option<PendingBlob<'a>>> {
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        let seen = self.seen.of(&blob.digest);
        if seen.contains(&target.name) {
            self.done(target, blob, task, Action::Skip);
            return Ok(None);
        }
        let noted = self.store.map(|store| store.repositories(&blob.digest)).unwrap_or_default();
        let source = Self::source(target, seen.iter().chain(&noted).chain(&self.sources));
        let kept = self.store.and_then(|store| store.upload(&target.name, &blob.digest));
        let mut upload = target.repository.upload(blob);
        // The answer to a mount tells as much as a question would, where it is likely to succeed.
        let may_mount = self.mode == Mode::Send && kept.is_none() && !noted.contains(&target.name);
        if let Some(source) = source.as_ref().filter(|_| may_mount)
            && upload.mount(source)?
        {
            self.note(target, blob);
            self.done(target, blob, task, Action::Mount(source.clone()));
            return Ok(None);
        }
        // Where a mount was refused, an upload has begun: to ask, and then to cancel that, would take longer than to send.
        let is_likely_new = upload.has_begun()
            || self.seen.has_lacked(&target.name) && !noted.contains(&target.name);
        let is_sent_unasked =
            self.mode == Mode::Send && kept.is_none() && blob.size <= UNASKED && is_likely_new;
        if !is_sent_unasked {
            if target.repository.is_known_to_have(blob)? {
                upload.cancel();
                self.note(target, blob);
                self.done(target, blob, task, Action::Skip);
                return Ok(None);
            }
            self.seen.add_lacking(&target.name);
        }
        if self.mode == Mode::DryRun {
            self.done(target, blob, task, source.map_or(Action::Send, Action::Mount));
            return Ok(None);
        }
        if let Some(address) = &kept {
            upload = target.repository.resume(blob, address);
        } else if let Some(source) = source.clone().filter(|_| !may_mount)
            && upload.mount(&source)?
        {
            self.note(target, blob);
            self.done(target, blob, task, Action::Mount(source));
            return Ok(None);
        }
        task.state("Pushing");
        // A repository that wasn't known to have it may have got it by the time that it is asked again.
        let refused = source.filter(|source| kept.is_none() && seen.contains(source));
        Ok(Some(PendingBlob { target, blob, task, upload, refused }))
    }

    /// Whether a repository has a blob, or gets it from the repository that a name of the stream tells.
    ///
    /// # Errors
    /// The registry's.
    pub(crate) fn has_or_mounts(
        &self,
        target: &Target,
        blob: &Descriptor,
    ) -> Result<bool, registry::Error> {
        if target.repository.has(blob)? {
            return Ok(true);
        }
        let Some(source) = Self::source(target, self.sources.iter()) else { return Ok(false) };
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        if self.mode == Mode::Send {
            let mut upload = target.repository.upload(blob);
            if !upload.mount(&source)? {
                upload.cancel();
                return Ok(false);
            }
            self.note(target, blob);
        }
        self.done(target, blob, task, Action::Mount(source));
        Ok(true)
    }

    /// Pushes a blob; `open` is only called if it has to be sent.
    pub(crate) fn push(
        &self,
        target: &Target,
        blob: &Descriptor,
        open: impl FnOnce(&Task) -> anyhow::Result<Arc<dyn Content>>,
    ) -> anyhow::Result<()> {
        let Some(pending) = self.begin(target, blob)? else { return Ok(()) };
        match open(&pending.task) {
            Ok(content) => self.send(pending, &content),
            Err(error) => {
                pending.cancel();
                Err(error.context(label(blob)))
            }
        }
    }

    /// Sends a blob. If that fails, the upload is cancelled at the registry, unless a later run may go on with it.
    pub(crate) fn send(
        &self,
        mut pending: PendingBlob<'_>,
        content: &Arc<dyn Content>,
    ) -> anyhow::Result<()> {
        if let Err(error) = self.send_all(&mut pending, content) {
            if self.store.is_none() || pending.upload.address().is_none() {
                pending.upload.cancel();
            }
            return Err(error);
        }
        self.finish(pending);
        Ok(())
    }

    /// Mounts a blob that this run has brought to another repository of the registry before; `false` if there is none, or the
    /// registry refuses.
    pub(crate) fn mounts_own(&self, pending: &mut PendingBlob<'_>) -> anyhow::Result<bool> {
        let PendingBlob { target, blob, upload, refused, .. } = pending;
        let source = Self::source(target, self.seen.of(&blob.digest).iter());
        match source.filter(|_| upload.offset() == 0 && upload.address().is_none()) {
            Some(source) if Some(&source) != refused.as_ref() => Ok(upload.mount(&source)?),
            _ => Ok(false),
        }
    }

    /// Whether another repository of the registry has the blob by now, so that it may still be mounted.
    pub(crate) fn has_brought_elsewhere(&self, pending: &PendingBlob<'_>) -> bool {
        let PendingBlob { target, blob, upload, .. } = pending;
        let source = Self::source(target, self.seen.of(&blob.digest).iter());
        source.is_some() && upload.offset() == 0
    }

    fn send_all(
        &self,
        pending: &mut PendingBlob<'_>,
        content: &Arc<dyn Content>,
    ) -> anyhow::Result<()> {
        while !pending.upload.is_done() {
            cli::interrupt::check()?;
            pending.upload.send(content)?;
            let address = pending.upload.address();
            if let (Some(store), Some(address)) = (self.store, address) {
                // Only a later run needs it.
                store.note_upload(&pending.target.name, &pending.blob.digest, address).ok();
            }
        }
        Ok(())
    }

    /// Records that a blob has been sent.
    pub(crate) fn finish(&self, pending: PendingBlob<'_>) {
        let PendingBlob { target, blob, task, .. } = pending;
        self.note(target, blob);
        self.done(target, blob, task, Action::Send);
    }

    /// Records that a blob was mounted from another repository to which this run had brought it.
    pub(crate) fn mounted(&self, pending: PendingBlob<'_>) {
        let PendingBlob { target, blob, task, .. } = pending;
        let source = Self::source(target, self.seen.of(&blob.digest).iter()).unwrap_or_default();
        self.note(target, blob);
        self.done(target, blob, task, Action::Mount(source));
    }

    /// Remembers that a repository has a blob, and that no upload of it is unfinished. Errors of the store are ignored: later
    /// runs only have to ask again.
    fn note(&self, target: &Target, blob: &Descriptor) {
        self.seen.add(&blob.digest, &target.name);
        if let Some(store) = self.store.filter(|_| self.mode == Mode::Send) {
            store.forget_upload(&target.name, &blob.digest).ok();
            store.note_repository(&blob.digest, &target.name).ok();
        }
    }

    fn done(&self, target: &Target, blob: &Descriptor, task: Task, action: Action) {
        match (&action, self.mode) {
            (Action::Skip, _) => task.done("Layer already exists"),
            (Action::Mount(source), Mode::Send) => task.done(format!("Mounted from {source}")),
            (Action::Send, Mode::Send) => task.done("Pushed"),
            (Action::Mount(_) | Action::Send, Mode::DryRun) => drop(task),
        }
        self.summary.add(&target.name, action, blob);
    }

    /// The path of the first of these repositories that is another one of the target's registry.
    fn source<'n>(target: &Target, names: impl Iterator<Item = &'n String>) -> Option<String> {
        names.into_iter().find_map(|name| target.sibling(name)).map(str::to_owned)
    }
}

/// The name of a blob in errors of reading it: `blob sha256:0123456789ab`. The registry's errors name it by themselves.
pub(crate) fn label(blob: &Descriptor) -> String {
    format!("blob {}:{}", blob.digest.algorithm().name(), blob.digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_named_by_the_beginning_of_its_digest() {
        let blob = Descriptor::new("", Digest::of(b"hello"), 5);
        assert_eq!(label(&blob), "blob sha256:2cf24dba5fb0");
    }
}
