//! Pushes what comes down a pipe, in one pass.
//!
//! ```text
//! stream ──► documents ─── kept, put last ──────────────────────────────────────┐
//!        ├─► small blobs ──► workers, each with one in memory ──► registries    ├─► manifests
//!        └─► large blobs ──► one at a time, through a spool ────► registries ───┘
//! ```

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use cli::{Code, Failure, Io};
use image::Input;
use layer_format::{
    Codec, DOCUMENT_LIMIT, Descriptor, Digest, Error, MAGIC_SIZE, Reference, Verified,
};
use network::threads::{Stop, for_each};
use registry::{Client, Content, Window};
use store::Store;
use stream::archive::{All, Archive, Blobs, Contents, Incoming, LoadedImage};

use crate::blob_pusher::{BlobPusher, PendingBlob, Seen, label};
use crate::later::Later;
use crate::route::{Delivery, Route};
use crate::spool::Spool;
use crate::stored::Stored;
use crate::summary::{Mode, Summary};
use crate::target;
use crate::workers::{Small, Workers};
use crate::{Args, Goal, Pushed};
use crate::{attach, publish};

/// Blobs up to this size, in bytes, are read whole and sent by a worker.
const SMALL: u64 = DOCUMENT_LIMIT;
/// How many workers there are at most: each holds a small blob in memory.
const MOST_WORKERS: usize = 4;
/// How many bytes of documents may wait until the stream has ended.
const DOCUMENTS_LIMIT: usize = 16 << 20;

/// Pushes the images of a stream.
pub(crate) fn push(
    args: &Args,
    goal: &Goal,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Pushed> {
    let mut all = open(io)?.all();
    let first = all.next_blob()?;
    let index = all.index()?;
    if first.is_none() && index.is_none() {
        all.check_not_empty()?;
        let what = "the image archive".to_owned();
        return Err(Error::NoImage { what, reason: "holds nothing to push" }.into());
    }
    let mut route = Route::plan(goal, index.as_ref(), client)?.of_platform(args.platform.clone());
    route.expect(&all.outlines()?);
    let path = Store::path_or_usual(args.common.store.as_deref());
    let store = path.ok().and_then(|path| Store::open_existing(path).ok()).flatten();
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Send };
    let progress = io.progress.clone();
    let pusher = BlobPusher {
        store: store.as_ref(),
        sources: route.sources.clone(),
        mode,
        progress: &progress,
        summary: Summary::new(mode),
        seen: Seen::default(),
    };
    let later = Later::new(&pusher, Arc::clone(&route.targets), args.jobs.into());
    let mut intake = Intake {
        args,
        goal,
        route,
        pusher: &pusher,
        later: &later,
        came: HashMap::new(),
        documents: HashMap::new(),
        n_document_bytes: 0,
        stop: Stop::default(),
    };
    intake.take_all(&mut all, first)?;
    let mut contents = all.finish(args.platform.as_ref(), &mut intake)?;
    contents.doubts.iter().for_each(|doubt| io.warn(doubt));
    check_whole(&mut contents)?;
    let pushed = intake.publish(&contents.images)?;
    if mode == Mode::DryRun {
        pusher.summary.tell(args.json, io)?;
        return Ok(Pushed { names: vec![], ..pushed });
    }
    if pushed.failed.is_none() {
        progress.say(pusher.summary.sums());
    }
    Ok(pushed)
}

fn open(io: &mut Io<'_>) -> anyhow::Result<Archive> {
    // Nothing waits: every blob is sent as it comes.
    let (reader, file) = io.input.take_image()?;
    Input::new(reader, file).archive(image::no_spool()).context("standard input")
}

/// The state of a stream while it is pushed.
struct Intake<'a> {
    args: &'a Args,
    goal: &'a Goal,
    route: Route,
    pusher: &'a BlobPusher<'a>,
    later: &'a Later<'a>,
    came: HashMap<Digest, PassedBlob>,
    /// Manifests, indexes and configs.
    documents: HashMap<Digest, Vec<u8>>,
    n_document_bytes: usize,
    stop: Stop,
}

/// A blob of the stream that has been read.
#[derive(Debug)]
struct PassedBlob {
    size: u64,
    /// The positions of the targets that it went to, as far as they were known then.
    targets: Vec<usize>,
}

