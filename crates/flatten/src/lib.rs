//! The `flatten` command: an image in, its files out, as one plain tar.
//!
//! Which entries of the layers remain in the end is known before the first byte is written ([`image::flat`]). Then each layer that
//! has the content of one is read, base first, and its remaining entries are written as they come (`tar`). The tar gets its end
//! only when every one of them has been read to its end and its digests have been verified.

mod as_image;
mod onto;
mod tar;

use cli::{Explain as _, Io};
use image::flat::{Plan, Verdict};
use image::{Choice, Location, Opened};
use layer_format::layer::{EntryKind, EntryPath};
use layer_format::listing::Place;
use layer_format::{Compression, Platform, Reference};
use report::{Look, look};
use store::Store;

use crate::as_image::Target;
use crate::onto::Onto;

/// Write the files of an image as one plain tar
///
/// The layers are merged: no whiteouts, hard links across layers, every directory before what is in it. The tar is the
/// same for the same image, wherever it is and however its layers are compressed. It comes in the order of the layers,
/// so GNU tar needs --delay-directory-restore to give directories their times. Everything that is read is verified before the
/// tar's end is written; where the store knows what the layers hold, those of which no file is left are not read. What comes down a pipe waits in an unlinked file, unless the store knows what the layers hold.
#[derive(clap::Parser, Debug)]
#[command(name = "flatten", version, after_help = cli::examples(&[
    ("flatten nginx | tar2sqfs nginx.squashfs", "A root disk, without root"),
    ("pull alpine | flatten - | docker import - alpine:flat", "One layer, without the image's config"),
    ("flatten nginx --only /etc/nginx --only /usr/share/nginx | tar x", "Some of it"),
    ("flatten nginx --as-image nginx:flat | load", "One layer, with the image's config"),
    ("flatten app --onto debian --as-image app:1 | load", "One layer on top of the base's, which stay"),
]))]
pub struct Args {
    /// The image: - is standard input, a path an archive, an OCI layout or a directory that skopeo wrote, anything else a name in the
    /// store. archive:, layout: or dir: before a path forces the kind
    #[arg(value_name = "IMAGE")]
    from: String,
    /// Write an image stream instead: the image by this name, with its config and one layer
    #[arg(long, value_name = "NAME")]
    as_image: Option<Reference>,
    /// Squash only the layers above this one, an image of the store: its own stay as they are
    ///
    /// The new layer takes away what the upper layers have taken away. What --exclude and --no-devices leave out of it is as
    /// the base has it.
    #[arg(long, value_name = "BASE", requires = "as_image",
        conflicts_with_all = ["no_store", "only"])]
    onto: Option<String>,
    /// How the layer of --as-image is stored
    #[arg(long, value_name = "CODEC", requires = "as_image",
        default_value = "gzip", value_parser = ["gzip", "zstd", "none"])]
    compress: String,
    /// How hard to compress: 1 to 9 for gzip, 1 to 19 for zstd
    #[arg(long, value_name = "N", requires = "as_image")]
    level: Option<u8>,
    #[command(flatten)]
    paths: cli::Paths,
    /// Leave out device nodes, for readers that can't make them
    #[arg(long)]
    no_devices: bool,
    #[command(flatten)]
    limits: cli::Limits,
    /// Which image of an archive that holds several: a name or a digest
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Use no store: what has to wait does so in $TMPDIR
    #[arg(long)]
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
    io.output.binary()?;
    let compression = compression(args)?;
    let selection = args.paths.selection()?;
    let mut opened = open(args, io)?;
    opened.image().doubt.iter().for_each(|doubt| io.warn(doubt));
    let select = |path: &EntryPath, place: &Place<'_>| match selection
        .verdict(path.as_bytes(), place.is_directory())
    {
        _ if args.no_devices && is_device(place) => Verdict::LeaveOut,
        verdict => Verdict::of(verdict),
    };
    let onto = onto(args, &opened, io)?;
    let plan = Plan::of(opened.tree(&io.progress)?, &select);
    let plan = match &onto {
        Some(onto) => plan.onto(&onto.tree, &select),
        None => plan,
    };
    selection.check(io)?;
    if let Some(copies) = plan.copies().text() {
        io.warn(&copies);
    }
    // The root isn't counted: it exists anyway, and unpack doesn't count it either.
    args.limits.check(plan.n_entries().saturating_sub(1), plan.size())?;
    if let Some(name) = &args.as_image {
        let target = Target { name, compression, onto: onto.as_ref() };
        return as_image::write(opened, &plan, target, io);
    }
    let size = tar::write(opened, &plan, &mut io.output, &io.progress)?.size;
    io.say(&format!("flattened {} entries, {}", plan.n_entries(), cli::human_size(size)));
    Ok(())
}

/// The base that the upper layers are squashed onto, if one is named.
fn onto(args: &Args, opened: &Opened, io: &Io<'_>) -> anyhow::Result<Option<Onto>> {
    let Some(text) = &args.onto else { return Ok(None) };
    let named = Store::open_named(args.common.store.as_deref());
    let store = named.hinted(store::Error::hint_in_store)?;
    Onto::find(text, opened.image(), store.as_ref(), io).map(Some)
}

fn is_device(place: &Place<'_>) -> bool {
    matches!(place.inode().kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
}

fn compression(args: &Args) -> anyhow::Result<Compression> {
    Ok(Compression::named(&args.compress, args.level).ok_or_else(|| {
        let level = args.level.unwrap_or_default();
        cli::usage(format!("--compress {} has no level {level}", args.compress))
    })?)
}

/// Opens what IMAGE means.
fn open(args: &Args, io: &mut Io<'_>) -> anyhow::Result<Opened> {
    let choice = Choice { name: args.image.clone(), platform: args.platform.clone() };
    let location = Location::from(args.from.as_str());
    let store = store(args, &location)?;
    let input = location.input(|| io.input.take_image())?;
    Opened::open(&location, input, choice, store.as_ref()).hinted(store::Error::hint)
}

fn store(args: &Args, location: &Location) -> anyhow::Result<Option<Store>> {
    if !args.no_store {
        return image::our_store(args.common.store.as_deref(), location).hinted(store::Error::hint);
    }
    if location.is_stored() {
        let message = format!("{}: only a store has images by name", args.from);
        return Err(cli::usage(message).into());
    }
    Ok(None)
}
