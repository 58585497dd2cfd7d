//! The `pull` command: images of a registry, into the store and down the pipe at once.
//!
//! `select` finds out what belongs to an image, `fetch` brings it: many blobs in, one ordered stream out.

mod ahead;
mod fetch;
mod proof;
mod referrers;
mod select;
mod slot;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;

use cli::{Explain as _, Io, Progress};
use layer_format::stream::{Heads, Name, Writer};
use layer_format::{DiffId, Digest, Look, Platform, Reference, look};
use registry::Client;
use store::{IndexEntry, Lease, Store};

use crate::fetch::{Blob, Fetching, Step};
use crate::select::{Choice, Pulled};

/// Pull images from a registry
///
/// Keeps each image in the store and, where standard output is a pipe or a file, streams it there as well, so that the next
/// program is at work while later layers download. Layers that the store has are not fetched again, and an interrupted
/// download goes on where it was. With a terminal or /dev/null as standard output, and with --no-stream, the image is only
/// stored and its digest is printed: use --no-stream in cron, CI and $(…).
#[derive(clap::Parser, Debug)]
#[command(version, after_help = cli::examples(&[
    ("pull alpine | unpack rootfs", "From a registry to a root file system, in one pass"),
    ("pull --no-stream nginx:1.27 ghcr.io/a/b", "Into the store"),
    ("pull --no-store nginx > nginx.tar", "To an archive that docker, podman and ctr load; nothing else is written"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// Image names, as nginx, ghcr.io/a/b:c or name@sha256:…
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Reference>,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with = "all_platforms")]
    platform: Option<Platform>,
    /// All platforms, and the index that lists them
    #[arg(long)]
    all_platforms: bool,
    /// Also what refers to the image: signatures, SBOMs, attestations
    #[arg(long)]
    referrers: bool,
    /// Only store the image, whatever standard output is, and print its digest
    #[arg(long, conflicts_with = "no_store")]
    no_stream: bool,
    /// Only stream the image; no store is read or written
    #[arg(long)]
    no_store: bool,
    /// How many layers to download at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    common: cli::Common,
    #[command(flatten)]
    network: network::Flags,
    /// Only say where a login would come from and how the registry would be reached; secrets are not shown
    #[arg(long)]
    explain_auth: bool,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<registry::Error>, look::<store::Error>];

    const HOLDS_LOGINS: bool = true;

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let client = args.network.client(&args.names, io)?;
    if args.explain_auth {
        return explain_auth(args, &client, io);
    }
    let pulled = pull(args, &client, io);
    network::tell(&client, pulled.is_err(), io);
    report(&pulled?, &io.progress);
    Ok(())
}

fn explain_auth(args: &Args, client: &Client, io: &mut Io<'_>) -> anyhow::Result<()> {
    for name in &args.names {
        writeln!(io.output, "{}", name.full())?;
        for line in client.explain(name)? {
            writeln!(io.output, "  {}", cli::text::clean(&line))?;
        }
    }
    Ok(io.output.flush()?)
}

/// What was pulled, and whether the store had it already.
type Known = (Pulled, bool);

fn pull(args: &Args, client: &Client, io: &mut Io<'_>) -> anyhow::Result<Vec<Known>> {
    let is_streamed = !args.no_stream && (args.no_store || !io.output.is_char_device());
    if is_streamed {
        io.output.binary()?;
    }
    let lease = if args.no_store { None } else { Some(open_store(args)?) };
    let choice = if args.all_platforms { Choice::All } else { Choice::One(args.platform.clone()) };
    let mut images = Vec::new();
    for name in distinct(&args.names) {
        let repository = client.repository(name)?;
        let store = lease.as_ref().map(Lease::store);
        let pulled = select::resolve(name, &repository, &choice, store);
        let pulled = pulled.map_err(|error| explain(error, name))?;
        let referrers = if args.referrers {
            let found = referrers::of(&pulled, &repository, store, &|text| io.warn(text));
            found.map_err(|error| explain(error, name))?
        } else {
            vec![]
        };
        for pulled in std::iter::once(pulled).chain(referrers) {
            // Two names of one image have the same referrers.
            let is_asked = pulled.reference == *name;
            let is_new = |(it, _): &(Pulled, _)| it.reference != pulled.reference;
            if is_asked || images.iter().all(is_new) {
                images.push((pulled, repository.clone()));
            }
        }
    }
    let known = known(&images, lease.as_ref())?;
    let (blobs, order) = plan(&images);
    let fetching = Fetching { blobs, order, jobs: args.jobs.into(), progress: &io.progress };
    match (&lease, is_streamed) {
        (Some(lease), false) => fetching.store(lease)?,
        (lease, _) => stream(&images, &fetching, lease.as_ref(), &mut io.output)?,
    }
    if let Some(lease) = &lease {
        keep(&images, lease)?;
    }
    let is_asked = |pulled: &Pulled| args.names.contains(&pulled.reference);
    if is_streamed {
        end(&mut io.output)?;
    } else {
        print_digests(images.iter().map(|(pulled, _)| pulled).filter(|it| is_asked(it)), io)?;
    }
    let pulled = images.into_iter().map(|(pulled, _)| pulled).zip(known);
    Ok(pulled.filter(|(pulled, _)| is_asked(pulled)).collect())
}

