//! What the directory was: an image's listing, another directory's, or nothing.

use std::path::Path;

use anyhow::Context as _;
use cli::interrupt::Stopping;
use cli::report::clean_path;
use cli::{Explain as _, Io, usage};
use layer_format::Digest;
use layer_format::archive::{Choice, Image};
use layer_format::listing::Tree;
use rootfs::{Diff, DiffOptions, Identity, Mounts, Root, Scan, ScanOptions};
use store::{Location, Source, Store};

use crate::Args;

/// What was there before.
#[derive(Debug)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An image, as far as its layers' listings tell.
    Image { place: Location, image: Box<Image>, store: Option<Store>, tree: Tree },
    /// Another directory.
    Directory { root: Root, tree: Tree },
}

impl Base {
    /// Finds what the arguments mean, or what the store remembers of the directory.
    pub(crate) fn find(args: &Args, dir: &Root, io: &mut Io<'_>) -> anyhow::Result<Self> {
        let store = open_store(args)?;
        let place = place(args, dir, store.as_ref())?;
        match place {
            None => Ok(Self::Scratch),
            Some(Location::Layer(path)) => {
                Err(usage(format!("{}: a layer is no base", clean_path(&path))).into())
            }
            Some(Location::Dir(path)) => directory(args, &path),
            Some(Location::Path(path)) if is_plain_directory(&path)? => directory(args, &path),
            Some(place) => image(args, place, store, Wanted::All, io),
        }
    }

    /// What the base holds, as far as it was [wanted](Wanted); none where it is scratch.
    pub(crate) fn tree(&self) -> Option<&Tree> {
        match self {
            Self::Scratch => None,
            Self::Image { tree, .. } | Self::Directory { tree, .. } => Some(tree),
        }
    }

    /// The digest that the layer names its base by.
    pub(crate) fn manifest(&self) -> Option<Digest> {
        match self {
            Self::Image { image, .. } => {
                image.manifest.as_ref().map(|manifest| manifest.descriptor().digest)
            }
            Self::Scratch | Self::Directory { .. } => None,
        }
    }
}

/// The store, if there is one. It may not be there where the base is somewhere else.
pub(crate) fn open_store(args: &Args) -> anyhow::Result<Option<Store>> {
    let path = Store::path_or_usual(args.common.store.as_deref());
    Ok(path.and_then(Store::open_existing)?)
}

/// Where the base is; none for scratch.
fn place(args: &Args, dir: &Root, store: Option<&Store>) -> anyhow::Result<Option<Location>> {
    match args.base.as_deref() {
        Some("scratch") => Ok(None),
        Some(text) => Ok(Some(Location::from(text))),
        None => noted(dir, store).map(Some).ok_or_else(|| {
            usage("nothing is noted of what this directory was")
                .hint("say so with --base IMAGE, --base DIR or --base scratch")
                .into()
        }),
    }
}

/// The image that a directory was unpacked from, as the store remembers it.
pub(crate) fn noted(dir: &Root, store: Option<&Store>) -> Option<Location> {
    let origin = store?.origin(&store::Target::of(dir).ok()?)?;
    Some(Location::Stored(origin.manifest.to_string()))
}

/// Whether it is a root file system, and no OCI layout.
fn is_plain_directory(path: &Path) -> anyhow::Result<bool> {
    Ok(path.is_dir() && Store::open_existing(path)?.is_none())
}

/// Opens what holds an image. Standard input can be had only once.
pub(crate) fn open(
    place: &Location,
    store: Option<&Store>,
    io: &mut Io<'_>,
) -> anyhow::Result<Source> {
    match place {
        Location::Input => {
            let input = io.input.take_binary()?;
            let file = input.as_regular_file().map(std::fs::File::try_clone).transpose();
            let file = file.context("opening standard input")?;
            Source::from_input(input, file, store).context("standard input")
        }
        Location::Archive(path) => Ok(Source::archive(path, store)?),
        Location::Layout(path) => Ok(Source::layout(path)?),
        Location::Path(path) | Location::Dir(path) | Location::Layer(path) => {
            Ok(Source::at(path, store)?)
        }
        Location::Stored(name) => match store {
            Some(store) => Ok(Source::stored(store.clone(), name.clone())),
            None => Err(store::Error::NotFound { text: name.clone() }).hinted(hint),
        },
    }
}

/// Finds the image that is meant.
pub(crate) fn choose(source: &mut Source, args: &Args) -> anyhow::Result<Image> {
    let choice = Choice { name: args.image.clone(), platform: args.platform.clone() };
    source.image(&choice).hinted(hint)
}

/// What of an image must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All that it holds.
    All,
    /// The attributes of its root directory.
    Root,
}

/// An image, and what is wanted of it.
pub(crate) fn image(
    args: &Args,
    place: Location,
    store: Option<Store>,
    wanted: Wanted,
    io: &mut Io<'_>,
) -> anyhow::Result<Base> {
    let mut source = open(&place, store.as_ref(), io)?;
    let image = choose(&mut source, args)?;
    image.doubt.iter().for_each(|doubt| io.warn(doubt));
    let root = match store.as_ref().filter(|_| wanted == Wanted::Root) {
        Some(store) => store.listed_root(image.layers.iter().map(|layer| &layer.diff_id))?,
        None => None,
    };
    let tree = match root {
        Some(root) => root,
        None => read_tree(&mut source, &image, store.as_ref(), io)?,
    };
    source.finish()?;
    Ok(Base::Image { place, image: Box::new(image), store, tree })
}

/// All that an image holds: from the listings in the store, or from its layers.
fn read_tree(
    source: &mut Source,
    image: &Image,
    store: Option<&Store>,
    io: &Io<'_>,
) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    for (position, layer) in image.layers.iter().enumerate() {
        let listed = store.map(|store| store.add_listed(&mut tree, &layer.diff_id));
        if listed.transpose()?.unwrap_or_default() {
            continue;
        }
        let name = || image.layer_name(position);
        let task = io.progress.task(layer.digest().short(), layer.size());
        task.state("Reading");
        let stored = source.layer(image, position).with_context(name)?;
        let stored = Stopping(task.read(stored));
        store::add_layer(&mut tree, layer, stored, store).with_context(name)?;
        task.done("Read");
    }
    Ok(tree)
}

/// Another directory, as the first layer of an image would hold it.
fn directory(args: &Args, path: &Path) -> anyhow::Result<Base> {
    let root = Root::open(path)?;
    let mounts = if args.one_file_system { Mounts::Pass } else { Mounts::Enter };
    let options = ScanOptions { leave_out: None, mounts, stop: &cli::interrupt::requested };
    let scan = Scan::read(&root, &options).with_context(|| clean_path(path))?;
    let identity = Identity::of_scan(&scan);
    let options = DiffOptions {
        ignore: rootfs::Attributes::default(),
        default_owner: args.default_owner.filter(|_| !identity.knows_owners()),
        identity,
        leave_out: None,
    };
    let diff = Diff::new(None, &scan, options).with_context(|| clean_path(path))?.finish();
    let mut tree = Tree::new();
    tree.begin_layer();
    for difference in diff.differences() {
        tree.apply(&difference.change)?;
    }
    Ok(Base::Directory { root, tree })
}

/// What to do about an image that isn't there, or is one of several.
fn hint(error: &store::Error) -> Option<String> {
    match error {
        store::Error::NotFound { text } if text.starts_with("sha256:") => {
            let hint = "the image has gone from the store; pull it again, or give another --base";
            Some(hint.to_owned())
        }
        _ => error.hint(),
    }
}
