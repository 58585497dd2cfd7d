//! The `load` command: brings every image of streams, archives and layouts into the store.
//!
//! One pass, no spool: `intake` writes each blob once, straight into the store under a temporary name, and hashes it and what it
//! decompresses to at the same time. When everything was read and found good, all images that are whole get their names.

mod choice;
mod diff_ids;
mod dry_run;
mod intake;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure, Io};
use image::{Input, Location};
use layer_format::{Descriptor, DiffId, Digest, Error, Platform, Reference};
use report::{Foreign, Look, STREAM_WHOLE, look};
use serde::Serialize;
use store::{IndexEntry, Store};
use stream::Thin;
use stream::archive::{Archive, Contents, LeftOut, LoadedImage};

use crate::choice::Choice;
use crate::intake::{Check, Intake, Offer, Place};

/// Load images into the store
///
/// Reads an image stream, an archive that any other tool saved, an OCI layout directory or one that skopeo wrote (dir:), and
/// takes all of its images into the store. Every digest is verified before any image gets its name: one wrong byte, and none
/// does, of no FILE. What a compressed layer decompresses to is verified at once where no digest names it, or with --verify, and
/// otherwise by the first program that reads the layer. Of several images, those that lack something are left out and told,
/// with exit status 4. A thin stream loads if the store, or another FILE, has what it leaves out; otherwise load says what to
/// fetch first.
#[derive(clap::Parser, Debug)]
#[command(name = "load", version, after_help = cli::examples(&[
    ("save mine:1 | ssh host load", "From one store to another"),
    ("docker save nginx | load", "Every other tool's archive works too"),
    ("load --tag app:1 ./app.tar", "An image without a name gets one"),
    ("load *.tar", "Several archives, all or none of them"),
    ("load --platform linux/arm64 ./images.tar", "Of each image, the one for this platform"),
]))]
pub struct Args {
    /// Archives, OCI layouts, directories that skopeo wrote; - is standard input. archive:, layout: or dir: before a path forces
    /// the kind
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Only this image of those that there are: a name or a digest
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Give the image this name, in the place of those that it brings. There must be only one image, or --image says which
    #[arg(short, long, value_name = "NAME")]
    tag: Option<Reference>,
    /// Only the images for this platform, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Also check at once what each layer decompresses to
    #[arg(long)]
    verify: bool,
    /// Only say what would be stored and what is there: each config and layer, and the sums. Everything is read, and nothing
    /// written
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object for each image, a line each: name, digest, platforms, lackingPlatforms, newBytes, reusedBytes. With --dry-run, one of what
    /// that says
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<Error>, look::<store::Error>];

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
    lacking_platforms: Vec<String>,
    new_bytes: u64,
    reused_bytes: u64,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    args.tag.iter().try_for_each(Reference::check_new)?;
    let places = places(&args.files)?;
    let path = Store::path_or_usual(args.common.store.as_deref())?;
    if args.dry_run {
        let store = Store::open_existing(path).hinted(store::Error::hint)?;
        let mut intake = Intake::new(Place::Nowhere(store.as_ref()), check(args));
        let taken = take(args, &places, &mut intake, io)?;
        dry_run::tell(args, &taken.images, &mut intake, io)?;
        return tell_left_out(taken.left_out, io);
    }
    let opened = Store::open(path).and_then(|store| store.lease());
    let lease = opened.hinted(store::Error::hint)?;
    let mut intake = Intake::new(Place::Store(&lease), check(args));
    let taken = take(args, &places, &mut intake, io)?;
    let loaded = keep(&taken.images, &mut intake)?;
    cli::interrupt::check()?;
    let entries: Vec<IndexEntry> = taken.images.iter().map(entry).collect();
    lease.name(&entries)?;
    print(&taken.images, loaded, args, io)?;
    tell_left_out(taken.left_out, io)
}

/// Whether an archive has ended before its end: its writer, or the line between, has failed.
fn is_cut(error: &anyhow::Error) -> bool {
    let is_end = |error: &Error| match error {
        Error::Truncated { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    };
    error.chain().any(|link| match link.downcast_ref::<Error>() {
        Some(error) => is_end(error),
        None => link
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof),
    })
}

const fn check(args: &Args) -> Check {
    if args.verify { Check::DiffId } else { Check::Digest }
}

