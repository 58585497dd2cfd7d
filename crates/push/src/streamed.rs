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
use layer_format::archive::{All, Archive, Blobs, Contents, Incoming, LoadedImage};
use layer_format::{
    Codec, DOCUMENT_LIMIT, Descriptor, Digest, Error, MAGIC_SIZE, Reference, Verified, stream,
};
use registry::{Client, Content, Window};
use store::Store;

use crate::Args;
use crate::courier::{Courier, Mode, Parcel, Seen, label};
use crate::later::Later;
use crate::route::Route;
use crate::spool::Spool;
use crate::stored::Stored;
use crate::tally::Tally;
use crate::target;
use crate::workers::{Small, Stop, Workers, for_each};
use crate::{attach, publish};

/// Blobs up to this size are read whole and sent by a worker.
const SMALL: u64 = DOCUMENT_LIMIT;
/// More workers would hold more small blobs in memory.
const MOST_WORKERS: usize = 4;
/// How many bytes of documents may wait until the stream has ended.
const DOCUMENTS_LIMIT: usize = 16 << 20;

/// Pushes the images of a stream; gives each name and the digest that it has now.
pub(crate) fn push(
    args: &Args,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<(Reference, Digest)>> {
    let mut all = open(io)?.all();
    let first = all.next_blob()?;
    let index = all.index()?;
    if first.is_none() && index.is_none() {
        all.check_not_empty()?;
        let what = "the image archive".to_owned();
        return Err(Error::Malformed { what, reason: "holds nothing to push" }.into());
    }
    let mut route =
        Route::plan(&args.names, index.as_ref(), client)?.of_platform(args.platform.clone());
    route.expect(&all.outlines()?);
    let path = Store::path_or_usual(args.common.store.as_deref());
    let store = path.ok().and_then(|path| Store::open_existing(path).ok()).flatten();
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Send };
    let progress = io.progress.clone();
    let courier = Courier {
        store: store.as_ref(),
        sources: route.sources.clone(),
        mode,
        progress: &progress,
        tally: Tally::default(),
        seen: Seen::default(),
    };
    let later = Later::new(&courier, Arc::clone(&route.targets), args.jobs.into());
    let mut intake = Intake {
        args,
        route,
        courier: &courier,
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
        courier.tally.write(&mut io.output)?;
        return Ok(vec![]);
    }
    progress.say(courier.tally.to_string());
    Ok(pushed)
}

fn open(io: &mut Io<'_>) -> anyhow::Result<Archive> {
    // Nothing waits: every blob is sent as it comes.
    let (reader, file) = io.input.take_image()?;
    Input::new(reader, file).archive(image::no_spool()).context("standard input")
}

/// What comes out of the stream, on its way.
struct Intake<'a> {
    args: &'a Args,
    route: Route,
    courier: &'a Courier<'a>,
    later: &'a Later<'a>,
    came: HashMap<Digest, Came>,
    /// Manifests, indexes and configs.
    documents: HashMap<Digest, Vec<u8>>,
    n_document_bytes: usize,
    stop: Stop,
}

/// A blob that came.
#[derive(Debug)]
struct Came {
    size: u64,
    /// Where it went, as far as was known then.
    targets: Vec<usize>,
}

