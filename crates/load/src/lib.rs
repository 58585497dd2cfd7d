//! The `load` command: brings every image of a stream, an archive or a layout into the store.
//!
//! One pass, no spool: `intake` writes each blob once, straight into the store under a temporary name, and hashes it and what it
//! decompresses to at the same time. When everything was read and found good, all images that are whole get their names.

mod diff_ids;
mod intake;
mod layout;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure, Io};
use image::Input;
use layer_format::{Descriptor, Digest, Platform};
use report::{Look, look};
use serde::Serialize;
use store::{IndexEntry, Store};
use stream::Thin;
use stream::archive::{Archive, Contents, LeftOut, LoadedImage};

use crate::intake::{Check, Intake, Offer};

/// Load images into the store
///
/// Reads an image stream, an archive that any other tool saved, or an OCI layout directory, and takes all of its images into
/// the store. Every digest is verified before any image gets its name: one wrong byte, and none does. What a compressed layer
/// decompresses to is verified at once where no digest names it, or with --verify, and otherwise by the first program that
/// reads the layer. Of several images, those that lack something are left out and told, with exit status 4. A thin stream loads
/// if the store has what it leaves out; otherwise load says what to fetch first.
#[derive(clap::Parser, Debug)]
#[command(name = "load", version, after_help = cli::examples(&[
    ("save mine:1 | ssh host load", "From one store to another"),
    ("docker save nginx | load", "Every other tool's archive works too"),
    ("load --platform linux/arm64 ./images.tar", "Of each image, the one for this platform"),
]))]
pub struct Args {
    /// Archive or OCI layout directory; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Only the images for this platform, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Also check at once what each layer decompresses to
    #[arg(long)]
    verify: bool,
    /// Print a JSON object for each image, a line each: name, digest, platforms, newBytes, reusedBytes
    #[arg(long)]
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

/// The JSON object about an image that was loaded.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Loaded {
    name: Option<String>,
    digest: Digest,
    platforms: Vec<String>,
    new_bytes: u64,
    reused_bytes: u64,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let source = Source::open(&args.file, io)?;
    let path = Store::path_or_usual(args.common.store.as_deref())?;
    let opened = Store::open(path).and_then(|store| store.lease());
    let lease = opened.hinted(store::Error::hint)?;
    let check = if args.verify { Check::DiffId } else { Check::Digest };
    let mut intake = Intake::new(&lease, check);
    let contents = source.take_in(args.platform.as_ref(), &mut intake, io)?;
    contents.doubts.iter().for_each(|doubt| io.warn(doubt));
    check_whole(&contents)?;
    let loaded = keep(&contents.images, &mut intake)?;
    cli::interrupt::check()?;
    let entries: Vec<IndexEntry> = contents.images.iter().map(entry).collect();
    lease.name(&entries)?;
    print(&contents.images, loaded, args, io)?;
    tell_left_out(contents.left_out, io)
}

/// Reports the images that were left out because they lack something. The last one is the error.
fn tell_left_out(mut left_out: Vec<LeftOut>, io: &Io<'_>) -> anyhow::Result<()> {
    let Some(last) = left_out.pop() else { return Ok(()) };
    let text = |name: &str| format!("not loaded: {name}");
    for LeftOut { name, error } in &left_out {
        io.warn(&format!("{}: {}", text(name), cli::error::chain(error)));
    }
    let code = Code::Untrusted;
    Err(anyhow::Error::from(last.error)).context(text(&last.name)).code(code)
}

/// The source of the images.
enum Source {
    Archive(Box<Archive>),
    Layout(Store),
}

impl Source {
    fn open(path: &Path, io: &mut Io<'_>) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            let (reader, file) = io.input.take_image()?;
            let input = Input::new(reader, file);
            let archive = input.archive(image::no_spool()).context("standard input")?;
            return Ok(Self::Archive(Box::new(archive)));
        }
        let shown = || cli::text::clean_path(path);
        let file = File::open(path).map_err(|error| Failure::opening(path, error))?;
        if file.metadata().with_context(shown)?.is_dir() {
            let layout = Store::open_existing(path)?
                .ok_or_else(|| cli::usage(format!("{}: not an OCI layout", shown())))?;
            return Ok(Self::Layout(layout));
        }
        let archive = Archive::from_file(file, image::no_spool()).with_context(shown)?;
        Ok(Self::Archive(Box::new(archive)))
    }

    /// Reads all blobs into the store, and finds the images that they make.
    fn take_in(
        self,
        platform: Option<&Platform>,
        intake: &mut Intake<'_>,
        io: &Io<'_>,
    ) -> anyhow::Result<Contents> {
        match self {
            Self::Archive(archive) => take_archive(*archive, platform, intake, io),
            Self::Layout(layout) => layout::take(&layout, platform, intake, io),
        }
    }
}