/// Reads all files, and chooses the images that are wanted of them.
fn take(
    args: &Args,
    places: &[Location],
    intake: &mut Intake<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<Taken> {
    let mut taken = Taken::default();
    for (place, file) in places.iter().zip(&args.files) {
        let contents = Source::open(place, io)
            .and_then(|source| source.take_in(args.platform.as_ref(), intake, io));
        if contents.as_ref().is_err_and(is_cut) {
            // The failure is told in any case.
            intake.keep_whole().ok();
        }
        taken.add(match places.len() {
            1 => contents?,
            _ => contents.with_context(|| cli::text::clean_path(file))?,
        });
    }
    taken.doubts.iter().for_each(|doubt| io.warn(doubt));
    taken.check_whole(intake)?;
    let choice = Choice { image: args.image.as_deref(), tag: args.tag.as_ref() };
    choice.apply(&mut taken)?;
    taken.leave_names_to_the_last(io);
    taken.images.iter().for_each(|found| warn_of_lacking(found, io));
    Ok(taken)
}

/// What the words on the command line mean. All that are files exist.
///
/// # Errors
/// A file isn't there, or standard input would be read twice.
fn places(files: &[PathBuf]) -> anyhow::Result<Vec<Location>> {
    let places: Vec<_> = files.iter().map(|file| place(file)).collect();
    if places.iter().filter(|place| place.is_input()).count() > 1 {
        return Err(cli::usage("standard input can be read only once").into());
    }
    for place in &places {
        let (Location::Path(path)
        | Location::Archive(path)
        | Location::Layout(path)
        | Location::Dir(path)) = place
        else {
            continue;
        };
        if let Err(error) = fs::metadata(path) {
            let foreign = path.to_str().and_then(Foreign::parse);
            let failure = Failure::opening(path, error);
            return Err(foreign.iter().map(Foreign::as_image).fold(failure, Failure::hint).into());
        }
    }
    Ok(places)
}

/// What a word on the command line means: whatever could be a name is a file here.
fn place(file: &Path) -> Location {
    match file.to_str().map(Location::from) {
        Some(Location::Stored(_)) | None => Location::Path(file.to_owned()),
        Some(place) => place,
    }
}

/// What has come from all files.
#[derive(Debug, Default)]
struct Taken {
    images: Vec<LoadedImage>,
    /// The descriptions of thin streams, and what each leaves out that wasn't there when it was read.
    thin: Vec<(Thin, Vec<Descriptor>)>,
    left_out: Vec<LeftOut>,
    doubts: Vec<&'static str>,
}

impl Taken {
    /// Adds what a file held.
    fn add(&mut self, contents: Contents) {
        let Contents { images, missing, thin, left_out, doubts, .. } = contents;
        self.images.extend(images);
        self.thin.extend(thin.map(|thin| (thin, missing)));
        self.left_out.extend(left_out);
        self.doubts.extend(doubts);
    }

    /// Checks that the store, or another file, has everything that a thin stream leaves out.
    fn check_whole(&self, intake: &Intake<'_>) -> anyhow::Result<()> {
        for (thin, missing) in &self.thin {
            let mut lacking = vec![];
            for blob in missing {
                if !intake.is_there(&blob.digest, blob.size)? {
                    lacking.push(blob);
                }
            }
            if !lacking.is_empty() {
                return Err(self.lacks_base(thin, &lacking).into());
            }
        }
        Ok(())
    }

    fn lacks_base(&self, thin: &Thin, missing: &[&Descriptor]) -> Failure {
        let digests: Vec<_> = missing.iter().map(|blob| blob.digest.to_string()).collect();
        let digests = digests.join(", ");
        let parts = self.images.iter().flat_map(|found| &found.parts);
        let layers = parts.filter(|part| part.diff_id.is_some()).map(|part| part.blob.digest);
        if thin.is_documents_only(layers) {
            let text = format!("the stream has documents only, and the store lacks {digests}");
            return Failure::new(Code::NotFound, text).hint(STREAM_WHOLE);
        }
        let text = format!("a thin stream, and the store lacks what it leaves out: {digests}");
        let failure = Failure::new(Code::NotFound, text);
        if thin.base.is_empty() {
            return failure
                .hint("save it again without --have, or with what `images digests` says here");
        }
        thin.base.iter().fold(failure, |failure, base| failure.hint(format!("pull {base}")))
    }

    /// Leaves each name to the last image that brings it, as if the files were loaded one after the other, and an image that
    /// comes twice under one name once.
    fn leave_names_to_the_last(&mut self, io: &Io<'_>) {
        let mut last: HashMap<Reference, Digest> = HashMap::new();
        let mut seen: HashSet<(Option<Reference>, Digest)> = HashSet::new();
        for found in self.images.iter_mut().rev() {
            let Some(name) = found.name.clone() else { continue };
            let digest = *last.entry(name.clone()).or_insert(found.root.digest);
            if digest != found.root.digest {
                io.warn(&format!("{name}: two images have this name, and the last one keeps it"));
                found.name = None;
            }
        }
        self.images.retain(|found| seen.insert((found.name.clone(), found.root.digest)));
    }
}

/// The platforms that an image lists and that the archive lacks.
fn lacking_platforms(found: &LoadedImage) -> Vec<String> {
    let here: HashSet<_> =
        found.image.manifests.iter().map(|manifest| manifest.descriptor().digest).collect();
    let listed = found.image.indexes.iter().flat_map(|index| &index.manifests);
    let lacking = listed.filter(|entry| !here.contains(&entry.digest));
    let platforms = lacking.filter_map(|entry| entry.platform.as_ref());
    let platforms = platforms.filter(|platform| platform.os != "unknown");
    platforms.map(Platform::to_string).collect()
}

/// Warns of platforms that an image lists and that the archive lacks, as archives of docker's do.
fn warn_of_lacking(found: &LoadedImage, io: &Io<'_>) {
    let lacking = lacking_platforms(found);
    if lacking.is_empty() {
        return;
    }
    let digest = || found.root.digest.to_string();
    let name = found.name.as_ref().map_or_else(digest, Reference::to_string);
    let here: Vec<_> = found.platforms.iter().map(Platform::to_string).collect();
    let (lacking, here) = (lacking.join(", "), here.join(", "));
    io.warn(&format!("{name}: there is {here}, and not {lacking}, which it lists"));
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
    /// An archive, and its name for messages.
    Archive(Box<Archive>, String),
    Layout(Store),
}

impl Source {
    fn open(place: &Location, io: &mut Io<'_>) -> anyhow::Result<Self> {
        match place {
            Location::Input => {
                let (reader, file) = io.input.take_image()?;
                let input = Input::new(reader, file);
                let archive = input.archive(image::no_spool()).context("standard input")?;
                Ok(Self::Archive(Box::new(archive), "standard input".to_owned()))
            }
            Location::Path(path) if path.is_dir() => Ok(Self::Layout(image::open_layout(path)?)),
            Location::Layout(path) | Location::Dir(path) => {
                Ok(Self::Layout(image::open_layout(path)?))
            }
            Location::Path(path) | Location::Archive(path) => Self::file(path),
            Location::Layer(path) => {
                let text = format!("{}: a layer is no image", cli::text::clean_path(path));
                Err(cli::usage(text).hint("commit makes an image of it").into())
            }
            Location::Stored(name) => Self::file(Path::new(name)),
        }
    }

    fn file(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).map_err(|error| Failure::opening(path, error))?;
        let shown = || cli::text::clean_path(path);
        let archive = Archive::from_file(file, image::no_spool()).with_context(shown)?;
        Ok(Self::Archive(Box::new(archive), shown()))
    }

    /// Reads all blobs into the store, and finds the images that they make.
    fn take_in(
        self,
        platform: Option<&Platform>,
        intake: &mut Intake<'_>,
        io: &Io<'_>,
    ) -> anyhow::Result<Contents> {
        match self {
            Self::Archive(archive, name) => take_archive(*archive, &name, platform, intake, io),
            Self::Layout(layout) => layout::take(&layout, platform, intake, io),
        }
    }
}

