//! Pushes an image of the store.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure, Io, Meter, Task};
use layer_format::stream::Graph;
use layer_format::{Descriptor, Digest, Platform, Reference};
use registry::{Client, Content};
use store::{Found, FoundBy, Store};

use crate::Args;
use crate::courier::{Courier, Mode, Seen};
use crate::tally::Tally;
use crate::target::{self, Target};
use crate::workers::for_each;
use crate::{attach, publish};

/// Pushes the image that was asked for; gives each name and the digest that it has now.
pub(crate) fn push(
    args: &Args,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<(Reference, Digest)>> {
    refuse_paths(&args.image)?;
    let path = Store::path_or_usual(args.common.store.as_deref())?;
    let none = || store::Error::NotFound { text: args.image.clone() };
    let store =
        Store::open_existing(&path)?.ok_or_else(none).hinted(store::Error::hint_in_store)?;
    let found = store.find(&args.image).hinted(store::Error::hint_in_store)?;
    let names = names(args, &found)?;
    let referrers = if args.referrers { store.referrers(&found.image)? } else { vec![] };
    let held = std::iter::once(found.descriptor.digest);
    let held: Vec<_> = held.chain(referrers.iter().map(|it| *it.digest())).collect();
    let hold = store.hold(&held)?;
    hold.warning().iter().for_each(|warning| io.warn(warning));
    let (image, root) =
        gather(&found, args.platform.as_ref(), &store).with_context(|| args.image.clone())?;
    let attached = referrers.iter().map(|it| Attached::gather(it, &store));
    let attached = attached.collect::<anyhow::Result<Vec<_>>>()?;
    let all = std::iter::once(&image).chain(attached.iter().map(|it| &it.image));
    let blobs: Vec<_> = all
        .flat_map(Graph::blobs)
        .filter(|blob| args.non_distributable || !blob.is_foreign())
        .collect();
    check_whole(&blobs, &store).with_context(|| args.image.clone())?;
    let targets = Target::of(&names, client)?;
    let progress = io.progress.clone();
    let sources = found.image.reference().map(|name| name.name()).into_iter().collect();
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Send };
    let courier = Courier {
        store: Some(&store),
        sources,
        mode,
        progress: &progress,
        tally: Tally::default(),
        seen: Seen::default(),
    };
    let mut pushed = vec![];
    for target in &targets {
        let settled = publish::settle(&image, &root, target, args.all_platforms)?;
        target::check_pins(&names, &settled.root)?;
        for_each(args.jobs.into(), &blobs, |blob| {
            courier.bring(target, blob, |task| Stored::open(&store, blob, task))
        })?;
        if mode == Mode::Send {
            let names: Vec<_> = target.names.iter().collect();
            publish::publish(target, &names, &settled.image, &settled.root)?;
            publish::tell_only(&settled, target, &progress);
            pushed.extend(target.names.iter().map(|name| (name.clone(), settled.root)));
            for Attached { name, image, root } in &attached {
                attach::attach(target, name, image, &root.digest)?;
            }
        } else {
            for Attached { name, root, .. } in &attached {
                courier.tally.attach(&attach::name_at(target, name)?, root);
            }
        }
    }
    if mode == Mode::DryRun {
        courier.tally.write(&mut io.output)?;
        return Ok(vec![]);
    }
    progress.say(courier.tally.to_string());
    // In the order in which they were asked for.
    pushed.sort_by_key(|(name, _)| names.iter().position(|it| it == name));
    Ok(pushed)
}

/// Something that refers to the image.
struct Attached {
    name: Reference,
    image: Graph,
    root: Descriptor,
}

impl Attached {
    fn gather(entry: &store::IndexEntry, store: &Store) -> anyhow::Result<Self> {
        let name = entry.reference().context("a list of referrers without a name")?;
        let image =
            image::documents(store, &entry.descriptor, &[]).with_context(|| name.to_string())?;
        Ok(Self { name, image, root: entry.descriptor.clone() })
    }
}

/// A path is no image of the store.
fn refuse_paths(text: &str) -> Result<(), Failure> {
    let kind = text.split_once(':').map_or("", |(kind, _)| kind);
    if text.starts_with(['/', '.']) || matches!(kind, "archive" | "layout" | "dir" | "layer") {
        let path = text.trim_start_matches("archive:");
        return Err(cli::usage(format!("{text}: only images of the store and - can be pushed"))
            .hint(format!("push - NAME < {path}")));
    }
    Ok(())
}

/// The names to push to: those that were given, else the one that the image was asked for by.
fn names(args: &Args, found: &Found) -> anyhow::Result<Vec<Reference>> {
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    let own = found.image.reference().filter(|_| found.by == FoundBy::Name);
    let nameless = || cli::usage(format!("{}: to which NAME?", args.image));
    Ok(vec![own.ok_or_else(nameless)?])
}

/// The documents of an image, and the digest of its root: the index, or the one manifest of it that is asked for.
fn gather(
    found: &Found,
    platform: Option<&Platform>,
    store: &Store,
) -> anyhow::Result<(Graph, Digest)> {
    let root = &found.descriptor;
    let mut image = image::documents(store, root, platform.map_or(&[][..], std::slice::from_ref))?;
    if image.indexes.is_empty() {
        return Ok((image, root.digest));
    }
    if platform.is_none() {
        return Ok((whole_part(image, store)?, root.digest));
    }
    let entries = image.entries();
    let position = image.manifests.iter().position(|manifest| !entries.is_attestation(manifest));
    let position = position.ok_or_else(|| {
        Failure::new(Code::NotFound, "the store lacks the image for this platform")
    })?;
    let manifest = image.manifests.swap_remove(position);
    let root = manifest.descriptor().digest;
    Ok((Graph { indexes: vec![], manifests: vec![manifest] }, root))
}

/// The images of an index that are whole, if any is: it may be here for some of its platforms.
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

fn check_whole(blobs: &[&Descriptor], store: &Store) -> anyhow::Result<()> {
    let missing = store.lacks(blobs.iter().copied())?;
    let missing: Vec<_> = missing.iter().map(|blob| blob.digest.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!("not whole: the store has no {}", missing.join(", "));
    Err(Failure::new(Code::NotFound, text).hint("pull it again").into())
}

/// A blob of the store, watched by a task.
#[derive(Debug)]
pub(crate) struct Stored {
    file: Arc<File>,
    size: u64,
    meter: Meter,
}

impl Stored {
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
        let section = Section { file: Arc::clone(&self.file), position: offset };
        Ok(Box::new(self.meter.read_from(offset, section)))
    }
}

/// A file from a position on, without a cursor that others move.
struct Section {
    file: Arc<File>,
    position: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}
