//! Pushes an image of the store.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure, Io, Meter, Progress, Task};
use image::Location;
use layer_format::{Descriptor, Digest, Platform, Reference};
use network::threads::for_each;
use registry::{Client, Content};
use store::{Found, FoundBy, Store};
use stream::{Graph, Section};

use crate::attach;
use crate::blob_pusher::{BlobPusher, Seen};
use crate::prefix::{Renamed, check_collisions};
use crate::publish::{self, Settled};
use crate::summary::{Mode, Summary};
use crate::target::{self, Target};
use crate::{Args, Goal, Pushed};

/// Pushes the images that were asked for.
pub(crate) fn push(
    args: &Args,
    goal: &Goal,
    images: &[String],
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Pushed> {
    let more = if matches!(goal, Goal::Under(_)) { &args.names[..] } else { &[] };
    let texts: Vec<&String> = images.iter().chain(more).collect();
    texts.iter().try_for_each(|text| refuse_paths(text))?;
    let store = open(args, texts[0])?;
    let mut jobs = vec![];
    for text in texts {
        jobs.push(Job::find(text, goal, args, &store)?);
    }
    check_names(&jobs)?;
    let held: Vec<_> = jobs.iter().flat_map(Job::roots).collect();
    let hold = store.hold(&held)?;
    hold.warning().iter().for_each(|warning| io.warn(warning));
    let mut outgoing = vec![];
    for job in &jobs {
        let image = Outgoing::gather(args, &job.found, &job.referrers, &store);
        let image = image.with_context(|| job.text.to_owned())?;
        let blobs = image.blobs(args.non_distributable);
        check_whole(&blobs, &store).with_context(|| job.text.to_owned())?;
        outgoing.push(image);
    }
    let progress = io.progress.clone();
    let sources = jobs.iter().filter_map(|job| job.found.image.reference());
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Send };
    let pusher = BlobPusher {
        store: Some(&store),
        sources: sources.map(|name| name.name()).collect(),
        mode,
        progress: &progress,
        summary: Summary::new(mode),
        seen: Seen::default(),
    };
    let mut pushed = Pushed::default();
    for (job, image) in jobs.iter().zip(&outgoing) {
        match job.push(image, args, &pusher, client) {
            Err(error) if jobs.len() == 1 => return Err(error),
            of_one => {
                if !pushed.add(of_one, &progress)? {
                    break;
                }
            }
        }
    }
    if pusher.mode == Mode::DryRun {
        pusher.summary.tell(args.json, io)?;
        return Ok(Pushed { names: vec![], ..pushed });
    }
    if pushed.failed.is_none() {
        progress.say(pusher.summary.sums());
    }
    Ok(pushed)
}

/// An image of the store, and the names that it gets.
struct Job<'a> {
    text: &'a str,
    goal: &'a Goal,
    found: Found,
    names: Vec<Reference>,
    referrers: Vec<store::IndexEntry>,
}

impl<'a> Job<'a> {
    fn find(text: &'a str, goal: &'a Goal, args: &Args, store: &Store) -> anyhow::Result<Self> {
        let found = store.find(text).hinted(store::Error::hint_in_store)?;
        let names = names(text, goal, &found)?;
        let referrers = if args.referrers { store.referrers(&found.image)? } else { vec![] };
        Ok(Self { text, goal, found, names, referrers })
    }

    fn roots(&self) -> impl Iterator<Item = Digest> {
        let referrers = self.referrers.iter().map(|it| *it.digest());
        std::iter::once(self.found.descriptor.digest).chain(referrers)
    }