fn take_archive(
    archive: Archive,
    name: &str,
    platform: Option<&Platform>,
    intake: &mut Intake<'_>,
    io: &Io<'_>,
) -> anyhow::Result<Contents> {
    let mut all = archive.all();
    while let Some(blob) = all.next_blob().map_err(|error| named(error, name))? {
        let offer = Offer { claimed: blob.claimed, size: blob.size };
        let task = io.progress.task(label(&offer), Some(offer.size));
        task.state("Loading");
        let taken = intake.take(offer, &mut task.read(all.content()));
        let (digest, codec) = taken.with_context(|| format!("blob {}", label(&offer)))?;
        task.done("Loaded");
        all.received(blob, digest, codec)?;
    }
    all.finish(platform, intake).map_err(|error| named(error, name))
}

/// Adds to the error of an archive that is none which one it was, and what else it may be.
fn named(error: Error, name: &str) -> anyhow::Error {
    let Error::NoImage { reason, .. } = &error else { return error.into() };
    let is_tar = *reason == stream::archive::NO_HEADS;
    let error = anyhow::Error::from(error).context(name.to_owned());
    if is_tar {
        let hint = "a layer alone becomes an image with commit --base scratch";
        return Failure::from_cause(error).hint(hint).into();
    }
    error
}

fn label(offer: &Offer) -> String {
    offer.claimed.map_or_else(|| "layer".to_owned(), |digest| digest.short())
}

/// Checks what the layers decompress to. Returns the pairs that are known to be right.
fn check_layers(
    images: &[LoadedImage],
    intake: &mut Intake<'_>,
) -> anyhow::Result<Vec<(Digest, DiffId)>> {
    let mut pairs = Vec::new();
    let mut checked = HashSet::new();
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
    Ok(pairs)
}

/// Checks the layers and gives every blob that an image needs its name. Returns the bytes of each image.
fn keep(images: &[LoadedImage], intake: &mut Intake<'_>) -> anyhow::Result<Vec<Bytes>> {
    let pairs = check_layers(images, intake)?;
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
                name: found.name.as_ref().map(Reference::full),
                digest: found.root.digest,
                platforms: found.platforms.iter().map(Platform::to_string).collect(),
                lacking_platforms: lacking_platforms(found),
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
