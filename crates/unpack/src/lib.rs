//! The `unpack` command: an image stream in, a root file system out.
//!
//! Three promises: the directory appears whole or not at all (`target`), every byte in it is covered by a digest that
//! was checked (`pipeline`), and nothing outside it is touched (the `rootfs` crate).

mod ahead;
mod bundle;
mod draft;
mod env_file;
mod limits;
mod pipeline;
mod place;
mod reading;
mod selected;
mod target;
mod writeback;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cli::{Explain as _, ImageEvent, Io};
use image::flat::Plan;
use image::{Choice, Image, Location, Opened, Source};
use layer_format::{Platform, Reference};
use report::{Look, look};
use rootfs::{
    Applier, IdMaps, IdRange, Options, Owner, Reason, Report, SpecialBits, SymlinkedDirs,
};
use store::Store;

use crate::ahead::Workshop;
use crate::env_file::EnvFile;
use crate::limits::Budget;
use crate::pipeline::{Filling, Run};
use crate::target::{Durability, Made, Target};
use crate::writeback::Writeback;

/// Unpack an image into a directory
///
/// Reads an image stream, or an archive that any other tool saved, and applies its layers, base first. The directory
/// appears whole or not at all: a new one is built in a private directory beside its place and renamed, an empty one (a
/// fresh mount, say) is filled in place and emptied again if that fails. It is on the disk before it is said to be done.
/// Manifest, config, layers and diff ids are all verified before success. DIR may be a symbolic link to an empty directory
/// if root or you made the link.
///
/// With --only or --exclude the whole image is looked at before the first file is written; where the store knows what its layers
/// hold, those that have none of these files are not read. What else comes down a pipe waits in an unlinked file. Such a
/// directory has no base by itself: snapshot would take what was left out for removed.
///
/// In a user namespace with one id, root of the image is you outside, and so is a setuid-root file: others can run it as you
/// unless a directory above keeps them out.
#[derive(clap::Parser, Debug)]
#[command(name = "unpack", version, after_help = cli::examples(&[
    ("pull alpine | unpack rootfs", "From a registry to a root file system"),
    ("docker save nginx | unpack rootfs", "Every other tool's archive works too"),
    ("unpack --from nginx --only /etc/nginx --only '*.conf' some", "Some of an image's files"),
    ("unpack --from nginx --env-file nginx.env rootfs && . ./nginx.env", "And how it is run, for a shell"),
    ("unpack --from nginx --uid-map 0:100000:65536 rootfs", "For an unprivileged LXC container, or unshare --map-auto"),
    ("unpack --from ./images.tar --image nginx:1.27 rootfs", "One image of several in a file"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "flags are what a command line has")]
