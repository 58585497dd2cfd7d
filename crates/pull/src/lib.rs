//! The `pull` command: images of a registry, into the store and down the pipe at once.
//!
//! `select` finds out what belongs to an image, `fetch` brings it: many blobs in, one ordered stream out.

mod blob;
mod diff_ids;
mod dry_run;
mod fetch;
mod parts;
mod prefetch;
mod referrers;
mod select;
mod slot;
mod source;
mod ssh;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;
use std::path::PathBuf;

use cli::{Explain as _, ImageEvent, Io, Listed, Progress};
use layer_format::{Descriptor, DiffId, Digest, Platform, Reference};
use registry::Client;
use report::{Foreign, Look, look};
use store::{IndexEntry, Lease, Store};
use stream::{Graph, Name, Preamble, Thin, Writer};

use crate::blob::Blob;
use crate::fetch::{Check, Fetching, Step};
use crate::select::{Choice, Configs, ResolvedImage};
use crate::source::{Source, Sources, Wanted};

/// Pull images from a registry
///
/// Keeps each image in the store and, where standard output is a pipe or a file, streams it there as well, so that the next
/// program is at work while later layers download. Layers that the store has are not fetched again, and an interrupted
/// download goes on where it was. With a terminal or /dev/null as standard output, and with --no-stream, the image is only
/// stored and its digest is printed: use --no-stream in cron, CI and $(…).
///
/// ssh://USER@HOST:PORT/IMAGE, USER and PORT as they are needed, is an image of another machine's store, which comes by the system's ssh and the programs that
/// are installed there, without the layers that are here already, and with all platforms that are there. --verbose shows the pipe
/// that is run.
#[derive(clap::Parser, Debug)]
#[command(name = "pull", version, after_help = cli::examples(&[
    ("pull alpine | unpack rootfs", "From a registry to a root file system, in one pass"),
    ("pull --no-stream nginx:1.27 ghcr.io/a/b", "Into the store"),
    ("pull --no-layers nginx | inspect -", "What an image is, without downloading it"),
    ("pull ssh://me@host/mine:1", "From the store of another machine; only what is lacking comes"),
    ("pull --dry-run nginx:1.28", "What that would fetch, in bytes"),
    ("pull --no-store nginx > nginx.tar", "To an archive that docker, podman and ctr load; nothing else is written"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// Image names, as nginx, ghcr.io/a/b:c or name@sha256:…; or images of another machine's store, as
    /// ssh://USER@HOST:PORT/IMAGE?store=DIR, of which all but HOST and IMAGE may be left out
    #[arg(required_unless_present = "from_file", value_name = "NAME")]
    names: Vec<Source>,
    /// Also the images of this list: a name a line, or name@digest as images --lock writes it; # begins a comment, - is standard
    /// input
    #[arg(long, value_name = "FILE")]
    from_file: Vec<PathBuf>,
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
    /// Only stream manifests and configs, for inspect - or for push - to where the layers are
    #[arg(long, conflicts_with_all = ["no_stream", "no_store"])]
    no_layers: bool,
    /// Also check at once what each layer decompresses to; without it the first program that reads the layer does that
    #[arg(long, conflicts_with_all = ["no_store", "no_layers"])]
    verify: bool,
    /// Only say what would be fetched and what is there: each config and layer, and the sums. No blob is fetched
    #[arg(long)]
    dry_run: bool,
    /// Print what a dry run says as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// How many layers to download at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// How many connections large layers come by at once, each in parts; 1 for one connection a layer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    #[command(flatten)]
    common: cli::Common,
    #[command(flatten)]
    network: network::Flags,
    /// Only say where a login would come from and how the registry would be reached; secrets are not shown
    #[arg(long)]
    explain_auth: bool,
    /// Show the commands that are run for ssh://, as they can be typed
    #[arg(short, long)]
    verbose: bool,
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
    let words = words(args, io)?;
    let names = match Source::all(&words, args.names.len())? {
        Sources::Registry(names) => names,
        Sources::Machine(addresses) => return ssh::pull(args, &addresses, io),
    };
    let asked: Vec<_> = names.iter().map(|name| name.asked.clone()).collect();
    let client = args.network.client(&asked, io)?;
    if args.explain_auth {
        return explain_auth(&asked, &client, io);
    }
    if args.dry_run {
        let planned = dry_run::tell(args, &names, &client, io);
        network::tell(&client, planned.is_err(), io);
        return planned;
    }
    let outcomes = pull(args, &names, &client, io);
    network::tell(&client, outcomes.is_err(), io);
    report(&outcomes?, args, &io.progress);
    Ok(())
}

