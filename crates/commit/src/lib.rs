//! The `commit` command: a layer, and the image below it, become a new image.
//!
//! One pass: the layer is checked, hashed, compressed and kept as it comes (`layer`, `check`), on top of what it says it was
//! taken against (`base`). The config and the manifest are the base's, with what the commit changes and no more (`document`);
//! instructions of a Dockerfile change how the image runs (`instruction`, `settings`). The image gets its names only when all
//! of it is whole.

mod base;
mod check;
mod command;
mod document;
mod format;
mod health;
mod instruction;
mod layer;
mod plan;
mod port;
mod raw_object;
mod settings;
mod shell_word;
mod stream;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use cli::{Explain as _, Io};
use image::{Choice, Input, Location, Opened};
use layer_format::listing::Tree;
use layer_format::{Descriptor, Look, Manifest, Platform, Reference, look};
use store::{IndexEntry, Lease, Pair, Store};

use crate::base::{Base, BaseImage};
use crate::check::Changes;
use crate::layer::{Incoming, Kept, Taken};
use crate::plan::{Documents, Plan};
use crate::stream::Outgoing;

/// Make an image of a layer and the image below it
///
/// Reads a layer, which snapshot or any other tool wrote, and puts it on top of the base: the image that the layer says it was
/// taken against, or the one that --base names. The new image is kept in the store under every NAME, and its digest
/// printed. The layer is checked as it comes, and compressed on all cores, to the same bytes whatever their number.
#[derive(clap::Parser, Debug)]
#[command(version, after_help = cli::examples(&[
    ("snapshot rootfs --base debian | commit -t mine -m 'add vim' -a me", "What changed in a directory, as an image"),
    ("tar -C app -c . | commit -t app:1 --base debian -c 'CMD [\"/app\"]' -c 'ENV A=1'", "Any tar is a layer"),
    ("tar -C app -c . | commit -t app --base scratch --no-store --stream | docker load", "Without a store"),
]))]
pub struct Args {
    /// Layer, as it is or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Name of the new image; may be given several times
    #[arg(short, long, value_name = "NAME", required = true)]
    tag: Vec<Reference>,
    /// Image below the layer: one of the store, or scratch for none
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// What was done and why, for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who did it
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Instruction of a Dockerfile to apply, as 'USER app'; may be given several times
    ///
    /// CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR.
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Platform of the base, or of an image from scratch, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// How the layer is stored
    #[arg(long, value_name = "CODEC", default_value = "gzip", value_parser = ["gzip", "zstd", "none"])]
    compress: String,
    /// How hard to compress: 1 to 9 for gzip, 1 to 19 for zstd
    ///
    /// Without it 6 and 3. From 12 on zstd takes some 40 MB of memory for each core.
    #[arg(long, value_name = "N")]
    level: Option<u8>,
    /// Make an OCI image of a Docker schema 2 base
    #[arg(long)]
    oci: bool,
    /// Moment of the commit, in seconds since 1970, instead of now
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(plan::TIMES))]
    timestamp: Option<i64>,
    /// Write the whole image to standard output as well; its digest goes to standard error
    #[arg(long)]
    stream: bool,
    /// Use no store: only stream the image. The base is scratch, an archive or an OCI layout
    #[arg(long, requires = "stream")]
    no_store: bool,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<layer_format::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let plan = Plan::of(args)?;
    if args.stream {
        io.output.binary()?;
    }
    if args.no_store { without_store(args, &plan, io) } else { with_store(args, &plan, io) }
}

/// Keeps the image in the store, and streams it from there.
fn with_store(args: &Args, plan: &Plan, io: &mut Io<'_>) -> anyhow::Result<()> {
    let path = Store::path_or_usual(args.common.store.as_deref())?;
    let opened = Store::open(path).and_then(|store| store.lease());
    let lease = opened.hinted(store::Error::hint)?;
    let find = |text: &str| Base::find(text, args.platform.as_ref(), &lease);
    let named = args.base.as_deref().map(find).transpose()?;
    let incoming = Incoming::open(&args.file, io)?;
    let base = match Base::settle(named, incoming.base, find) {
        Err(error) => return Err(incoming.blame(error)),
        settled => settled?,
    };
    let media_type = plan.layer_type(&base)?;
    let changes = Changes::new(Some(lease.store()));
    let taken = incoming.take(Kept::in_store(&lease)?, plan.compression, changes)?;
    taken.warn(io);
    taken.check(|| stored_tree(&base, lease.store(), io))?;
    let layer = taken.kept.descriptor(media_type);
    let Documents { config, manifest } = plan.documents(&base, &layer, taken.diff_id)?;
    cli::interrupt::check()?;
    let n_entries = taken.changes.n_entries;
    keep(taken, &layer, &lease)?;
    lease.put(&config)?;
    lease.put(&manifest)?;
    let manifest = Manifest::parse(manifest)?;
    let target = manifest.descriptor();
    let entries: Vec<_> =
        args.tag.iter().map(|name| IndexEntry::new(Some(name), target.clone())).collect();
    lease.name(&entries)?;
    if args.stream {
        let outgoing = Outgoing { names: &args.tag, manifest };
        outgoing.out_of_store(lease.store(), io)?;
        io.say(&target.digest.to_string());
    } else {
        writeln!(io.output, "{}", target.digest)?;
        io.output.flush()?;
    }
    say(args, n_entries, &layer, io);
    Ok(())
}