pub struct Args {
    /// Directory to unpack into; made if missing, must be empty
    dir: PathBuf,
    /// Image to unpack: - is standard input, a path an archive, an OCI layout or a directory that skopeo wrote, anything else a name in the
    /// store. archive:, layout: or dir: before a path forces the kind
    #[arg(long, value_name = "IMAGE", default_value = "-")]
    from: String,
    /// Which image of an archive that holds several: a name or a digest
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Whose the files become: keep what the layers say, or ignore it
    #[arg(long, value_name = "WHOSE", default_value = "keep", value_parser = ["keep", "ignore"])]
    owner: String,
    /// Give the files to other ids than the layers say, as a user namespace has them: CONTAINER:HOST:SIZE, for example
    /// 0:100000:65536; may be given several times
    ///
    /// Access control lists and file capabilities follow. An id in no range is an error. Without --gid-map the groups are mapped
    /// likewise. snapshot takes the same option.
    #[arg(long, value_name = "RANGE")]
    uid_map: Vec<IdRange>,
    /// The same for groups
    #[arg(long, value_name = "RANGE")]
    gid_map: Vec<IdRange>,
    /// Keep setuid and setgid bits on files whose owner is not set, and on a plain user's own; without it they go, since such a
    /// file would run as whoever unpacks
    #[arg(long)]
    keep_setuid: bool,
    /// Follow a lower layer's symbolic link to a directory, inside the root, where an upper layer writes through it
    #[arg(long, conflicts_with_all = ["only", "exclude"])]
    keep_symlinked_dirs: bool,
    /// Make an OCI runtime bundle: the files in DIR/rootfs, and DIR/config.json, by which runc, crun and systemd-nspawn run
    /// them. DIR lets nobody else in (0700). A volume holds what the image has there; only one of which the image has nothing
    /// is an empty tmpfs
    #[arg(long)]
    bundle: bool,
    /// Write the image's settings for a shell to read, quoted so that nothing in them runs; - is standard output
    ///
    /// These are its variables, and its user, directory, entrypoint and command as `IMAGE_USER`, `IMAGE_WORKDIR`,
    /// `IMAGE_ENTRYPOINT` and `IMAGE_CMD`: `eval "set -- $IMAGE_ENTRYPOINT $IMAGE_CMD"`.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// How many layers to work on at once, of an image in the store or in a file and into a new directory; without it as many as there are
    /// cores, and 4 at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with_all = ["only", "exclude"])]
    jobs: Option<u8>,
    /// Don't bring the files to the disk before the directory appears: a power cut may leave them empty
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    paths: cli::Paths,
    #[command(flatten)]
    limits: cli::Limits,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<rootfs::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let ids = id_maps(args)?;
    let path = Store::path_or_usual(args.common.store.as_deref());
    // Unless the image is in it, the store isn't needed: it only remembers what was verified before.
    let location = Location::from(args.from.as_str());
    let store = match path.and_then(Store::open) {
        Err(error) if location.is_stored() => return Err(error).context("opening the store"),
        store => store.ok(),
    };
    let choice = Choice { name: args.image.clone(), platform: args.platform.clone() };
    let input = location.input(|| io.input.take_image())?;
    let (contents, image) = contents(args, &location, input, choice, store.as_ref(), io)?;
    let begin = |path: &PathBuf| EnvFile::begin(path, &image, &title(&image));
    let env_file = args.env_file.as_ref().map(begin).transpose()?;
    let target = Target::prepare(&args.dir, io)?;
    if args.bundle {
        target.make_private(ids.as_ref())?;
    }
    let root = if args.bundle { bundle::rootfs(&target.root()?)? } else { target.root()? };
    let root = root.with_ids(ids.clone());
    let applier = Applier::new(root.try_clone()?, options(args))
        .map_err(hint_ranges)
        .context("opening the directory")?;
    let durability = if args.no_sync { Durability::Cached } else { Durability::Synced };
    let writeback = match durability {
        Durability::Synced => Some(Writeback::start(&root).context("starting a thread")?),
        Durability::Cached => None,
    };
    let applied = match contents {
        Contents::All(source) => {
            let budget = Arc::new(Budget::new(args.limits));
            let filling = Filling { applier, budget, writeback };
            let options = options(args);
            let jobs = args.jobs.map(usize::from);
            let workshop = Workshop { parent: target.aside()?, root: &root, options, jobs };
            let run = Run { image: &image, store: store.as_ref(), progress: &io.progress };
            pipeline::unpack(*source, run, filling, &workshop)
        }
        Contents::Selected(opened, plan) => {
            selected::unpack(*opened, &plan, applier, writeback, io)
        }
    };
    let report = applied.map_err(hint_ranges)?;
    cli::interrupt::check()?;
    if args.bundle {
        bundle::write(&target.root()?, &root, &image, ids.as_ref(), io)?;
    }
    // Beside the whole image, what was left out would be taken for removed.
    if let Some(store) = store.as_ref().filter(|_| args.paths.is_all()) {
        let within = args.bundle.then_some(bundle::ROOTFS);
        let ids = ids.as_ref();
        target.note(&root, &Made { image: &image, within, ids, skipped: report.skipped }, store);
    }
    target.finish(durability, io)?;
    if let Some(file) = env_file {
        file.finish(io)?;
    }
    say(&report, &image, io);
    Ok(())
}

