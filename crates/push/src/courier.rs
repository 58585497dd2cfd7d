//! One blob to one repository, by the cheapest way: it is there; the registry has it in another repository; it is sent.

use std::sync::Arc;

use anyhow::Context as _;
use cli::{Progress, Task};
use layer_format::Descriptor;
use registry::{Content, Upload};
use store::Store;

use crate::tally::{Tally, Way};
use crate::target::Target;

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
}

impl Courier<'_> {
    /// Begins to bring a blob; nothing if there is nothing to send.
    pub(crate) fn begin<'a>(
        &self,
        target: &'a Target,
        blob: &'a Descriptor,
    ) -> anyhow::Result<Option<Parcel<'a>>> {
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        if target.repository.has(blob)? {
            self.note(target, blob);
            self.done(target, blob, task, Way::Skip);
            return Ok(None);
        }
        let source = self.source(target, blob);
        if self.mode == Mode::DryRun {
            self.done(target, blob, task, source.map_or(Way::Send, Way::Mount));
            return Ok(None);
        }
        let kept = self.store.and_then(|store| store.upload(&target.name, &blob.digest));
        let mut upload = match &kept {
            Some(address) => target.repository.resume(blob, address),
            None => target.repository.upload(blob),
        };
        if let Some(source) = source.filter(|_| kept.is_none())
            && upload.mount(&source)?
        {
            self.note(target, blob);
            self.done(target, blob, task, Way::Mount(source));
            return Ok(None);
        }
        task.state("Pushing");
        Ok(Some(Parcel { target, blob, task, upload }))
    }

    /// Brings a blob whose bytes can be had again.
    pub(crate) fn bring(
        &self,
        target: &Target,
        blob: &Descriptor,
        open: impl FnOnce(&Task) -> anyhow::Result<Arc<dyn Content>>,
    ) -> anyhow::Result<()> {
        let Some(mut parcel) = self.begin(target, blob)? else { return Ok(()) };
        let content = open(&parcel.task).with_context(|| label(blob))?;
        while !parcel.upload.is_done() {
            self.send(&mut parcel, &content)?;
        }
        self.finish(parcel);
        Ok(())
    }

    /// Sends all of a window; of the last one the upload's end too.
    pub(crate) fn send_window(
        &self,
        parcel: &mut Parcel<'_>,
        window: &Arc<dyn Content>,
    ) -> anyhow::Result<()> {
        let end = window.range().end;
        let is_last = end == parcel.blob.size;
        while !parcel.upload.is_done() && (is_last || parcel.upload.offset() < end) {
            self.send(parcel, window)?;
        }
        Ok(())
    }

    fn send(&self, parcel: &mut Parcel<'_>, content: &Arc<dyn Content>) -> anyhow::Result<()> {
        cli::interrupt::check()?;
        parcel.upload.send(content)?;
        let address = parcel.upload.address();
        if let (Some(store), Some(address)) = (self.store, address) {
            // It only helps who comes later.
            store.note_upload(&parcel.target.name, &parcel.blob.digest, address).ok();
        }
        Ok(())
    }

    /// A blob has arrived.
    pub(crate) fn finish(&self, parcel: Parcel<'_>) {
        let Parcel { target, blob, task, .. } = parcel;
        self.note(target, blob);
        self.done(target, blob, task, Way::Send);
    }

    /// Remembers that a repository has a blob, and that nothing is under way; it is no loss if that fails.
    fn note(&self, target: &Target, blob: &Descriptor) {
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

    /// Another repository of the same registry that should have the blob.
    fn source(&self, target: &Target, blob: &Descriptor) -> Option<String> {
        let noted = self.store.map(|store| store.repositories(&blob.digest)).unwrap_or_default();
        let mut sources = noted.iter().chain(&self.sources);
        sources.find_map(|name| target.sibling(name)).map(str::to_owned)
    }
}

impl Parcel<'_> {
    /// How many bytes of a stream to have at hand at a time.
    pub(crate) fn chunk(&self) -> u64 {
        self.upload.chunk()
    }
}

/// How errors of reading name a blob; a registry's errors do so by themselves.
pub(crate) fn label(blob: &Descriptor) -> String {
    format!("blob {}:{}", blob.digest.algorithm().name(), blob.digest.short())
}