/// The words of the command line, and those of lists.
fn words(args: &Args, io: &mut Io<'_>) -> anyhow::Result<Vec<Source>> {
    let is_input = |path: &PathBuf| path.as_os_str() == "-";
    if args.network.creds_stdin && args.from_file.iter().any(is_input) {
        return Err(cli::usage("standard input can't be a list and hold a login").into());
    }
    let mut words = args.names.clone();
    for Listed { text, place } in cli::read_lists(&args.from_file, &mut io.input)? {
        let source: Result<Source, _> = text.parse();
        words.push(source.map_err(|error| cli::usage(format!("{place}: {error}")))?);
    }
    Ok(words)
}

fn explain_auth(names: &[Reference], client: &Client, io: &mut Io<'_>) -> anyhow::Result<()> {
    for name in names {
        writeln!(io.output, "{}", name.full())?;
        for line in client.explain(name)? {
            writeln!(io.output, "  {}", cli::text::clean(&line))?;
        }
    }
    Ok(io.output.flush()?)
}

/// An image that was asked for by name, and what becomes of it.
struct Outcome {
    reference: Reference,
    /// The digest that the registry has for the name.
    digest: Digest,
    /// The digest of what the store or the stream has under the name: with one platform of an index, the manifest's.
    root: Digest,
    /// Whether the store had the name with this digest before.
    is_up_to_date: bool,
}