/// The ids on the disk.
///
/// # Errors
/// Wrong usage, if ranges overlap or no owner is set at all.
fn id_maps(args: &Args) -> anyhow::Result<Option<IdMaps>> {
    let maps = IdMaps::of(&args.uid_map, &args.gid_map).map_err(cli::usage)?;
    if maps.is_some() && args.owner == "ignore" {
        return Err(
            cli::usage("--owner ignore sets no owner, so there is none to be mapped").into()
        );
    }
    Ok(maps)
}

/// Says what to do about an id that is in no range.
fn hint_ranges(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    let is_unmapped = |it: &&(dyn std::error::Error + 'static)| {
        matches!(it.downcast_ref(), Some(rootfs::Error::Unmapped { .. }))
    };
    if !error.chain().any(|it| is_unmapped(&it)) {
        return error;
    }
    cli::Failure::from_cause(error)
        .hint("--uid-map and --gid-map may be given several times")
        .into()
}

/// What is unpacked.
enum Contents {
    All(Box<Source>),
    Selected(Box<Opened>, Box<Plan>),
}

/// Opens the image; of a selection it finds out what it holds.
fn contents(
    args: &Args,
    location: &Location,
    input: Option<image::Input>,
    choice: Choice,
    store: Option<&Store>,
    io: &Io<'_>,
) -> anyhow::Result<(Contents, Image)> {
    let doubt = |image: &Image| image.doubt.iter().for_each(|doubt| io.warn(doubt));
    if args.paths.is_all() {
        let mut source = Source::open(location, input, store)?;
        let image = source.image(&choice).map_err(|error| location.name(error));
        let image = image.hinted(store::Error::hint)?;
        doubt(&image);
        return Ok((Contents::All(Box::new(source)), image));
    }
    let selection = args.paths.selection()?;
    let mut opened = Opened::open(location, input, choice, store).hinted(store::Error::hint)?;
    let image = opened.image().clone();
    doubt(&image);
    let plan = selected::plan(&mut opened, &selection, args.limits, io)?;
    Ok((Contents::Selected(Box::new(opened), Box::new(plan)), image))
}

/// The name of the image and the first digits of its digest, as far as it has them.
fn title(image: &Image) -> String {
    let name = image.names.first().map(|name| {
        name.parse::<Reference>().map_or_else(|_| name.clone(), |reference| reference.to_string())
    });
    let digest = image.manifest.as_ref().map(|manifest| manifest.descriptor().digest.short());
    match (name, digest) {
        (Some(name), Some(digest)) => format!("{name} ({digest}): "),
        (Some(name), None) | (None, Some(name)) => format!("{name}: "),
        (None, None) => String::new(),
    }
}

fn options(args: &Args) -> Options {
    let owner = if args.owner == "ignore" { Owner::Ignore } else { Owner::Keep };
    let symlinked_dirs =
        if args.keep_symlinked_dirs { SymlinkedDirs::Follow } else { SymlinkedDirs::Replace };
    let special_bits = if args.keep_setuid { SpecialBits::Always } else { SpecialBits::WithOwner };
    Options { owner, special_bits, symlinked_dirs, reserved: Some(draft::MARK) }
}

/// Says what was unpacked. The program that brought the image may have been silent.
fn say(report: &Report, image: &Image, io: &Io<'_>) {
    let layers = cli::counted(image.layers.len() as u64, "layer", "layers");
    let entries = cli::counted(report.n_entries, "entry", "entries");
    let size = cli::human_size(report.bytes);
    let line = format!("unpacked {}{layers}, {entries}, {size}", title(image));
    match &image.manifest {
        Some(manifest) => {
            let event = ImageEvent {
                name: image.names.first().cloned(),
                digest: manifest.descriptor().digest.to_string(),
                status: "Unpacked",
                is_important: true,
            };
            io.progress.image(event, &[&line]);
        }
        None => io.say(&line),
    }
    for reason in report.skipped.reasons() {
        warn(&reason, io);
    }
}

/// Warns about attributes that could not be set. With `--quiet`, only a surprising reason is shown, and not one that any user
/// without privileges meets.
fn warn(reason: &Reason, io: &Io<'_>) {
    if reason.is_surprise { io.alarm(&reason.text) } else { io.warn(&reason.text) }
}
