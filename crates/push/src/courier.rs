//! One blob to one repository, by the cheapest way: it is there; the registry has it in another repository; it is sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cli::{Progress, Task};
use layer_format::{Descriptor, Digest};
use registry::{Content, Upload};
use store::Store;

use crate::tally::{Tally, Way};
use crate::target::Target;

/// Blobs up to this size, in bytes, are sent where they are likely to be new: to send one that is there after all costs hardly
/// more than to ask.
const UNASKED: u64 = 1 << 20;

/// Brings blobs to repositories.
#[derive(Debug)]
pub(crate) struct Courier<'a> {
    /// Remembers where blobs are and where uploads go on, where there is one.
    pub(crate) store: Option<&'a Store>,
    /// The repositories (`host/path`) that the image comes from.
    pub(crate) sources: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) progress: &'a Progress,
    pub(crate) tally: Tally,
    /// Which repositories have which blob, as far as this run has seen.
    pub(crate) seen: Seen,
}

/// Which repositories (`host/path`) have which blob, and which lack any, as far as a run has seen; threads share it.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Sights>);

#[derive(Debug, Default)]
struct Sights {
    having: HashMap<Digest, Vec<String>>,
    lacking: HashSet<String>,
}

impl Seen {
    fn add(&self, blob: &Digest, repository: &str) {
        let mut sights = self.lock();
        let names = sights.having.entry(*blob).or_default();
        if !names.iter().any(|name| name == repository) {
            names.push(repository.to_owned());
        }
    }

    fn of(&self, blob: &Digest) -> Vec<String> {
        self.lock().having.get(blob).cloned().unwrap_or_default()
    }

    /// Remembers that a repository lacked a blob.
    fn add_lacking(&self, repository: &str) {
        self.lock().lacking.insert(repository.to_owned());
    }

    /// Whether a repository lacked a blob. Then it is likely to lack those that come after it, too.
    fn has_lacked(&self, repository: &str) -> bool {
        self.lock().lacking.contains(repository)
    }

    fn lock(&self) -> MutexGuard<'_, Sights> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether anything is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Send,
    DryRun,
}

/// A blob on its way to a repository.
#[derive(Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) target: &'a Target,
    pub(crate) blob: &'a Descriptor,
    pub(crate) task: Task,
    upload: Upload,
    /// The repository that it wasn't to be mounted from, though this run had seen it there.
    refused: Option<String>,
}

impl Parcel<'_> {
    /// Leaves nothing at the registry.
    pub(crate) fn give_back(mut self) {
        self.upload.cancel();
    }
}