impl Intake<'_> {
    /// Checks that the rest of the stream is still of use.
    ///
    /// # Errors
    /// If the user has interrupted the program, or a worker has failed; the worker's own error says why.
    fn check(&self) -> anyhow::Result<()> {
        cli::interrupt::check()?;
        if self.stop.is_set() {
            anyhow::bail!("the upload stopped");
        }
        Ok(())
    }

    /// Pushes blobs as they come, and keeps documents.
    fn take_all(&mut self, all: &mut All, first: Option<Incoming>) -> anyhow::Result<()> {
        let targets = Arc::clone(&self.route.targets);
        let (sender, receiver) = sync_channel(0);
        let workers = Workers {
            pusher: self.pusher,
            later: self.later,
            targets: &targets,
            receiver: Mutex::new(receiver),
            stop: &self.stop.clone(),
        };
        let jobs = usize::from(self.args.jobs).min(MOST_WORKERS);
        workers.beside(jobs, || {
            let taken = self.take_each(all, first, &sender);
            drop(sender);
            taken
        })
    }

    /// Reads one blob after the other, handing small ones to the workers.
    fn take_each(
        &mut self,
        all: &mut All,
        first: Option<Incoming>,
        workers: &SyncSender<Small>,
    ) -> anyhow::Result<()> {
        let mut next = first;
        while let Some(incoming) = next {
            self.check()?;
            let digest = incoming.claimed.ok_or_else(unnamed)?;
            let blob = Descriptor::new("", digest, incoming.size);
            let mut start = Vec::with_capacity(MAGIC_SIZE);
            let reading = all.content().take(MAGIC_SIZE as u64).read_to_end(&mut start);
            reading.with_context(|| label(&blob))?;
            let codec = Codec::sniff(&start);
            let content = io::Cursor::new(start).chain(all.content());
            let content = Verified::new(content, "blob", digest, Some(blob.size));
            self.take(&blob, content, workers)?;
            all.received(incoming, digest, codec)?;
            next = all.next_blob()?;
        }
        Ok(())
    }

    /// Reads one blob: keeps a document, hands a small blob to the workers, and pushes a large one itself.
    fn take(
        &mut self,
        blob: &Descriptor,
        mut content: impl Read,
        workers: &SyncSender<Small>,
    ) -> anyhow::Result<()> {
        if self.came.contains_key(&blob.digest) {
            return drain(blob, content);
        }
        let came = PassedBlob { size: blob.size, targets: self.targets_of(blob) };
        self.came.insert(blob.digest, came);
        if blob.size > SMALL {
            return self.pass(blob, content);
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).with_context(|| label(blob))?;
        if is_document(&bytes) {
            return self.keep(blob.digest, bytes);
        }
        let targets = self.targets_of(blob);
        // No worker receives any more: one has failed, and its error says why.
        let gone = |_| io::Error::other("the upload stopped");
        let small = Small { blob: blob.clone(), bytes: bytes.into(), targets };
        Ok(workers.send(small).map_err(gone)?)
    }

    /// Keeps a document, and learns from it where blobs go.
    fn keep(&mut self, digest: Digest, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.n_document_bytes += bytes.len();
        if self.n_document_bytes > DOCUMENTS_LIMIT {
            let what = "what the stream has of manifests and configs".to_owned();
            return Err(Error::TooLarge { what, limit: DOCUMENTS_LIMIT as u64 }.into());
        }
        self.route.learn(&digest, &bytes);
        self.documents.insert(digest, bytes);
        Ok(())
    }

    /// Sends a large blob to all registries that lack it, at the same time and while it comes.
    fn pass(&mut self, blob: &Descriptor, mut content: impl Read) -> anyhow::Result<()> {
        let targets = Arc::clone(&self.route.targets);
        let mut pending_blobs = Vec::new();
        for at in self.targets_of(blob) {
            pending_blobs.extend(self.pusher.begin(&targets[at], blob)?);
        }
        if pending_blobs.is_empty() {
            return drain(blob, content);
        }
        let file = image::spool(self.pusher.store)().map_err(no_room)?;
        let spool = Spool::new(file, blob.size, pending_blobs.len());
        let registries = by_registry(pending_blobs);
        for (number, _) in registries.iter().flat_map(|pending_blobs| &pending_blobs[1..]) {
            spool.queue(*number);
        }
        let failed = Mutex::new(None);
        let make_room = || self.make_room(&failed);
        thread::scope(|scope| {
            let sent: Vec<_> = registries
                .into_iter()
                .map(|pending_blobs| scope.spawn(|| self.send_each(pending_blobs, &spool)))
                .collect();
            let filled = spool.fill(&mut content, &make_room);
            let sent = sent.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let sent: Vec<_> = sent.collect();
            if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            // If the pipe failed, that is why the uploads did.
            filled.map_err(|error| spool_error(blob, error))?;
            sent.into_iter().collect()
        })
    }

    /// Pushes the blobs that wait, because the disk is full. An error of that is left in `failed`.
    fn make_room(&self, failed: &Mutex<Option<anyhow::Error>>) -> io::Result<bool> {
        self.later.make_room().map_err(|error| {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::Error::other("the upload stopped")
        })
    }

    /// Pushes a blob to several repositories of one registry, each with the number of its reader: once the first one has it, the
    /// others may mount it from there, at once or when a manifest names it.
    fn send_each(
        &self,
        pending_blobs: Vec<(usize, PendingBlob<'_>)>,
        spool: &Arc<Spool>,
    ) -> anyhow::Result<()> {
        let numbers: Vec<_> = pending_blobs.iter().map(|(number, _)| *number).collect();
        let sent = pending_blobs.into_iter().try_for_each(|(number, mut pending)| {
            if self.pusher.mounts_own(&mut pending)? {
                self.pusher.mounted(pending);
            } else if spool.has_come() && self.later.wants(&pending) {
                self.later.put(pending, Arc::clone(spool), number);
            } else {
                let content = spool.share(number, pending.task.meter());
                self.pusher.send(pending, &content)?;
            }
            spool.leave(number);
            Ok(())
        });
        if sent.is_err() {
            spool.fail();
        }
        for number in numbers {
            spool.leave(number);
        }
        sent
    }

    /// The positions of the targets that a blob goes to.
    fn targets_of(&self, blob: &Descriptor) -> Vec<usize> {
        if self.route.is_foreign(&blob.digest) && !self.args.non_distributable {
            return vec![];
        }
        self.route.targets_of(&blob.digest)
    }

    /// Pushes the layers of an image that came before the stream said that this target needs them; only the store can have
    /// them.
    ///
    /// # Errors
    /// The registry's, and if the store lacks one.
    fn make_up(&self, at: usize, image: &stream::Graph) -> anyhow::Result<()> {
        let target = &self.route.targets[at];
        let is_owed = |blob: &&Descriptor| {
            let is_wanted = self.args.non_distributable || !blob.is_foreign();
            let came = self.came.get(&blob.digest).filter(|came| !came.targets.contains(&at));
            is_wanted && came.is_some() && !self.documents.contains_key(&blob.digest)
        };
        let owed: Vec<_> = image.blobs().filter(is_owed).collect();
        for_each(self.args.jobs.into(), &owed, |blob| {
            self.pusher.push(target, blob, |task| match self.pusher.store {
                Some(store) if store.has(&blob.digest, blob.size)? => {
                    Stored::open(store, blob, task)
                }
                _ => Err(passed(target).into()),
            })
        })
    }

    /// Pushes the documents of each image. Of several images one may fail, and the others are pushed all the same.
    fn publish(&self, images: &[LoadedImage]) -> anyhow::Result<Pushed> {
        let mut pushed = Pushed::default();
        let deliveries = self.route.deliveries(images)?;
        let is_single = deliveries.len() == 1;
        for delivery in deliveries {
            match self.deliver(&delivery) {
                Err(error) if is_single => return Err(error),
                delivered => {
                    if !pushed.add(delivered, self.pusher.progress)? {
                        break;
                    }
                }
            }
        }
        Ok(pushed)
    }

    /// Pushes the configs of an image, then its manifests.
    fn deliver(&self, delivery: &Delivery<'_>) -> anyhow::Result<Vec<(Reference, Digest)>> {
        let target = &self.route.targets[delivery.target];
        let found = delivery.found;
        let all_platforms = self.args.all_platforms;
        let settled = publish::settle(&found.image, &found.root.digest, target, all_platforms)?;
        let image = &settled.image;
        let root = &settled.root;
        let names = delivery.names.iter().map(|name| self.goal.settle(name.clone(), root));
        let names: Vec<Reference> = names.collect();
        target::check_pins(&names, root)?;
        self.later.settle(target)?;
        self.make_up(delivery.target, image)?;
        let kept: Vec<_> = image
            .blobs()
            .filter_map(|blob| Some((blob, self.documents.get(&blob.digest)?)))
            .collect();
        for_each(self.args.jobs.into(), &kept, |(blob, raw)| {
            let content = Arc::new(Window::new(0, &raw[..]));
            self.pusher.push(target, blob, |_| Ok(content as Arc<dyn Content>))
        })?;
        match delivery.about {
            Some(name) if self.pusher.mode == Mode::DryRun => {
                self.pusher.summary.attach(&attach::name_at(target, name)?, &found.root);
            }
            _ if self.pusher.mode == Mode::DryRun => {}
            Some(name) => attach::attach(target, name, image, root)?,
            None => {
                publish::publish(target, &names, image, root)?;
                publish::tell_only(&settled, target, self.pusher.progress);
            }
        }
        Ok(names.into_iter().map(|name| (name, *root)).collect())
    }
}

