//! The blobs of a copy: each once, by the cheapest way.

use std::collections::HashSet;
use std::sync::Arc;

use cli::{Action, Plan, Progress, Step, Task};
use layer_format::{Descriptor, Digest, Manifest};
use registry::{Content, Repository, Upload};
use store::Store;

use super::content::Source;
use super::request::{Mode, Request};
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
    plan: Plan,
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

/// The actions and the words of their sums, before and after a copy.
const fn actions(mode: Mode) -> &'static [Action; 3] {
    match mode {
        Mode::Copy => &[
            Action { name: "send", sum: "sent" },
            Action { name: "mount", sum: "mounted" },
            Action { name: "skip", sum: "there already" },
        ],
        Mode::DryRun { .. } => &[
            Action { name: "send", sum: "to send" },
            Action { name: "mount", sum: "to mount" },
            Action { name: "skip", sum: "there already" },
        ],
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
            plan: Plan::new("repository", actions(request.mode)),
        }
    }

    /// Brings the blobs of a manifest to the target, apart from layers that are not to be distributed.
    pub(super) fn copy(&mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let mut known = self.seen.clone();
        let new = manifest.parts().filter(|blob| !blob.is_foreign() && known.insert(blob.digest));
        self.progress.expect(new.map(|blob| blob.size).fold(0, u64::saturating_add));
        for blob in manifest.parts().filter(|blob| !blob.is_foreign()) {
            cli::interrupt::check()?;
            if self.seen.insert(blob.digest) {
                match self.request.mode {
                    Mode::Copy => self.copy_one(blob)?,
                    Mode::DryRun { .. } => {
                        let way = self.way(blob)?;
                        self.add(blob, way);
                    }
                }
            }
        }
        Ok(())
    }

    /// What was done with each blob, or would be.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    fn copy_one(&mut self, blob: &Descriptor) -> anyhow::Result<()> {
        let way = if self.is_own_copy() { Way::There } else { self.bring_shown(blob)? };
        self.add(blob, way);
        self.note(blob);
        Ok(())
    }

    /// Brings a blob to the target, with a line of progress.
    fn bring_shown(&self, blob: &Descriptor) -> anyhow::Result<Way> {
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        let way = self.bring(blob, &task)?;
        match &way {
            Way::There => task.done("Layer already exists"),
            Way::Mounted(from) => task.done(format!("Mounted from {from}")),
            Way::Sent => task.done("Copied"),
        }
        Ok(way)
    }

    /// Whether the copy lies in the same repository.
    fn is_own_copy(&self) -> bool {
        self.request.image.name() == self.request.name.name()
    }

    fn add(&mut self, blob: &Descriptor, way: Way) {
        let [send, mount, skip] = *actions(self.request.mode);
        let (action, from) = match way {
            Way::There => (skip, None),
            Way::Mounted(from) => (mount, Some(from)),
            Way::Sent => (send, None),
        };
        let place = self.request.name.name();
        self.plan.add(Step { place, action, digest: blob.digest, bytes: blob.size, from });
    }

    /// The way by which a blob would come to the target. A registry may still refuse to mount it.
    fn way(&self, blob: &Descriptor) -> anyhow::Result<Way> {
        if self.is_own_copy() || self.target.is_known_to_have(blob)? {
            return Ok(Way::There);
        }
        let from = self.own_source().or_else(|| self.noted(blob));
        Ok(from.map_or(Way::Sent, Way::Mounted))
    }

    /// The repository of the source, by its path, if it is of the target's registry.
    fn own_source(&self) -> Option<String> {
        let is_within = self.request.image.registry() == self.request.name.registry();
        is_within.then(|| self.request.image.repository().to_owned())
    }

    /// Brings a blob to the target by the cheapest way.
    fn bring(&self, blob: &Descriptor, task: &Task) -> anyhow::Result<Way> {
        let mut upload = self.target.upload(blob);
        // The answer to a mount tells as much as a question would, where it is likely to succeed.
        let own = self.own_source();
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
