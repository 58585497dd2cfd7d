//! The `rebase` command: an image's own layers on another base. Only documents are read and written.
//!
//! ```text
//! lib ──► bases      the image, the one that it is on (OLD) and the one that it is to be on (NEW)
//!     ──► replay     what the image has changed in OLD's config, done to NEW's
//!     ──► document   the new config and manifest
//! ```

mod bases;
mod document;
mod replay;

use std::io::Write as _;

use anyhow::Context as _;
use cli::{Explain as _, Io};
use image::{Platforms, StoredImage};
use layer_format::{Descriptor, Manifest, Platform, Reference};
use report::{Look, look};
use store::{IndexEntry, Lease, Store};

use crate::bases::Bases;
use crate::document::Documents;

/// Put an image on another base
///
/// The layers of the base that the image is on are replaced by those of another image, for example of the same base with security
/// updates; its own layers stay, byte for byte. No layer is read: whether the image still runs on the other base is for a
/// test of it to say. All of them are images of the store.
///
/// What the image has changed in the config of its old base is done to that of the new one; all else comes from the new base.
/// Variables, labels, ports and volumes are compared one by one, other settings as a whole. A PATH that has the old base's PATH
/// in it gets the new base's in its place. An image with an entry point of its own has the command that it had, or none. The
/// history is the new base's, followed by the image's own steps. The image is as old as the younger of the two, so that the same
/// images give the same digest.
#[derive(clap::Parser, Debug)]
#[command(name = "rebase", version, after_help = cli::examples(&[
    ("rebase app:1 --onto debian:12 -t app:1", "The base has got updates under the same name"),
    ("rebase --dry-run app:1 --onto debian:13", "What that would change in the settings"),
    ("rebase app:1 --from debian:12 --onto debian:13 -t app:2", "Where the image doesn't say what it is on"),
    ("rebase --all-platforms app:1 --onto debian:13 -t app:2", "The images of all platforms"),
]))]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The base that it is to be on
    #[arg(long, value_name = "NEW")]
    onto: String,
    /// The base that it is on, if its annotations don't say so: an image, or scratch to keep all layers
    #[arg(long, value_name = "OLD")]
    from: Option<String>,
    /// Name of the new image; may be given several times
    #[arg(short, long, value_name = "NAME", required_unless_present = "dry_run")]
    tag: Vec<Reference>,
    /// Only print what would be different about the config, as changes does
    #[arg(long)]
    dry_run: bool,
    /// Annotation of the new image's manifest; may be given several times
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = cli::parse_annotation)]
    annotations: Vec<(String, String)>,
    /// Make an OCI image even if both are Docker schema 2 images, which can't say what they are on
    #[arg(long)]
    oci: bool,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Rebase the images of all platforms, each on the base for its own; what comes of them is an index again
    #[arg(long, conflicts_with_all = ["platform", "dry_run"])]
    all_platforms: bool,
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
///
/// # Errors
/// An image isn't in the store, its base isn't known or isn't below it, the platforms differ, or the store can't be written.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    args.tag.iter().try_for_each(Reference::check_new)?;
    let store =
        Store::open_named(args.common.store.as_deref()).hinted(store::Error::hint_in_store)?;
    let missing = || store::Error::NotFound { text: args.image.clone() };
    let store = store.ok_or_else(missing).hinted(store::Error::hint_in_store)?;
    if args.all_platforms {
        return all(args, &store, io);
    }
    let lease = if args.dry_run { None } else { Some(store.lease().hinted(store::Error::hint)?) };
    let bases = Bases::find(args, &store, lease.as_ref())?;
    bases.check(&store)?;
    let documents = Documents::of(&bases, args)?;
    documents.notes.iter().for_each(|note| io.warn(note));
    let manifest = Manifest::parse(documents.manifest.clone())?;
    cli::interrupt::check()?;
    match lease {
        None => show(&bases, &documents, &manifest, io),
        Some(lease) => name(args, &bases, &documents, &manifest, &lease, io),
    }
}

/// Rebases all images of an index, which become one again (ggcr#2119).
fn all(args: &Args, store: &Store, io: &mut Io<'_>) -> anyhow::Result<()> {
    let lease = store.lease().hinted(store::Error::hint)?;
    let found = Platforms::find(&args.image, &lease).hinted(store::Error::hint_in_store)?;
    let platforms = found.ok_or_else(|| {
        cli::usage(format!("{}: one image, and not those of several platforms", args.image))
            .hint("leave --all-platforms out, or pull --all-platforms first")
    })?;
    platforms.notes(&args.image).iter().for_each(|note| io.warn(note));
    let mut made = vec![];
    for image in platforms.images() {
        let platform = cli::text::clean(&image.config.platform.to_string()).into_owned();
        let (manifest, summary) =
            one_of_all(args, image, &lease, io).with_context(|| platform.clone())?;
        io.say(&format!("{platform}: {summary}"));
        made.push(manifest);
    }
    let index = platforms.index(&made)?;
    lease.put(index.raw())?;
    let names = publish(args, &index.descriptor(), &lease, io)?;
    let n = cli::counted(made.len() as u64, "platform", "platforms");
    io.say(&format!("rebased {names}: {n}"));
    Ok(())
}

/// Rebases one of the images of an index. Returns its manifest and what it consists of.
fn one_of_all(
    args: &Args,
    image: &StoredImage,
    lease: &Lease,
    io: &Io<'_>,
) -> anyhow::Result<(Manifest, String)> {
    let bases = Bases::of_member(image, args, (lease.store(), lease))?;
    bases.check(lease.store())?;
    let documents = Documents::of(&bases, args)?;
    documents.notes.iter().for_each(|note| io.warn(note));
    cli::interrupt::check()?;
    lease.put(&documents.config)?;
    lease.put(&documents.manifest)?;
    Ok((Manifest::parse(documents.manifest)?, bases.summary()))
}

/// Prints what would be different about the config.
fn show(
    bases: &Bases,
    documents: &Documents,
    manifest: &Manifest,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let made = layer_format::Config::parse(documents.config.clone())?;
    for setting in image::edit::compare(&bases.image.image.config, &made)? {
        writeln!(io.output, "{}", cli::text::clean(&setting.to_string()))?;
    }
    io.output.flush()?;
    let digest = manifest.descriptor().digest;
    io.say(&format!("would be {digest}: {}", bases.summary()));
    Ok(())
}

/// Gives the new image its names, and prints its digest.
fn name(
    args: &Args,
    bases: &Bases,
    documents: &Documents,
    manifest: &Manifest,
    lease: &Lease,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    lease.put(&documents.config)?;
    lease.put(&documents.manifest)?;
    let target = manifest.descriptor();
    let names = publish(args, &target, lease, io)?;
    if target.digest == bases.image.image.manifest.descriptor().digest {
        let (image, new) = (&bases.image.said, &bases.new.said);
        io.say(&format!("{image} is on {new} already: {names} is the same image"));
    } else {
        io.say(&format!("rebased {names}: {}", bases.summary()));
    }
    Ok(())
}

/// Gives what was made its names, prints its digest, and returns the names for the last line.
fn publish(
    args: &Args,
    target: &Descriptor,
    lease: &Lease,
    io: &mut Io<'_>,
) -> anyhow::Result<String> {
    let entry = |name| IndexEntry::new(Some(name), target.clone());
    lease.name(&args.tag.iter().map(entry).collect::<Vec<_>>())?;
    writeln!(io.output, "{}", target.digest)?;
    io.output.flush()?;
    let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
    Ok(names.join(", "))
}