    /// Pushes the image to all of its names; returns each name and the digest that it has now.
    fn push(
        &self,
        image: &Outgoing,
        args: &Args,
        pusher: &BlobPusher<'_>,
        client: &Client,
    ) -> anyhow::Result<Vec<(Reference, Digest)>> {
        let store = pusher.store.context("no store")?;
        let blobs = image.blobs(args.non_distributable);
        let targets = Target::of(&self.names, client)?;
        let mut pushed = vec![];
        let sizes = targets.iter().flat_map(|_| &blobs).map(|blob| blob.size);
        pusher.progress.expect(sizes.fold(0, u64::saturating_add));
        for target in &targets {
            let settled = publish::settle(&image.graph, &image.root, target, args.all_platforms)?;
            let settle = |name: &Reference| self.goal.settle(name.clone(), &settled.root);
            let names: Vec<_> = target.names.iter().map(settle).collect();
            let all: Vec<_> = self.names.iter().map(settle).collect();
            target::check_pins(&all, &settled.root)?;
            for_each(args.jobs.into(), &blobs, |blob| {
                pusher.push(target, blob, |task| Stored::open(store, blob, task))
            })?;
            match pusher.mode {
                Mode::Send => {
                    image.publish(&settled, target, &names, pusher.progress)?;
                    pushed.extend(names.into_iter().map(|name| (name, settled.root)));
                }
                Mode::DryRun => image.add_attached(target, &pusher.summary)?,
            }
        }
        // In the order in which they were asked for.
        pushed.sort_by_key(|(name, _)| self.names.iter().position(|it| it == name));
        Ok(pushed)
    }
}