/// Puts the layer into the store, unless the store has it.
fn keep(taken: Taken, layer: &Descriptor, lease: &Lease) -> anyhow::Result<()> {
    if let Kept::Store(partial) = taken.kept {
        if !lease.has(&layer.digest, layer.size)? {
            partial.commit()?;
        }
        Pair::new(layer.digest, taken.diff_id).remember(Some(lease.store()));
        taken.changes.keep(&taken.diff_id);
    }
    taken.task.done("Committed");
    Ok(())
}

/// The tree of the base, an image of the store.
fn stored_tree(base: &Base, store: &Store, io: &Io<'_>) -> anyhow::Result<Tree> {
    let Base::Image(image) = base else { return Ok(Tree::new()) };
    let place = Location::Stored(image.manifest.descriptor().digest.to_string());
    let mut below = Opened::open(&place, None, Choice::default(), Some(store))?;
    below.tree(&io.progress).context("the base")
}

/// Only streams the image.
fn without_store(args: &Args, plan: &Plan, io: &mut Io<'_>) -> anyhow::Result<()> {
    let text = args.base.as_deref().ok_or_else(|| {
        cli::usage("without a store, --base says what is below: scratch, an archive or a layout")
    })?;
    let (base, mut below) = open_base(text, args, io)?;
    let incoming = Incoming::open(&args.file, io)?;
    let base = Base::settle(Some(base), incoming.base, |_| Ok(Base::Scratch))?;
    let media_type = plan.layer_type(&base)?;
    let taken = incoming.take(Kept::spool()?, plan.compression, Changes::default())?;
    match &mut below {
        // The base is then read only once.
        Some(below) if taken.changes.are_good() => below.rewind()?,
        Some(below) => taken.check(|| below.tree(&io.progress).context("the base"))?,
        None => taken.check(|| Ok(Tree::new()))?,
    }
    taken.task.done("Committed");
    let layer = taken.kept.descriptor(media_type);
    let Documents { config, manifest } = plan.documents(&base, &layer, taken.diff_id)?;
    let manifest = Manifest::parse(manifest)?;
    let digest = manifest.descriptor().digest;
    if let Kept::Spool(kept) = taken.kept {
        let outgoing = Outgoing { names: &args.tag, manifest };
        outgoing.without_store(&config, below, kept.into_inner(), io)?;
    }
    io.say(&digest.to_string());
    say(args, taken.changes.n_entries, &layer, io);
    Ok(())
}

/// Opens a base that is in no store: an archive or a layout. The base itself is `None` for scratch.
fn open_base(text: &str, args: &Args, io: &mut Io<'_>) -> anyhow::Result<(Base, Option<Opened>)> {
    if text == base::SCRATCH {
        return Ok((Base::Scratch, None));
    }
    let choice = Choice { name: None, platform: args.platform.clone() };
    let opened = match Location::from(text) {
        Location::Input if args.file.as_os_str() == "-" => {
            return Err(cli::usage("the base and the layer can't both be standard input").into());
        }
        Location::Input => {
            let (reader, file) = io.input.take_image()?;
            let input = Input::new(reader, file);
            Opened::open(&Location::Input, Some(input), choice, None)?
        }
        Location::Dir(_) | Location::Layer(_) | Location::Stored(_) => {
            let text =
                format!("{text}: without a store, the base is scratch, an archive or a layout");
            return Err(cli::usage(text).into());
        }
        place => Opened::open(&place, None, choice, None).with_context(|| text.to_owned())?,
    };
    let image = opened.image();
    let manifest = image.manifest.clone().ok_or_else(|| {
        cli::usage(format!("{text}: an archive without a manifest"))
            .hint("load it into a store, and commit there")
    })?;
    let name = image.names.first().and_then(|name| name.parse().ok());
    let name = name.map(|name: Reference| name.full());
    let base = BaseImage { manifest, config: image.config.clone(), name };
    Ok((Base::Image(Box::new(base)), Some(opened)))
}

fn say(args: &Args, n_entries: u64, layer: &Descriptor, io: &Io<'_>) {
    let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
    let entries = cli::counted(n_entries, "entry", "entries");
    let size = cli::human_size(layer.size);
    io.say(&format!("committed {}: {entries}, {size}", names.join(", ")));
}