/// The pending blobs by registry, each with its position in `pending_blobs`, which is the number of its reader.
fn by_registry(pending_blobs: Vec<PendingBlob<'_>>) -> Vec<Vec<(usize, PendingBlob<'_>)>> {
    let mut registries: Vec<Vec<(usize, PendingBlob<'_>)>> = vec![];
    for numbered in pending_blobs.into_iter().enumerate() {
        let registry = &numbered.1.target.registry;
        match registries.iter_mut().find(|it| it[0].1.target.registry == *registry) {
            Some(known) => known.push(numbered),
            None => registries.push(vec![numbered]),
        }
    }
    registries
}

/// The error for a layer that two images share, and that came with the first.
fn passed(target: &target::Target) -> Failure {
    let text = format!("the stream had it before it said that {} needs it", target.name);
    Failure::new(Code::Failed, text).hint("push each image by itself: save NAME | push - NAME")
}

fn spool_error(blob: &Descriptor, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_room(error).into(),
        _ => anyhow::Error::from(error).context(label(blob)),
    }
}

/// The error for a temporary file that there is no room for.
fn no_room(error: io::Error) -> Failure {
    Failure::from_cause(anyhow::Error::from(error).context("making a temporary file for a layer"))
        .hint("set TMPDIR to a directory with room for the largest layer")
}

