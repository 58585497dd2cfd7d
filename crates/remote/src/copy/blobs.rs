//! The blobs of a copy: each once, by the cheapest way.

use std::collections::HashSet;
use std::sync::Arc;

use cli::{Progress, Task};
use layer_format::{Descriptor, Digest, Manifest};
use registry::{Content, Repository, Upload};
use store::Store;

use super::content::Source;
use super::request::Request;
use crate::names::without_tag;

/// The blobs of a copy under way.
pub(super) struct Blobs<'a> {
    request: Request<'a>,
    source: &'a Repository,
    target: &'a Repository,
    /// The store, if there is one: it remembers which repositories have a blob.
    store: Option<&'a Store>,
    progress: &'a Progress,
    seen: HashSet<Digest>,
    sent: Count,
    mounted: Count,
    there: Count,
}

/// The way by which a blob came to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The repository had it.
    There,
    /// The registry took it from this other repository of its own, named by its path.
    Mounted(String),
    /// It was sent.
    Sent,
}

/// How many blobs, and of how many bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    n: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, blob: &Descriptor) {
        self.n += 1;
        self.bytes += blob.size;
    }

    fn shown(self) -> String {
        format!("{} ({})", self.n, cli::human_size(self.bytes))
    }
}

impl<'a> Blobs<'a> {
    pub(super) fn new(
        request: Request<'a>,
        source: &'a Repository,
        target: &'a Repository,
        store: Option<&'a Store>,
        progress: &'a Progress,
    ) -> Self {
        Self {
            request,
            source,
            target,
            store,
            progress,
            seen: HashSet::new(),
            sent: Count::default(),
            mounted: Count::default(),
            there: Count::default(),
        }
    }

    /// Brings the blobs of a manifest to the target, apart from layers that are not to be distributed.
    pub(super) fn copy(&mut self, manifest: &Manifest) -> anyhow::Result<()> {
        for blob in manifest.parts().filter(|blob| !blob.is_foreign()) {
            cli::interrupt::check()?;
            if self.seen.insert(blob.digest) {
                self.copy_one(blob)?;
                self.note(blob);
            }
        }
        Ok(())
    }

    /// `blobs sent: 2 (12.3MB), mounted: 1 (4B), there already: 0 (0B)`.
    pub(super) fn summary(&self) -> String {
        let [sent, mounted, there] = [self.sent, self.mounted, self.there].map(Count::shown);
        format!("blobs sent: {sent}, mounted: {mounted}, there already: {there}")
    }

    fn copy_one(&mut self, blob: &Descriptor) -> anyhow::Result<()> {
        if self.request.image.name() == self.request.name.name() {
            self.there.add(blob);
            return Ok(());
        }
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        match self.bring(blob, &task)? {
            Way::There => {
                self.there.add(blob);
                task.done("Layer already exists");
            }
            Way::Mounted(from) => {
                self.mounted.add(blob);
                task.done(format!("Mounted from {from}"));
            }
            Way::Sent => {
                self.sent.add(blob);
                task.done("Copied");
            }
        }
        Ok(())
    }

    /// Brings a blob to the target by the cheapest way.
    fn bring(&self, blob: &Descriptor, task: &Task) -> anyhow::Result<Way> {
        let mut upload = self.target.upload(blob);
        let is_within = self.request.image.registry() == self.request.name.registry();
        // The answer to a mount tells as much as a question would, where it is likely to succeed.
        let own = is_within.then(|| self.request.image.repository().to_owned());
        if let Some(from) = &own
            && upload.mount(from)?
        {
            return Ok(Way::Mounted(from.clone()));
        }
        if self.target.is_known_to_have(blob)? {
            upload.cancel();
            return Ok(Way::There);
        }
        let noted = if own.is_none() { self.noted(blob) } else { None };
        if let Some(from) = noted
            && upload.mount(&from)?
        {
            return Ok(Way::Mounted(from));
        }
        self.send(blob, upload, task)?;
        Ok(Way::Sent)
    }

    /// Sends a blob as it comes from the source. If that fails, the upload is cancelled.
    fn send(&self, blob: &Descriptor, mut upload: Upload, task: &Task) -> anyhow::Result<()> {
        task.state("Copying");
        let repository = without_tag(self.request.image);
        let source = Source::new(self.source, blob, &repository, task.meter());
        let content: Arc<dyn Content> = Arc::new(source.clone());
        while !upload.is_done() {
            if let Err(error) = upload.send(&content) {
                upload.cancel();
                // If the source failed, that is why the upload did.
                return Err(source.take_failure().unwrap_or(error).into());
            }
        }
        Ok(())
    }

    /// Another repository of the target's registry, by its path, that has had a blob.
    fn noted(&self, blob: &Descriptor) -> Option<String> {
        let registry = self.request.name.registry();
        let own = self.request.name.name();
        let names = self.store?.repositories(&blob.digest);
        let path =
            |name: &String| name.strip_prefix(registry)?.strip_prefix('/').map(str::to_owned);
        names.iter().filter(|name| **name != own).find_map(path)
    }

    /// Remembers where the blob is now. Without it the next run only has to ask.
    fn note(&self, blob: &Descriptor) {
        if let Some(store) = self.store {
            store.note_repository(&blob.digest, &self.request.name.name()).ok();
        }
    }
}
