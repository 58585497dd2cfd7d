//! The `images` command: lists, names, removes and checks the images of the store.

mod graph;
mod list;
mod names;
mod page;
mod verify;

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Context as _;
use cli::{Explain as _, Form, Io};
use layer_format::{Look, Reference, look};
use store::{Freed, Kept, Proof, Store, Sweep};

use crate::names::Names;
use crate::page::Page;

/// List the images in the store, name and remove them, and check that they are sound
///
/// Without a subcommand, lists every name with its digest, platform, date and size, and how much of the size other images
/// have too. Removing a name keeps its blobs until `images gc`, which frees whatever no image and no running program needs.
#[derive(clap::Parser, Debug)]
#[command(version, after_help = cli::examples(&[
    ("images", "What is there"),
    ("images rm nginx:1.26 && images gc", "Remove a name, then the blobs that nothing else needs"),
    ("ssh host images digests | save app --have - | ssh host load", "Send only what the other side lacks"),
]))]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long, global = true, conflicts_with = "null")]
    json: bool,
    /// Print only names or digests, as they are, each ended by NUL
    #[arg(short = '0', long, global = true)]
    null: bool,
    #[command(flatten)]
    common: cli::Common,
}

/// What to do, if it isn't listing.
#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Give an image another name; a name that another image has moves
    Tag {
        /// The image: a name, a digest, or the first digits of one
        image: String,
        /// The new name
        name: Reference,
    },
    /// Remove names; an image without one is removed by its digest
    ///
    /// Nothing is removed if one of them isn't there, or if a digest stands for an image with several names. The blobs stay
    /// until `images gc`.
    Rm {
        /// Names, digests, or the first digits of one
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// With a digest, remove all names of its image
        #[arg(long)]
        force: bool,
    },
    /// Remove the blobs that no image needs and the extracted layers that nobody has mounted; safe beside running programs
    Gc {
        /// Only say what would be freed
        #[arg(long)]
        dry_run: bool,
        /// Also remove extracted layers that a union out of sight may have mounted; and run on network drives and FUSE file
        /// systems, where gc can't see what others are doing with the store
        #[arg(long)]
        force: bool,
    },
    /// Check every blob's digest and size, every diff id, and that nothing is missing
    Verify {
        /// Only these images
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// List the digest of every blob that the images have, for `save --have`
    Digests,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<layer_format::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let path = Store::path_or_usual(args.common.store.as_deref())?;
    // Listing images makes no store.
    let store = Store::open_existing(path)?;
    let form = Form::of(args.json, args.null);
    let mut page = Page { output: &mut io.output, form };
    let Some(store) = store else { return without_store(args, &mut page) };
    match &args.action {
        None => list::list(&store, &mut page),
        Some(Action::Tag { image, name }) => names::tag(&store, image, name, &mut page),
        Some(Action::Rm { names, force }) => {
            let allowed = if *force { Names::Several } else { Names::One };
            names::remove(&store, names, allowed, &mut page)
        }
        Some(Action::Gc { dry_run, force }) => {
            let sweep = sweep(*dry_run);
            let (freed, kept) = gc(&store, sweep, *force)?;
            page.freed(&freed, &kept, sweep)?;
            say_kept(&kept, io);
            Ok(())
        }
        Some(Action::Verify { names }) => verify::verify(&store, names, io, form),
        Some(Action::Digests) => list::digests(&store, &mut page),
    }
}

/// Removes blobs that no image needs, and extracted layers that no union has mounted.
fn gc(store: &Store, sweep: Sweep, is_forced: bool) -> anyhow::Result<(Freed, Kept)> {
    if sweep == Sweep::Remove && !is_forced {
        store.check_medium().hinted(store::Error::hint)?;
    }
    let mut freed = store.gc(sweep)?;
    let proof = if is_forced { Proof::Waived } else { Proof::Needed };
    let collected = store.collect_layers(sweep, proof)?;
    freed.n_layers += collected.n_layers;
    freed.bytes += collected.bytes;
    for garbage in &collected.garbage {
        let path = garbage.path();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = File::open(parent).context("opening the layer cache")?;
        rootfs::remove_tree(&parent, name.as_bytes()).context("removing an extracted layer")?;
    }
    Ok((freed, collected.kept))
}

/// Warns of extracted layers that stay because they may be in use.
fn say_kept(kept: &Kept, io: &Io<'_>) {
    let Kept { n_layers, bytes, why } = kept;
    if *n_layers > 0 {
        let layers = cli::counted(*n_layers, "extracted layer", "extracted layers");
        let size = cli::human_size(*bytes);
        io.warn(&format!(
            "kept {layers} ({size}) that a union may be using: {why}; --force removes them"
        ));
    }
}

/// Runs the command without a store, as if the store were empty.
fn without_store(args: &Args, page: &mut Page<'_>) -> anyhow::Result<()> {
    let wanted = match &args.action {
        None | Some(Action::Digests) => return page.list(&[]),
        Some(Action::Gc { dry_run, .. }) => {
            return page.freed(&Freed::default(), &Kept::default(), sweep(*dry_run));
        }
        Some(Action::Tag { image, .. }) => Some(image),
        Some(Action::Rm { names, .. } | Action::Verify { names }) => names.first(),
    };
    match wanted {
        Some(text) => {
            names::check(text)?;
            Err(names::explain(store::Error::NotFound { text: text.clone() }))
        }
        None => verify::nothing(page),
    }
}

fn sweep(is_dry: bool) -> Sweep {
    if is_dry { Sweep::DryRun } else { Sweep::Remove }
}