impl Intake<'_> {
    /// Nothing more is of use once a worker has failed; it says why.
    fn check(&self) -> anyhow::Result<()> {
        cli::interrupt::check()?;
        if self.stop.is_set() {
            anyhow::bail!("the upload stopped");
        }
        Ok(())
    }

    /// Sends blobs as they come, and keeps documents.
    fn take_all(&mut self, all: &mut All, first: Option<Incoming>) -> anyhow::Result<()> {
        let (courier, targets) = (self.courier, Arc::clone(&self.route.targets));
        let (sender, receiver) = sync_channel(0);
        let workers = Workers {
            courier,
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
            all.came(incoming, digest, codec)?;
            next = all.next_blob()?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        blob: &Descriptor,
        mut content: impl Read,
        workers: &SyncSender<Small>,
    ) -> anyhow::Result<()> {
        if self.came.contains_key(&blob.digest) {
            return drain(blob, content);
        }
        let came = Came { size: blob.size, targets: self.targets_of(blob) };
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
        // Nobody takes it any more: a worker has failed and will say why.
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

    /// Sends a large blob to all registries that lack it at once, while it comes.
    fn pass(&mut self, blob: &Descriptor, mut content: impl Read) -> anyhow::Result<()> {
        let targets = Arc::clone(&self.route.targets);
        let mut parcels = Vec::new();
        for at in self.targets_of(blob) {
            parcels.extend(self.courier.begin(&targets[at], blob)?);
        }
        if parcels.is_empty() {
            return drain(blob, content);
        }
        let file = image::spool(self.courier.store)().map_err(no_room)?;
        let spool = Spool::new(file, blob.size, parcels.len());
        let registries = by_registry(parcels);
        for (number, _) in registries.iter().flat_map(|parcels| &parcels[1..]) {
            spool.queue(*number);
        }
        let failed = Mutex::new(None);
        let make_room = || self.make_room(&failed);
        thread::scope(|scope| {
            let sent: Vec<_> = registries
                .into_iter()
                .map(|parcels| scope.spawn(|| self.send_each(parcels, &spool)))
                .collect();
            let filled = spool.fill(&mut content, &make_room);
            let sent = sent.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let sent: Vec<_> = sent.collect();
            if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            // Where the pipe is broken, that is why nobody could send.
            filled.map_err(|error| spool_error(blob, error))?;
            sent.into_iter().collect()
        })
    }

    /// Where the disk is full, what waits is brought now. An error of that is left in `failed`.
    fn make_room(&self, failed: &Mutex<Option<anyhow::Error>>) -> io::Result<bool> {
        self.later.make_room().map_err(|error| {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::Error::other("the upload stopped")
        })
    }

    /// Brings a blob to repositories of one registry: where it is in the first, the others may take it from there, at once or
    /// when a manifest names it.
    fn send_each(
        &self,
        parcels: Vec<(usize, Parcel<'_>)>,
        spool: &Arc<Spool>,
    ) -> anyhow::Result<()> {
        let numbers: Vec<_> = parcels.iter().map(|(number, _)| *number).collect();
        let sent = parcels.into_iter().try_for_each(|(number, mut parcel)| {
            if self.courier.mounts_own(&mut parcel)? {
                self.courier.mounted(parcel);
            } else if spool.has_come() && self.later.wants(&parcel) {
                self.later.put(parcel, Arc::clone(spool), number);
            } else {
                let content = spool.share(number, parcel.task.meter());
                self.courier.carry(parcel, &content)?;
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

    /// Where a blob goes.
    fn targets_of(&self, blob: &Descriptor) -> Vec<usize> {
        if self.route.is_foreign(&blob.digest) && !self.args.non_distributable {
            return vec![];
        }
        self.route.targets_of(&blob.digest)
    }

    /// Brings the layers that came before anything said that this image has them, too.
    fn make_up(&self, at: usize, image: &stream::Graph) -> anyhow::Result<()> {
        let target = &self.route.targets[at];
        let is_owed = |blob: &&Descriptor| {
            let is_wanted = self.args.non_distributable || !blob.is_foreign();
            let came = self.came.get(&blob.digest).filter(|came| !came.targets.contains(&at));
            is_wanted && came.is_some() && !self.documents.contains_key(&blob.digest)
        };
        let owed: Vec<_> = image.blobs().filter(is_owed).collect();
        for_each(self.args.jobs.into(), &owed, |blob| {
            self.courier.bring(target, blob, |task| match self.courier.store {
                Some(store) if store.has(&blob.digest, blob.size)? => {
                    Stored::open(store, blob, task)
                }
                _ => Err(passed(target).into()),
            })
        })
    }

    /// Sends the configs, then the manifests.
    fn publish(&self, images: &[LoadedImage]) -> anyhow::Result<Vec<(Reference, Digest)>> {
        let mut pushed = Vec::new();
        for delivery in self.route.deliveries(images)? {
            let (target, found) = (&self.route.targets[delivery.target], delivery.found);
            let names: Vec<Reference> = delivery.names.iter().map(|&name| name.clone()).collect();
            let (image, root) = (&found.image, &found.root.digest);
            let settled = publish::settle(image, root, target, self.args.all_platforms)?;
            let (image, root) = (&settled.image, &settled.root);
            target::check_pins(&names, root)?;
            self.later.settle(target)?;
            self.make_up(delivery.target, image)?;
            let kept: Vec<_> = image
                .blobs()
                .filter_map(|blob| Some((blob, self.documents.get(&blob.digest)?)))
                .collect();
            for_each(self.args.jobs.into(), &kept, |(blob, raw)| {
                let content = Arc::new(Window::new(0, &raw[..]));
                self.courier.bring(target, blob, |_| Ok(content as Arc<dyn Content>))
            })?;
            match delivery.about {
                Some(name) if self.courier.mode == Mode::DryRun => {
                    self.courier.tally.attach(&attach::name_at(target, name)?, &found.root);
                }
                _ if self.courier.mode == Mode::DryRun => {}
                Some(name) => attach::attach(target, name, image, root)?,
                None => {
                    publish::publish(target, &delivery.names, image, root)?;
                    publish::tell_only(&settled, target, self.courier.progress);
                }
            }
            pushed.extend(names.into_iter().map(|name| (name, *root)));
        }
        Ok(pushed)
    }
}

/// What goes to the same registry, with the number of each.
fn by_registry(parcels: Vec<Parcel<'_>>) -> Vec<Vec<(usize, Parcel<'_>)>> {
    let mut registries: Vec<Vec<(usize, Parcel<'_>)>> = vec![];
    for numbered in parcels.into_iter().enumerate() {
        let registry = &numbered.1.target.registry;
        match registries.iter_mut().find(|it| it[0].1.target.registry == *registry) {
            Some(known) => known.push(numbered),
            None => registries.push(vec![numbered]),
        }
    }
    registries
}

/// Two images share a layer, which came with the first.
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

/// Large layers of a stream need room.
fn no_room(error: io::Error) -> Failure {
    Failure::from_cause(anyhow::Error::from(error).context("making a temporary file for a layer"))
        .hint("set TMPDIR to a directory with room for the largest layer")
}

/// Reads to the end, where it turns out whether a blob is what it should be.
fn drain(blob: &Descriptor, mut content: impl Read) -> anyhow::Result<()> {
    io::copy(&mut content, &mut io::sink()).map(drop).with_context(|| label(blob))
}

/// Whether it looks like a manifest, an index or a config.
fn is_document(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

fn unnamed() -> Failure {
    cli::usage("this archive doesn't name its blobs by digest, so they can't be sent as they come")
        .hint("load it, then push IMAGE NAME")
}

/// Nothing may be missing, unless the registry has it.
fn check_whole(contents: &mut Contents) -> anyhow::Result<()> {
    if let Some(left_out) = contents.left_out.pop() {
        return Err(left_out.error).with_context(|| left_out.name);
    }
    let Some(first) = contents.missing.first() else { return Ok(()) };
    let what = format!("blob {}", first.digest);
    let text = format!("a thin stream, and the registry lacks what it leaves out: {what}");
    Err(Failure::new(Code::NotFound, text).hint("save it again without --base and --have").into())
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
            if !self.route.targets[at].repository.has(blob).map_err(asking)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.documents.get(&descriptor.digest).cloned())
    }
}