impl Courier<'_> {
    /// Begins to bring a blob; nothing if there is nothing to send.
    pub(crate) fn begin<'a>(
        &self,
        target: &'a Target,
        blob: &'a Descriptor,
    ) -> anyhow::Result<Option<Parcel<'a>>> {
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        let seen = self.seen.of(&blob.digest);
        if seen.contains(&target.name) {
            self.done(target, blob, task, Way::Skip);
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
            self.done(target, blob, task, Way::Mount(source.clone()));
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
                self.done(target, blob, task, Way::Skip);
                return Ok(None);
            }
            self.seen.add_lacking(&target.name);
        }
        if self.mode == Mode::DryRun {
            self.done(target, blob, task, source.map_or(Way::Send, Way::Mount));
            return Ok(None);
        }
        if let Some(address) = &kept {
            upload = target.repository.resume(blob, address);
        } else if let Some(source) = source.clone().filter(|_| !may_mount)
            && upload.mount(&source)?
        {
            self.note(target, blob);
            self.done(target, blob, task, Way::Mount(source));
            return Ok(None);
        }
        task.state("Pushing");
        // A repository that wasn't known to have it may have got it by the time that it is asked again.
        let refused = source.filter(|source| kept.is_none() && seen.contains(source));
        Ok(Some(Parcel { target, blob, task, upload, refused }))
    }

    /// Brings a blob whose bytes can be had again.
    pub(crate) fn bring(
        &self,
        target: &Target,
        blob: &Descriptor,
        open: impl FnOnce(&Task) -> anyhow::Result<Arc<dyn Content>>,
    ) -> anyhow::Result<()> {
        let Some(parcel) = self.begin(target, blob)? else { return Ok(()) };
        match open(&parcel.task) {
            Ok(content) => self.carry(parcel, &content),
            Err(error) => {
                parcel.give_back();
                Err(error.context(label(blob)))
            }
        }
    }

    /// Sends a blob. One that is given up is cancelled at the registry, unless a later run may go on with it.
    pub(crate) fn carry(
        &self,
        mut parcel: Parcel<'_>,
        content: &Arc<dyn Content>,
    ) -> anyhow::Result<()> {
        if let Err(error) = self.send_all(&mut parcel, content) {
            if self.store.is_none() || parcel.upload.address().is_none() {
                parcel.upload.cancel();
            }
            return Err(error);
        }
        self.finish(parcel);
        Ok(())
    }

    /// Mounts a blob that this run has brought to another repository of the registry before. Says whether that was to be had.
    pub(crate) fn mounts_own(&self, parcel: &mut Parcel<'_>) -> anyhow::Result<bool> {
        let Parcel { target, blob, upload, refused, .. } = parcel;
        let source = Self::source(target, self.seen.of(&blob.digest).iter());
        match source.filter(|_| upload.offset() == 0 && upload.address().is_none()) {
            Some(source) if Some(&source) != refused.as_ref() => Ok(upload.mount(&source)?),
            _ => Ok(false),
        }
    }

    /// Whether another repository of the registry has the blob by now, so that it may yet be mounted.
    pub(crate) fn has_brought_elsewhere(&self, parcel: &Parcel<'_>) -> bool {
        let Parcel { target, blob, upload, .. } = parcel;
        let source = Self::source(target, self.seen.of(&blob.digest).iter());
        source.is_some() && upload.offset() == 0
    }

    fn send_all(&self, parcel: &mut Parcel<'_>, content: &Arc<dyn Content>) -> anyhow::Result<()> {
        while !parcel.upload.is_done() {
            cli::interrupt::check()?;
            parcel.upload.send(content)?;
            let address = parcel.upload.address();
            if let (Some(store), Some(address)) = (self.store, address) {
                // It only helps who comes later.
                store.note_upload(&parcel.target.name, &parcel.blob.digest, address).ok();
            }
        }
        Ok(())
    }

    /// A blob has arrived.
    pub(crate) fn finish(&self, parcel: Parcel<'_>) {
        let Parcel { target, blob, task, .. } = parcel;
        self.note(target, blob);
        self.done(target, blob, task, Way::Send);
    }

    /// A blob was mounted from another repository that this run has brought it to.
    pub(crate) fn mounted(&self, parcel: Parcel<'_>) {
        let Parcel { target, blob, task, .. } = parcel;
        let source = Self::source(target, self.seen.of(&blob.digest).iter()).unwrap_or_default();
        self.note(target, blob);
        self.done(target, blob, task, Way::Mount(source));
    }

    /// Remembers that a repository has a blob, and that nothing is under way; it is no loss if that fails.
    fn note(&self, target: &Target, blob: &Descriptor) {
        self.seen.add(&blob.digest, &target.name);
        if let Some(store) = self.store.filter(|_| self.mode == Mode::Send) {
            store.forget_upload(&target.name, &blob.digest).ok();
            store.note_repository(&blob.digest, &target.name).ok();
        }
    }

    fn done(&self, target: &Target, blob: &Descriptor, task: Task, way: Way) {
        match (&way, self.mode) {
            (Way::Skip, _) => task.done("Layer already exists"),
            (Way::Mount(source), Mode::Send) => task.done(format!("Mounted from {source}")),
            (Way::Send, Mode::Send) => task.done("Pushed"),
            (Way::Mount(_) | Way::Send, Mode::DryRun) => drop(task),
        }
        self.tally.add(&target.name, way, blob);
    }

    /// Of these the first that is another repository of the same registry.
    fn source<'n>(target: &Target, names: impl Iterator<Item = &'n String>) -> Option<String> {
        names.into_iter().find_map(|name| target.sibling(name)).map(str::to_owned)
    }
}

/// How errors of reading name a blob; a registry's errors do so by themselves.
pub(crate) fn label(blob: &Descriptor) -> String {
    format!("blob {}:{}", blob.digest.algorithm().name(), blob.digest.short())
}
