//! The `commit` command: a layer, and the image below it, become a new image.
//!
//! One pass: the layer is checked, hashed, compressed and kept as it comes (`layer`, `check`), on top of what it says it was
//! taken against (`base`). The config and the manifest are the base's, with what the commit changes and no more (`document`);
//! instructions of a Dockerfile change how the image runs (`instruction`, `settings`). The image goes to its `destination`, the
//! store or the stream, and gets its names only when all of it is whole.

mod base;
mod check;
mod command;
mod destination;
mod document;
mod health;
mod instruction;
mod layer;
mod plan;
mod port;
mod settings;
mod shell_word;
mod stream;
mod unset;

use std::path::PathBuf;

use anyhow::Context as _;
use cli::Io;
use layer_format::{Descriptor, Platform, Reference};
use report::{Look, look};

use crate::base::Base;
use crate::check::Changes;
use crate::destination::{Destination, NewImage, ToStore, ToStream};
use crate::document::NewLayer;
use crate::layer::{Incoming, Kept as _};
use crate::plan::Plan;
use crate::unset::Unset;

/// Make an image of a layer and the image below it
///
/// Reads a layer, which snapshot or any other tool wrote, and puts it on top of the base: the image that the layer says it was
/// taken against, or the one that --base names. The new image is kept in the store under every NAME, and its digest
/// printed. The layer is checked as it comes, and compressed on all cores, to the same bytes whatever their number.
#[derive(clap::Parser, Debug)]
#[command(name = "commit", version, after_help = cli::examples(&[
    ("snapshot rootfs --base debian | commit -t mine -m 'add vim' -a me", "What changed in a directory, as an image"),
    ("tar -C app -c . | commit -t app:1 --base debian -c 'CMD [\"/app\"]' -c 'ENV A=1'", "Any tar is a layer"),
    ("commit --no-layer --base app:1 -t app:2 -c 'USER app' --unset Env.DEBUG", "Other settings, the same layers"),
    ("tar -C app -c . | commit -t app --base scratch --no-store --stream | docker load", "Without a store"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "flags are what a command line has")]
pub struct Args {
    /// Layer, as it is or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Read no layer: only the config and the annotations of the base change
    #[arg(long, requires = "base", conflicts_with_all = ["file", "compress", "level", "no_store"])]
    no_layer: bool,
    /// With --no-layer, change the images of all platforms of the base; what comes of them is an index again
    #[arg(long, requires = "no_layer", conflicts_with_all = ["platform", "stream"])]
    all_platforms: bool,
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
    /// Setting of the base to take out first, as Env.NAME or User; may be given several times
    ///
    /// The names are those of the image's config, as changes prints them: one of Env, Labels, Volumes, Annotations and the like, or
    /// all of them, or Cmd, Entrypoint, User and so on.
    #[arg(long, value_name = "SETTING", value_parser = Unset::parse)]
    unset: Vec<Unset>,
    /// Annotation of the new image's manifest; may be given several times
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = cli::parse_annotation)]
    annotations: Vec<(String, String)>,
    /// What the history says made the layer, instead of this command
    #[arg(long, value_name = "TEXT")]
    created_by: Option<String>,
    /// Platform of the base, or of an image from scratch, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// How the layer is stored: compressed, or byte for byte as it comes
    ///
    /// With keep, a layer that comes compressed stays so, and has the digest that it has. What it says about its base then stays in it,
    /// which nobody minds who unpacks it.
    #[arg(long, value_name = "CODEC", default_value = "gzip", value_parser = ["gzip", "zstd", "none", plan::KEEP])]
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
    /// Use no store: only stream the image. The base is scratch, -, or the path of an archive, an OCI layout or a directory that
    /// skopeo wrote; archive:, layout: or dir: before it forces the kind
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
    if args.all_platforms {
        return change_all(args, &plan, &ToStore::open(args)?, io);
    }
    if args.no_layer {
        return change(args, &plan, ToStore::open(args)?, io);
    }
    if args.no_store {
        commit(args, &plan, ToStream::new(args)?, io)
    } else {
        commit(args, &plan, ToStore::open(args)?, io)
    }
}

/// Makes the image of the layer and its base, and brings it to its destination.
fn commit(
    args: &Args,
    plan: &Plan,
    mut destination: impl Destination,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let named = args.base.as_deref().map(|text| destination.find_base(text, io)).transpose()?;
    let incoming = Incoming::open(&args.file, plan.storage, io)?;
    let found = Base::settle(named, incoming.base, |text| destination.find_base(text, io));
    let base = match found {
        Err(error) => return Err(incoming.blame(error)),
        Ok(base) => base,
    };
    let media_type = plan.layer_type(&base, incoming.codec)?;
    let changes = Changes::new(destination.store());
    let taken = incoming.take(destination.begin_layer()?, plan.storage, changes)?;
    taken.warn(io);
    destination.check(&taken, &base, io)?;
    let layer = taken.kept.descriptor(media_type);
    let new = NewLayer { descriptor: &layer, diff_id: taken.diff_id };
    let documents = plan.documents(&base, Some(new))?;
    documents.warn(io);
    cli::interrupt::check()?;
    let text = summary(args, taken.changes.n_entries, &layer);
    destination.finish(NewImage { taken, layer, documents }, io)?;
    io.say(&text);
    Ok(())
}

/// Makes an image of the base alone, with other settings.
fn change(
    args: &Args,
    plan: &Plan,
    mut destination: ToStore<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let base = destination.find_base(args.base.as_deref().unwrap_or_default(), io)?;
    let documents = plan.documents(&base, None)?;
    documents.warn(io);
    cli::interrupt::check()?;
    destination.name(documents, io)?;
    let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
    io.say(&format!("committed {}: no new layer", names.join(", ")));
    Ok(())
}

/// The same of all images of an index, which become one again (ggcr#1456).
fn change_all(
    args: &Args,
    plan: &Plan,
    destination: &ToStore<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let text = args.base.as_deref().unwrap_or_default();
    let bases = destination.find_all(text)?;
    bases.notes(text).iter().for_each(|note| io.warn(note));
    let mut made = vec![];
    for image in bases.images() {
        let platform = image.config.platform.to_string();
        let documents = plan.documents(&Base::Image(Box::new(image.clone())), None);
        let documents = documents.with_context(|| cli::text::clean(&platform).into_owned())?;
        documents.warn(io);
        cli::interrupt::check()?;
        made.push(destination.put(documents)?);
    }
    destination.name_index(&bases.index(&made)?, io)?;
    let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
    let platforms = cli::counted(made.len() as u64, "platform", "platforms");
    io.say(&format!("committed {}: {platforms}, no new layer", names.join(", ")));
    Ok(())
}

/// The last line.
fn summary(args: &Args, n_entries: u64, layer: &Descriptor) -> String {
    let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
    let entries = cli::counted(n_entries, "entry", "entries");
    let size = cli::human_size(layer.size);
    format!("committed {}: {entries}, {size}", names.join(", "))
}
