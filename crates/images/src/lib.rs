//! The `images` command: lists, names, removes and checks the images of the store.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod graph;
mod join;
#[cfg(target_os = "linux")]
mod linux;
mod list;
mod names;
mod page;
mod pattern;
mod prune;
mod verify;

use std::time::Duration;

use cli::{Explain as _, Form, Io};
use layer_format::{Digest, Reference};
use report::{Look, look};
use store::{Freed, IndexEntry, Kept, Proof, Store, Sweep};

#[cfg(not(target_os = "linux"))]
use crate::elsewhere as system;
#[cfg(target_os = "linux")]
use crate::linux as system;
use crate::list::Content;
use crate::names::Names;
use crate::page::Page;
use crate::pattern::Pattern;

/// List the images in the store, name and remove them, and check that they are sound
///
/// Without a subcommand, lists every name with its digest, platform, date and size, and how much of the size other images
/// have too; --quiet prints the digests alone. Removing a name keeps its blobs until `images gc`, which frees whatever no image
/// and no running program needs.
#[derive(clap::Parser, Debug)]
#[command(name = "images", version, after_help = cli::examples(&[
    ("images 'ghcr.io/me/*'", "What is there of these"),
    ("images --lock > images.lock", "The same images elsewhere or later: pull --from-file images.lock"),
    ("images prune --older-than 7d", "Remove what lost its name a week ago, and its blobs"),
    ("images index -t app:2 app:2-amd64 app:2-arm64", "One name for several platforms"),
    ("images rm nginx:1.26 && images gc", "Remove a name, then the blobs that nothing else needs"),
    ("ssh host images digests | save app --have - | ssh host load", "Send only what the other side lacks"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// Only these: names (without a tag, all tags), digests, or patterns of names with * and ?
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(subcommand)]
    action: Option<Action>,
    /// Print digests in full, and all columns, however narrow the terminal is
    #[arg(long, conflicts_with_all = ["json", "null"])]
    no_trunc: bool,
    /// Print name@digest a line, for pull --from-file: with the digest that the registry has for the name
    #[arg(long, conflicts_with_all = ["no_trunc", "json", "null"])]
    lock: bool,
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
    /// Remove the images that have no name, then do what gc does
    ///
    /// An image loses its name when the name moves to another image, for example by a pull. Images that are pulled by digest
    /// have a name.
    Prune {
        /// Only images that came into the store longer ago: 90m, 12h, 7d, 4w
        #[arg(long, value_name = "AGE", value_parser = prune::parse_age)]
        older_than: Option<Duration>,
        /// Only say what would be removed: each image and each blob, and the sums
        #[arg(long)]
        dry_run: bool,
    },
    /// Join images of several platforms under one name; prints the digest of the index
    ///
    /// Of an index, all its images are taken. Their blobs stay as they are.
    Index {
        /// The name of the whole
        #[arg(short, long, value_name = "NAME")]
        tag: Reference,
        /// Annotate the index
        #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = cli::parse_annotation)]
        annotations: Vec<(String, String)>,
        /// The images: names, digests, or the first digits of one
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Remove the blobs that no image needs and the extracted layers that nobody has mounted; safe beside running programs
    Gc {
        /// Only say what would be freed: each blob, and the sums
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
    Digests {
        /// Also those of blobs that no image has, for example of a load that broke off. gc removes them at any time
        #[arg(long)]
        all: bool,
    },
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<layer_format::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    if let (Some(_), [name, ..]) = (&args.action, &args.names[..]) {
        let message = format!("{name}: names come after the subcommand");
        return Err(cli::usage(message).into());
    }
    let form = Form::of(args.json, args.null);
    // Listing images makes no store.
    let store = match Store::open_named(args.common.store.as_deref()) {
        // Where no store is, a sender may send everything.
        Err(store::Error::NoStore { .. })
            if matches!(args.action, Some(Action::Digests { .. })) =>
        {
            None
        }
        store => store.hinted(store::Error::hint_in_store)?,
    };
    let Some(store) = store else { return without_store(args, io) };
    let mut page = Page { output: &mut io.output, form };
    match &args.action {
        None => {
            let content = match (args.common.quiet, args.no_trunc) {
                _ if args.lock => Content::Lock,
                (true, _) => Content::Digests,
                (false, true) => Content::ImagesInFull,
                (false, false) => Content::Images,
            };
            list::list(&store, &args.patterns()?, content, &mut page)
        }
        Some(Action::Tag { image, name }) => names::tag(&store, image, name, &mut page),
        Some(Action::Rm { names, force }) => {
            let allowed = if *force { Names::Several } else { Names::One };
            names::remove(&store, names, allowed, &mut page)
        }
        Some(Action::Prune { older_than, dry_run }) => {
            prune::prune(&store, *older_than, sweep(*dry_run), io, form)
        }
        Some(Action::Index { tag, annotations, images }) => {
            join::Join { name: tag, annotations, images }.run(&store, io, form)
        }
        Some(Action::Gc { dry_run, force }) => {
            let sweep = sweep(*dry_run);
            let proof = if *force { Proof::Waived } else { Proof::Needed };
            let found = gc(&store, &[], sweep, proof)?;
            page.freed(&found, sweep)?;
            say_kept(&found.kept, io);
            Ok(())
        }
        Some(Action::Verify { names }) => verify::verify(&store, names, io, form),
        Some(Action::Digests { all }) => list::digests(&store, *all, &mut page),
    }
}

impl Args {
    fn patterns(&self) -> Result<Vec<Pattern>, cli::Failure> {
        self.names.iter().map(|name| Pattern::parse(name)).collect()
    }
}

/// What gc has removed, or would remove.
#[derive(Debug, Default)]
struct Swept {
    freed: Freed,
    kept: Kept,
    /// In a dry run, each blob that would be removed, with its size in bytes.
    blobs: Vec<(Digest, u64)>,
}

/// Removes blobs that no image needs, and extracted layers that no union has mounted. `going` are images that a dry run takes for
/// removed.
fn gc(store: &Store, going: &[IndexEntry], sweep: Sweep, proof: Proof) -> anyhow::Result<Swept> {
    if sweep == Sweep::Remove && proof == Proof::Needed {
        store.check_medium().hinted(store::Error::hint)?;
    }
    let mut blobs = vec![];
    let mut freed = match sweep {
        Sweep::Remove => store.gc(sweep)?,
        Sweep::DryRun => store.gc_without(going, &mut |digest, size| blobs.push((digest, size)))?,
    };
    blobs.sort_unstable();
    let collected = store.collect_layers(sweep, proof)?;
    freed.n_layers += collected.n_layers;
    freed.bytes += collected.bytes;
    for garbage in &collected.garbage {
        system::remove_tree(garbage.path())?;
    }
    Ok(Swept { freed, kept: collected.kept, blobs })
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
fn without_store(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let page = &mut Page { output: &mut io.output, form: Form::of(args.json, args.null) };
    let wanted = match &args.action {
        None => {
            let missing = args.patterns()?.into_iter().find(|pattern| !pattern.is_glob);
            missing.map(|pattern| pattern.to_string())
        }
        Some(Action::Digests { .. }) => None,
        Some(Action::Gc { dry_run, .. }) => {
            return page.freed(&Swept::default(), sweep(*dry_run));
        }
        Some(Action::Prune { dry_run, .. }) => {
            return page.pruned(&[], &Swept::default(), sweep(*dry_run));
        }
        Some(Action::Tag { image, .. }) => Some(image.clone()),
        Some(Action::Index { images: names, .. } | Action::Rm { names, .. }) => {
            names.first().cloned()
        }
        Some(Action::Verify { names }) => match names.first() {
            Some(name) => Some(name.clone()),
            None => return verify::nothing(page),
        },
    };
    let Some(text) = wanted else { return page.list(&[]) };
    names::check(&text)?;
    Err(names::explain(store::Error::NotFound { text }))
}

fn sweep(is_dry: bool) -> Sweep {
    if is_dry { Sweep::DryRun } else { Sweep::Remove }
}