/// Checks that no two images would get one name.
fn check_names(jobs: &[Job<'_>]) -> Result<(), Failure> {
    let mut images = vec![];
    for job in jobs {
        let own = job.found.image.reference();
        let root = job.found.descriptor.digest;
        let renamed = own.into_iter().flat_map(|own| {
            job.names.iter().map(move |new| Renamed { own: own.clone(), new: new.clone(), root })
        });
        images.extend(renamed);
    }
    check_collisions(&images)
}

/// Opens the store, which must exist.
fn open(args: &Args, image: &str) -> anyhow::Result<Store> {
    let none = || store::Error::NotFound { text: image.to_owned() };
    Store::open_named(args.common.store.as_deref())
        .and_then(|store| store.ok_or_else(none))
        .hinted(store::Error::hint_in_store)
}

/// The image that is pushed, and what refers to it.
struct Outgoing {
    graph: Graph,
    /// The digest of the index, or of the manifest.
    root: Digest,
    attached: Vec<Attached>,
}

impl Outgoing {
    /// Reads the documents from the store.
    fn gather(
        args: &Args,
        found: &Found,
        referrers: &[store::IndexEntry],
        store: &Store,
    ) -> anyhow::Result<Self> {
        let (graph, root) = gather(found, args.platform.as_ref(), store)?;
        let attached = referrers.iter().map(|it| Attached::gather(it, store));
        Ok(Self { graph, root, attached: attached.collect::<anyhow::Result<_>>()? })
    }

    /// All blobs; those that are not to be distributed only if `non_distributable` is set.
    fn blobs(&self, non_distributable: bool) -> Vec<&Descriptor> {
        let graphs = std::iter::once(&self.graph).chain(self.attached.iter().map(|it| &it.graph));
        let blobs = graphs.flat_map(Graph::blobs);
        blobs.filter(|blob| non_distributable || !blob.is_foreign()).collect()
    }

    /// Puts the documents into a repository, once it has the blobs.
    fn publish(
        &self,
        settled: &Settled,
        target: &Target,
        names: &[Reference],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        publish::publish(target, names, &settled.image, &settled.root)?;
        publish::tell_only(settled, target, progress);
        for Attached { name, graph, root } in &self.attached {
            attach::attach(target, name, graph, &root.digest)?;
        }
        Ok(())
    }

    /// Adds what refers to the image to the summary of a dry run.
    fn add_attached(&self, target: &Target, summary: &Summary) -> anyhow::Result<()> {
        for Attached { name, root, .. } in &self.attached {
            summary.attach(&attach::name_at(target, name)?, root);
        }
        Ok(())
    }
}

/// A list of what refers to the image, or what cosign made for it.
struct Attached {
    /// The name that the store has it by.
    name: Reference,
    graph: Graph,
    root: Descriptor,
}

impl Attached {
    /// Reads the documents from the store.
    fn gather(entry: &store::IndexEntry, store: &Store) -> anyhow::Result<Self> {
        let name = entry.reference().context("a list of referrers without a name")?;
        let graph =
            image::documents(store, &entry.descriptor, &[]).with_context(|| name.to_string())?;
        Ok(Self { name, graph, root: entry.descriptor.clone() })
    }
}

/// Refuses a path in the place of an image of the store.
///
/// # Errors
/// Wrong usage, with a hint that works.
fn refuse_paths(text: &str) -> Result<(), Failure> {
    if !Location::from(text).is_stored() {
        let path = text.trim_start_matches("archive:");
        return Err(cli::usage(format!("{text}: only images of the store and - can be pushed"))
            .hint(format!("push - NAME < {path}")));
    }
    Ok(())
}

/// The names to push to: those that were given, else the one that the image was asked for by, as it is or below a prefix.
fn names(text: &str, goal: &Goal, found: &Found) -> anyhow::Result<Vec<Reference>> {
    if let Goal::Names(names) = goal {
        return Ok(names.clone());
    }
    let own = found.image.reference().filter(|_| found.by == FoundBy::Name);
    let nameless = || cli::usage(format!("{text}: to which NAME?"));
    let own = own.ok_or_else(nameless)?;
    match goal {
        Goal::Under(prefix) => Ok(vec![prefix.name_of(&own)?]),
        Goal::Own | Goal::Names(_) => Ok(vec![own]),
    }
}

/// The documents of an image, and the digest of its root: the index, or the manifest for the platform that is asked for.
fn gather(
    found: &Found,
    platform: Option<&Platform>,
    store: &Store,
) -> anyhow::Result<(Graph, Digest)> {
    let root = &found.descriptor;
    if let Some(platform) = platform {
        let manifest = image::manifest_for(store, root, platform)?;
        let root = manifest.descriptor().digest;
        return Ok((Graph { indexes: vec![], manifests: vec![manifest] }, root));
    }
    let graph = image::documents(store, root, &[])?;
    let graph = if graph.indexes.is_empty() { graph } else { whole_part(graph, store)? };
    Ok((graph, root.digest))
}

/// The images of an index whose blobs are all in the store, or all of them if none is whole: an index may have been pulled for
/// some of its platforms only.
fn whole_part(image: Graph, store: &Store) -> anyhow::Result<Graph> {
    let (mut whole, mut rest) = (vec![], vec![]);
    for manifest in image.manifests {
        let mut is_whole = true;
        for part in manifest.parts().filter(|part| !part.is_foreign()) {
            is_whole &= store.has(&part.digest, part.size)?;
        }
        if is_whole { whole.push(manifest) } else { rest.push(manifest) }
    }
    let mut part = Graph { indexes: image.indexes, manifests: whole };
    let entries = part.entries();
    if part.manifests.iter().all(|manifest| entries.is_attestation(manifest)) {
        part.manifests.extend(rest);
    }
    Ok(part)
}

/// Checks that the store has all blobs.
///
/// # Errors
/// [`Code::NotFound`], with the digests of those that it lacks.
fn check_whole(blobs: &[&Descriptor], store: &Store) -> anyhow::Result<()> {
    let missing = store.lacks(blobs.iter().copied())?;
    let missing: Vec<_> = missing.iter().map(|blob| blob.digest.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!("not whole: the store has no {}", missing.join(", "));
    Err(Failure::new(Code::NotFound, text).hint("pull it again").into())
}

/// The content of a blob of the store, counted by a progress line.
#[derive(Debug)]
pub(crate) struct Stored {
    file: Arc<File>,
    size: u64,
    meter: Meter,
}

impl Stored {
    /// Opens a blob of the store; `task` is advanced as it is read.
    ///
    /// # Errors
    /// The store's, and if it has lost the blob.
    pub(crate) fn open(
        store: &Store,
        blob: &Descriptor,
        task: &Task,
    ) -> anyhow::Result<Arc<dyn Content>> {
        let file = store.blob(&blob.digest)?.context("has vanished from the store")?;
        Ok(Arc::new(Self { file: Arc::new(file), size: blob.size, meter: task.meter() }))
    }
}

impl Content for Stored {
    fn range(&self) -> Range<u64> {
        0..self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let section = Section::new(Arc::clone(&self.file), offset..self.size);
        Ok(Box::new(self.meter.read_from(offset, section)))
    }
}