/// The names, each once: a stream has an entry for each.
fn distinct(names: &[Reference]) -> impl Iterator<Item = &Reference> {
    let is_first = |(at, name): &(usize, &Reference)| !names[..*at].contains(name);
    names.iter().enumerate().filter(is_first).map(|(_, name)| name)
}

/// Says what may help, where something does.
fn explain(error: anyhow::Error, name: &Reference) -> anyhow::Error {
    let network = error.downcast_ref::<registry::Error>();
    let hint = network.and_then(registry::Error::hint);
    // The registry's errors name the image by themselves.
    let error = if network.is_some() { error } else { error.context(name.to_string()) };
    match hint {
        Some(hint) => cli::Failure::from_cause(error).hint(hint).into(),
        None => error,
    }
}

fn open_store(args: &Args) -> anyhow::Result<Lease> {
    let opened = Store::path_or_usual(args.common.store.as_deref()).and_then(Store::open);
    opened
        .and_then(|store| store.lease())
        .with_hint(|| "pull --no-store NAME | … does without a store")
}

/// Which of the names the store already has with the same digest.
fn known(
    images: &[(Pulled, registry::Repository)],
    lease: Option<&Lease>,
) -> anyhow::Result<Vec<bool>> {
    let entries = lease.map(|lease| lease.store().images()).transpose()?.unwrap_or_default();
    let is_known = |pulled: &Pulled| {
        let root = pulled.root().digest;
        entries.iter().any(|entry| {
            *entry.digest() == root && entry.reference().as_ref() == Some(&pulled.reference)
        })
    };
    Ok(images.iter().map(|(pulled, _)| is_known(pulled)).collect())
}

/// Every layer once, and the stream: of each image indexes and manifests, then of each manifest the config and the layers.
fn plan(images: &[(Pulled, registry::Repository)]) -> (Vec<Blob>, Vec<Step<'_>>) {
    let mut claims: HashMap<Digest, BTreeSet<DiffId>> = HashMap::new();
    for (layer, diff_id) in images.iter().flat_map(|(pulled, _)| pulled.diff_ids()) {
        claims.entry(layer.digest).or_default().insert(diff_id);
    }
    let mut seen = HashSet::new();
    let (mut blobs, mut order) = (Vec::new(), Vec::new());
    for (pulled, repository) in images {
        order.extend(pulled.heads().map(|(digest, raw)| Step::Document(digest, raw)));
        for (digest, config, layers) in pulled.contents() {
            order.push(Step::Document(digest, config));
            let new = layers.iter().filter(|layer| seen.insert(layer.digest));
            for descriptor in new.cloned() {
                order.push(Step::Blob);
                let diff_ids = claims.remove(&descriptor.digest).unwrap_or_default();
                blobs.push(Blob { descriptor, repository: repository.clone(), diff_ids });
            }
        }
    }
    (blobs, order)
}

/// Writes the stream, except for its end: that comes when the store has the image too.
fn stream(
    images: &[(Pulled, registry::Repository)],
    fetching: &Fetching<'_>,
    lease: Option<&Lease>,
    output: &mut cli::Output,
) -> anyhow::Result<()> {
    let name =
        |pulled: &Pulled| Name { reference: Some(pulled.reference.clone()), target: pulled.root() };
    let names: Vec<_> = images.iter().map(|(pulled, _)| name(pulled)).collect();
    let parts: Vec<_> = images.iter().map(|(pulled, _)| pulled.image.clone()).collect();
    let mut writer = Writer::new(output, &Heads::of(&names, &parts)?)?;
    match lease {
        Some(lease) => fetching.stream(lease, &mut writer),
        None => fetching.pass(&mut writer),
    }
}

/// Enters the images into the store, all of them or none.
fn keep(images: &[(Pulled, registry::Repository)], lease: &Lease) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for (pulled, _) in images {
        let configs = pulled.contents().map(|(_, config, _)| config);
        for raw in pulled.heads().map(|(_, raw)| raw).chain(configs) {
            lease.put(raw)?;
        }
        let entry = IndexEntry::new(Some(&pulled.reference), pulled.root());
        entries.push(match pulled.chosen_from {
            Some(index) => entry.chosen_from(index),
            None => entry,
        });
    }
    lease.name(&entries)?;
    note_repositories(images, lease.store());
    Ok(())
}

/// Remembers where the blobs came from: push can mount them from there.
fn note_repositories(images: &[(Pulled, registry::Repository)], store: &Store) {
    for (pulled, _) in images {
        let repository = pulled.reference.name();
        for (config, _, layers) in pulled.contents() {
            for blob in layers.iter().map(|layer| &layer.digest).chain([&config]) {
                // It is no loss if that fails.
                store.note_repository(blob, &repository).ok();
            }
        }
    }
}

fn end(output: &mut cli::Output) -> anyhow::Result<()> {
    output.write_all(&layer_format::stream::END)?;
    Ok(output.flush()?)
}

fn print_digests<'a>(
    images: impl Iterator<Item = &'a Pulled>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    for pulled in images {
        writeln!(io.output, "{}", pulled.root().digest)?;
    }
    Ok(io.output.flush()?)
}

/// The last lines, as people know them from Docker.
fn report(images: &[Known], progress: &Progress) {
    for (pulled, is_known) in images {
        let digest: Digest = pulled.digest;
        progress.line(format!("Digest: {digest}"));
        let status =
            if *is_known { "Image is up to date for" } else { "Downloaded newer image for" };
        progress.line(format!("Status: {status} {}", pulled.reference));
    }
}
