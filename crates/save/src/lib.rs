//! The `save` command: writes images of the store as one stream.
//!
//! `choice` finds the images, `thin` the blobs that may be left out. The blobs themselves don't pass through this program: the
//! kernel copies them, and the program that reads the stream verifies them.

mod choice;
mod dry_run;
mod plain;
mod thin;

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Context as _;
use cli::{Explain as _, Io, NamedOutput, Progress};
use image::layer::Content;
use layer_format::{Descriptor, Digest, Platform};
use report::{Look, look};
use store::Store;
use stream::{Graph, Half, Preamble, Writer};

use crate::choice::Chosen;
use crate::plain::PlainLayers;

/// Write images of the store as one stream
///
/// The stream is an OCI layout and a docker-archive at once, which every tool's load takes; each blob is in it once, byte
/// for byte as it was pulled, and the same images always give the same bytes. With --base or --have it leaves out what the
/// receiver has. A FILE appears whole or not at all.
#[derive(clap::Parser, Debug)]
#[command(name = "save", version, after_help = cli::examples(&[
    ("save nginx redis | ssh host load", "Two images, what they share once"),
    ("save app:2 --base app:1 -o update.tar", "Only what is new since app:1"),
    ("ssh host images digests | save app --have - | ssh host load", "Only what the host lacks"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// Images of the store: names, digests, or at least six first digits of one
    #[arg(required_unless_present = "from_file", value_name = "IMAGE")]
    images: Vec<String>,
    /// Also the images of this list: a name a line, or name@digest as images --lock writes it; # begins a comment, - is standard
    /// input
    #[arg(long, value_name = "FILE")]
    from_file: Vec<PathBuf>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Leave out the layers of this image of the store, because the receiver has it
    #[arg(long, value_name = "IMAGE")]
    base: Vec<String>,
    /// Leave out the layers whose digests or diff ids are in this file, a line each; - is standard input
    #[arg(long, value_name = "FILE")]
    have: Option<PathBuf>,
    /// Only the images for this platform, as linux/arm64/v8; may be given several times, and one of the images must have each
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<Platform>,
    /// Also what refers to the images: signatures, SBOMs, attestations
    #[arg(long)]
    referrers: bool,
    /// Only one half of the stream, for readers that choke on the other
    #[arg(long, value_name = "FORMAT", value_parser = ["docker", "oci"])]
    format: Option<String>,
    /// Write layers uncompressed, for scanners and old tools that take a layer's file for what the config names
    #[arg(long, requires = "format")]
    uncompressed: bool,
    /// Only say what would be written and what left out: each blob, and the sums
    #[arg(long)]
    dry_run: bool,
    /// Print what a dry run says as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
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
    let half = half(args)?;
    if args.output.as_os_str() == "-" && !args.dry_run {
        io.output.binary()?;
    }
    let images = images(args, io)?;
    let none = || store::Error::NotFound { text: images[0].clone() };
    let store = Store::open_named(args.common.store.as_deref())
        .and_then(|store| store.ok_or_else(none))
        .hinted(store::Error::hint_in_store)?;
    let thinned = thin::read(args, &store, io)?;
    let (mut chosen, hold) = Chosen::find(&images, &args.platform, args.referrers, &store)?;
    hold.warning().iter().for_each(|warning| io.warn(warning));
    let thin = thinned.thin(&chosen.images, &store)?;
    let left_out: HashSet<_> =
        thin.iter().flat_map(|thin| &thin.left_out).map(|blob| blob.digest).collect();
    let progress = io.progress.clone();
    let plain = if args.uncompressed {
        PlainLayers::of(&mut chosen, &store, &progress)?
    } else {
        PlainLayers::default()
    };
    if args.dry_run {
        return dry_run::tell(args, &chosen, &left_out, io);
    }
    let mut saving = Saving { store: &store, progress: &progress, plain, n_blobs: 0, bytes: 0 };
    let preamble = Preamble::of(&chosen.names, &chosen.images)?;
    progress.expect(n_bytes(&chosen, &left_out));
    let output = io.named_output(&args.output)?;
    let mut writer = Writer::begin(output, &preamble, thin.as_ref(), half)?;
    for image in &chosen.images {
        if half != Some(Half::Docker) {
            writer.documents(image)?;
        }
        for blob in image.blobs().filter(|blob| !left_out.contains(&blob.digest)) {
            saving.blob(blob, &mut writer)?;
        }
    }
    cli::interrupt::check()?;
    writer.finish()?.finish()?;
    drop(hold);
    saving.say(chosen.names.len(), left_out.len());
    Ok(())
}