fn pull(
    args: &Args,
    names: &[Wanted],
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<Outcome>> {
    if args.no_layers {
        return stream_documents(args, names, client, io);
    }
    let is_streamed = !args.no_stream && (args.no_store || !io.output.is_char_device());
    if is_streamed {
        io.output.binary()?;
    }
    let lease = if args.no_store { None } else { Some(open_store(args)?) };
    let configs = Configs::Read(lease.as_ref().map(Lease::store));
    let images = resolve_all(args, names, client, configs, io)?;
    let outcomes = outcomes(names, &images, lease.as_ref())?;
    let fetching = plan(&images, args, &io.progress);
    match (&lease, is_streamed) {
        (Some(lease), false) => fetching.store(lease)?,
        (lease, _) => stream(&images, &fetching, lease.as_ref(), &mut io.output)?,
    }
    if let Some(lease) = &lease {
        keep(&images, lease)?;
    }
    if is_streamed {
        end(&mut io.output)?;
    } else {
        print_digests(&outcomes, io)?;
    }
    Ok(outcomes)
}

/// Streams what the registries have apart from layers: a thin stream, which says what it leaves out. No store is touched.
fn stream_documents(
    args: &Args,
    asked: &[Wanted],
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<Outcome>> {
    io.output.binary()?;
    let images = resolve_all(args, asked, client, Configs::Read(None), io)?;
    let (names, graphs) = preamble(&images);
    let configs = images.iter().flat_map(ResolvedImage::parts).map(|parts| parts.config);
    let configs: HashMap<_, _> = configs.map(|config| (config.digest, config.raw)).collect();
    let mut config = |wanted: &Descriptor| Ok(configs.get(&wanted.digest).map(|raw| raw.to_vec()));
    let thin = Thin::of(vec![], &graphs, &|_| true, &mut config)?;
    let mut writer =
        Writer::begin(&mut io.output, &Preamble::of(&names, &graphs)?, Some(&thin), None)?;
    for image in &images {
        let configs = image.parts().map(|parts| parts.config);
        for document in image.documents().chain(configs) {
            writer.document(document.raw, document.digest)?;
        }
    }
    writer.finish()?;
    outcomes(asked, &images, None)
}

/// Asks the registries what the names mean and, with `--referrers`, what refers to the images.
fn resolve_all(
    args: &Args,
    names: &[Wanted],
    client: &Client,
    configs: Configs<'_>,
    io: &Io<'_>,
) -> anyhow::Result<Vec<ResolvedImage>> {
    let choice = if args.all_platforms { Choice::All } else { Choice::One(args.platform.clone()) };
    let mut images: Vec<ResolvedImage> = Vec::new();
    for Wanted { asked: name, kept } in distinct(names) {
        let repository = client.repository(name)?;
        let task = io.progress.task(name.to_string(), None);
        let mut image = select::resolve(name, &repository, &choice, configs)
            .map_err(|error| explain(error, name))?;
        drop(task);
        image.reference = kept.clone();
        let referrers = if args.referrers {
            referrers::of(&image, configs, &|text| io.warn(text))
                .map_err(|error| explain(error, name))?
        } else {
            vec![]
        };
        for image in std::iter::once(image).chain(referrers) {
            // Two names of one image have the same referrers.
            let is_asked = image.reference == *kept;
            if is_asked || images.iter().all(|it| it.reference != image.reference) {
                images.push(image);
            }
        }
    }
    Ok(images)
}

/// The names without duplicates: a stream has one entry for each.
fn distinct(names: &[Wanted]) -> impl Iterator<Item = &Wanted> {
    let is_first =
        |(at, name): &(usize, &Wanted)| !names[..*at].iter().any(|it| it.kept == name.kept);
    names.iter().enumerate().filter(is_first).map(|(_, name)| name)
}

/// Adds the hint of a registry's error, if it has one, and the image's name to any other error; and what to do with a file that
/// was taken for a name.
fn explain(error: anyhow::Error, name: &Reference) -> anyhow::Error {
    let network = error.downcast_ref::<registry::Error>();
    let hint = network.and_then(registry::Error::hint);
    // The registry's errors name the image by themselves.
    let error = if network.is_some() { error } else { error.context(name.to_string()) };
    // To a registry it is a name like any other.
    let spelling = name.to_string();
    let meant = Foreign::parse(&spelling).map(|foreign| foreign.as_name());
    let failure = cli::Failure::from_cause(error);
    hint.into_iter().chain(meant).fold(failure, cli::Failure::hint).into()
}

fn open_store(args: &Args) -> anyhow::Result<Lease> {
    let opened = Store::path_or_usual(args.common.store.as_deref()).and_then(Store::open);
    opened
        .and_then(|store| store.lease())
        .with_hint(|| "pull --no-store NAME | … does without a store")
}

/// The images that were asked for by name; called before anything is stored, so that it sees what the store had.
fn outcomes(
    names: &[Wanted],
    images: &[ResolvedImage],
    lease: Option<&Lease>,
) -> anyhow::Result<Vec<Outcome>> {
    let entries = lease.map(|lease| lease.store().images()).transpose()?.unwrap_or_default();
    let asked = images.iter().filter(|image| names.iter().any(|it| it.kept == image.reference));
    let outcomes = asked.map(|image| {
        let root = image.root().digest;
        let is_up_to_date = entries.iter().any(|entry| {
            *entry.digest() == root && entry.reference().as_ref() == Some(&image.reference)
        });
        let reference = image.reference.clone();
        Outcome { reference, digest: image.digest, root, is_up_to_date }
    });
    Ok(outcomes.collect())
}

/// The download of every layer, each once, and the order of the stream: the indexes and manifests of each image, then for each
/// manifest its config and its layers.
fn plan<'a>(images: &'a [ResolvedImage], args: &Args, progress: &'a Progress) -> Fetching<'a> {
    let mut claims: HashMap<Digest, BTreeSet<DiffId>> = HashMap::new();
    for (layer, diff_id) in images.iter().flat_map(ResolvedImage::diff_ids) {
        claims.entry(layer.digest).or_default().insert(diff_id);
    }
    let mut seen = HashSet::new();
    let mut blobs = Vec::new();
    let mut order = Vec::new();
    for image in images {
        order.extend(image.documents().map(Step::Document));
        for parts in image.parts() {
            order.push(Step::Document(parts.config));
            let new = parts.layers.iter().filter(|layer| seen.insert(layer.digest));
            for descriptor in new.cloned() {
                order.push(Step::Blob);
                let diff_ids = claims.remove(&descriptor.digest).unwrap_or_default();
                blobs.push(Blob { descriptor, repository: image.repository.clone(), diff_ids });
            }
        }
    }
    let check = if args.verify { Check::DiffId } else { Check::Digest };
    let (jobs, connections) = (args.jobs.into(), args.connections);
    Fetching { blobs, order, check, jobs, connections, progress }
}

/// Writes the stream without its end, which is written once the store has the image too.
fn stream(
    images: &[ResolvedImage],
    fetching: &Fetching<'_>,
    lease: Option<&Lease>,
    output: &mut cli::Output,
) -> anyhow::Result<()> {
    let (names, graphs) = preamble(images);
    let mut writer = Writer::new(output, &Preamble::of(&names, &graphs)?)?;
    match lease {
        Some(lease) => fetching.stream(lease, &mut writer),
        None => fetching.pass(&mut writer),
    }
}

/// The names and the documents with which a stream begins.
fn preamble(images: &[ResolvedImage]) -> (Vec<Name>, Vec<Graph>) {
    let names = images.iter().map(ResolvedImage::name).collect();
    (names, images.iter().map(|image| image.graph.clone()).collect())
}

/// Enters the images into the store, all of them or none.
fn keep(images: &[ResolvedImage], lease: &Lease) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for image in images {
        let configs = image.parts().map(|parts| parts.config);
        for document in image.documents().chain(configs) {
            lease.put(document.raw)?;
        }
        let entry = IndexEntry::new(Some(&image.reference), image.root());
        entries.push(match image.chosen_from {
            Some(index) => entry.chosen_from(index),
            None => entry,
        });
    }
    lease.name(&entries)?;
    note_repositories(images, lease.store());
    Ok(())
}

/// Remembers which repository each blob came from, so that push can mount it from there.
fn note_repositories(images: &[ResolvedImage], store: &Store) {
    for image in images {
        let repository = image.reference.name();
        for parts in image.parts() {
            let layers = parts.layers.iter().map(|layer| &layer.digest);
            for blob in layers.chain([&parts.config.digest]) {
                // The image is complete without it.
                store.note_repository(blob, &repository).ok();
            }
        }
    }
}

fn end(output: &mut cli::Output) -> anyhow::Result<()> {
    output.write_all(&stream::END)?;
    Ok(output.flush()?)
}

fn print_digests(outcomes: &[Outcome], io: &mut Io<'_>) -> anyhow::Result<()> {
    for outcome in outcomes {
        writeln!(io.output, "{}", outcome.root)?;
    }
    Ok(io.output.flush()?)
}

/// The last lines, in Docker's words.
fn report(outcomes: &[Outcome], args: &Args, progress: &Progress) {
    for Outcome { reference, digest, is_up_to_date, .. } in outcomes {
        let status = match (args.no_layers, is_up_to_date) {
            (true, _) => "Downloaded without layers",
            (false, true) => "Image is up to date",
            (false, false) => "Downloaded newer image",
        };
        let event = ImageEvent {
            name: Some(reference.full()),
            digest: digest.to_string(),
            status,
            is_important: false,
        };
        let lines = [format!("Digest: {digest}"), format!("Status: {status} for {reference}")];
        let n_lines = if args.no_layers { 1 } else { lines.len() };
        let lines: Vec<_> = lines.iter().take(n_lines).map(String::as_str).collect();
        progress.image(event, &lines);
    }
}