fn take_archive(
    archive: Archive,
    platform: Option<&Platform>,
    intake: &mut Intake<'_>,
    io: &Io<'_>,
) -> anyhow::Result<Contents> {
    let mut all = archive.all();
    while let Some(blob) = all.next_blob()? {
        let offer = Offer { claimed: blob.claimed, size: blob.size };
        let task = io.progress.task(label(&offer), Some(offer.size));
        task.state("Loading");
        let taken = intake.take(offer, &mut task.read(all.content()));
        let (digest, codec) = taken.with_context(|| format!("blob {}", label(&offer)))?;
        task.done("Loaded");
        all.received(blob, digest, codec)?;
    }
    Ok(all.finish(platform, intake)?)
}

fn label(offer: &Offer) -> String {
    offer.claimed.map_or_else(|| "layer".to_owned(), |digest| digest.short())
}

/// Checks that the store has everything that a thin stream leaves out.
fn check_whole(contents: &Contents) -> anyhow::Result<()> {
    match &contents.thin {
        Some(thin) if !contents.missing.is_empty() => {
            Err(missing_base(thin, &contents.missing).into())
        }
        _ => Ok(()),
    }
}

fn missing_base(thin: &Thin, missing: &[Descriptor]) -> Failure {
    let digests: Vec<_> = missing.iter().map(|blob| blob.digest.to_string()).collect();
    let text =
        format!("a thin stream, and the store lacks what it leaves out: {}", digests.join(", "));
    let failure = Failure::new(Code::NotFound, text);
    if thin.base.is_empty() {
        return failure
            .hint("save it again without --have, or with what `images digests` says here");
    }
    thin.base.iter().fold(failure, |failure, base| failure.hint(format!("pull {base}")))
}

/// Checks the layers and gives every blob that an image needs its name. Returns the bytes of each image.
fn keep(images: &[LoadedImage], intake: &mut Intake<'_>) -> anyhow::Result<Vec<Bytes>> {
    let mut pairs = Vec::new();
    let mut checked = std::collections::HashSet::new();
    for manifest in images.iter().flat_map(|found| &found.image.manifests) {
        intake.vouch(manifest)?;
    }
    for part in images.iter().flat_map(|found| &found.parts) {
        let Some(diff_id) = part.diff_id else { continue };
        if checked.insert((part.blob.digest, diff_id)) {
            let name = || format!("layer {}", part.blob.digest);
            if intake.check(&part.blob, diff_id).with_context(name)? {
                pairs.push((part.blob.digest, diff_id));
            }
        }
    }
    let mut counts = Vec::new();
    for found in images {
        for document in documents(found) {
            intake.put(document)?;
            intake.commit(&Digest::of(document))?;
        }
        let mut new = 0;
        let mut all = 0;
        for part in &found.parts {
            intake.commit(&part.blob.digest)?;
            new += intake.count_new(&part.blob.digest);
            all += part.blob.size;
        }
        for document in documents(found) {
            new += intake.count_new(&Digest::of(document));
            all += document.len() as u64;
        }
        counts.push(Bytes { new, reused: all - new.min(all) });
    }
    for (blob, diff_id) in &pairs {
        intake.note_pair(blob, diff_id);
    }
    Ok(counts)
}

/// How many bytes of an image are new to the store, and how many it had before.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    new: u64,
    reused: u64,
}

fn documents(found: &LoadedImage) -> impl Iterator<Item = &[u8]> {
    let indexes = found.image.indexes.iter().map(layer_format::Index::raw);
    indexes.chain(found.image.manifests.iter().map(layer_format::Manifest::raw))
}

fn entry(found: &LoadedImage) -> IndexEntry {
    let entry = IndexEntry::new(found.name.as_ref(), found.root.clone());
    match found.chosen_from {
        Some(index) => entry.chosen_from(index),
        None => entry,
    }
}

/// Whether a digest is that of the image, or of the index that it was chosen from.
fn is_of(found: &LoadedImage, digest: &Digest) -> bool {
    *digest == found.root.digest || found.chosen_from.as_ref() == Some(digest)
}

fn print(
    images: &[LoadedImage],
    counts: Vec<Bytes>,
    args: &Args,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    for (found, bytes) in images.iter().zip(counts) {
        if args.json {
            let loaded = Loaded {
                name: found.name.as_ref().map(layer_format::Reference::full),
                digest: found.root.digest,
                platforms: found.platforms.iter().map(Platform::to_string).collect(),
                new_bytes: bytes.new,
                reused_bytes: bytes.reused,
            };
            writeln!(io.output, "{}", serde_json::to_string(&loaded)?)?;
            continue;
        }
        // A digest in a name may be another image's; then it names nothing here.
        match found.name.as_ref().filter(|name| name.digest().is_none_or(|it| is_of(found, it))) {
            Some(name) => writeln!(io.output, "Loaded image: {name}")?,
            None => writeln!(io.output, "Loaded image ID: {}", found.root.digest)?,
        }
    }
    Ok(io.output.flush()?)
}