/// The words of the command line, and those of lists. There is at least one.
fn images(args: &Args, io: &mut Io<'_>) -> anyhow::Result<Vec<String>> {
    let is_input = |path: &PathBuf| path.as_os_str() == "-";
    if args.have.as_ref().is_some_and(is_input) && args.from_file.iter().any(is_input) {
        return Err(cli::usage("standard input can't be the list and --have").into());
    }
    let listed = cli::read_lists(&args.from_file, &mut io.input)?;
    Ok(args.images.iter().cloned().chain(listed.into_iter().map(|it| it.text)).collect())
}

/// The bytes of all blobs that are not left out.
fn n_bytes(chosen: &Chosen, left_out: &HashSet<Digest>) -> u64 {
    let mut seen = left_out.clone();
    let blobs = chosen.images.iter().flat_map(Graph::blobs);
    let blobs = blobs.filter(|blob| seen.insert(blob.digest));
    blobs.map(|blob| blob.size).fold(0, u64::saturating_add)
}

fn half(args: &Args) -> anyhow::Result<Option<Half>> {
    let is_thin = !args.base.is_empty() || args.have.is_some();
    match args.format.as_deref() {
        Some("oci") if args.uncompressed => {
            // A manifest names layers by the digests of their compressed bytes.
            Err(cli::usage("--uncompressed is for --format docker").into())
        }
        Some("docker") if is_thin => {
            // It has no digests by which a receiver could find what was left out.
            Err(cli::usage("--format docker can't leave anything out").into())
        }
        Some("docker") => Ok(Some(Half::Docker)),
        Some(_) => Ok(Some(Half::Oci)),
        None => Ok(None),
    }
}

/// The blobs of the store that go into the stream, and their number and size so far.
struct Saving<'a> {
    store: &'a Store,
    progress: &'a Progress,
    plain: PlainLayers,
    n_blobs: usize,
    bytes: u64,
}

impl Saving<'_> {
    /// Sends a config or a layer, unless the stream has it. Only the kernel reads its bytes.
    fn blob(
        &mut self,
        blob: &Descriptor,
        writer: &mut Writer<NamedOutput<'_>>,
    ) -> anyhow::Result<()> {
        if writer.has(&blob.digest) {
            return Ok(());
        }
        let task = self.progress.task(blob.digest.short(), Some(blob.size));
        let sent = if let Some(layer) = self.plain.source(blob) {
            task.state("Saving");
            let stored = image::stored_layer(self.store, layer)?;
            let content = Content::of(layer, stored, Some(self.store))?;
            writer.blob(blob, task.read(content))
        } else {
            let file = self.store.whole_blob(blob)?;
            task.state("Saving");
            writer.blob_by(blob, |output| output.send(&file, blob.size, &mut |n| task.advance(n)))
        };
        sent.with_context(|| format!("blob {}", blob.digest))?;
        task.done("Saved");
        self.n_blobs += 1;
        self.bytes += blob.size;
        Ok(())
    }

    fn say(&self, n_images: usize, n_left_out: usize) {
        let saved = format!(
            "saved {}, {}, {}",
            cli::counted(n_images as u64, "image", "images"),
            cli::counted(self.n_blobs as u64, "blob", "blobs"),
            cli::human_size(self.bytes)
        );
        let left_out = match n_left_out {
            0 => String::new(),
            n => format!("; left out {}", cli::counted(n as u64, "blob", "blobs")),
        };
        self.progress.say(saved + &left_out);
    }
}