/// Reads a blob to its end, where its digest is verified.
fn drain(blob: &Descriptor, mut content: impl Read) -> anyhow::Result<()> {
    io::copy(&mut content, &mut io::sink()).map(drop).with_context(|| label(blob))
}

/// Whether a blob looks like a manifest, an index or a config.
fn is_document(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// The error for an archive whose blobs have no digests before they are read.
fn unnamed() -> Failure {
    cli::usage("this archive doesn't name its blobs by digest, so they can't be sent as they come")
        .hint("load it, then push IMAGE NAME")
}

/// Checks that the stream left out no image, and no blob that the registry lacks.
///
/// # Errors
/// That of the image that was left out, or [`Code::NotFound`].
fn check_whole(contents: &mut Contents) -> anyhow::Result<()> {
    if let Some(left_out) = contents.left_out.pop() {
        return Err(left_out.error).with_context(|| left_out.name);
    }
    let Some(first) = contents.missing.first() else { return Ok(()) };
    let what = format!("blob {}", first.digest);
    let text = format!("a thin stream, and the registry lacks what it leaves out: {what}");
    Err(Failure::new(Code::NotFound, text).hint(report::STREAM_WHOLE).into())
}

impl Blobs for Intake<'_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool, Error> {
        if let Some(came) = self.came.get(&blob.digest) {
            return Ok(came.size == blob.size);
        }
        if blob.is_foreign() && !self.args.non_distributable {
            return Ok(true);
        }
        let asking = |error| Error::io("asking the registry", io::Error::from(error));
        for at in self.route.targets_of(&blob.digest) {
            let target = &self.route.targets[at];
            if !self.pusher.has_or_mounts(target, blob).map_err(asking)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.documents.get(&descriptor.digest).cloned())
    }
}
