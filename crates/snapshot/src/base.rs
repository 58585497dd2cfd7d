//! What the directory was: an image's listing, another directory's, or nothing.

use std::path::Path;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Explain as _, Io, usage};
use image::{Choice, Image, Location, Opened};
use layer_format::Digest;
use layer_format::listing::Tree;
use rootfs::{Diff, DiffOptions, Identity, Mounts, Root, Scan, ScanOptions};
use store::{Origin, Store};

use crate::Args;

/// What was there before.
#[derive(Debug)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An image.
    Image { image: Box<Image>, tree: Tree },
    /// Another directory.
    Directory { root: Root, tree: Tree },
}

impl Base {
    /// Finds what the arguments mean, or what the store remembers of the directory. An image stays open where contents are
    /// compared as well.
    pub(crate) fn find(
        args: &Args,
        dir: &Root,
        io: &mut Io<'_>,
    ) -> anyhow::Result<(Self, Option<Opened>)> {
        let store = open_store(args)?;
        let place = place(args, dir, store.as_ref())?;
        match place {
            None => Ok((Self::Scratch, None)),
            Some(Location::Layer(path)) => {
                Err(usage(format!("{}: a layer is no base", clean_path(&path))).into())
            }
            Some(Location::Dir(path)) => Ok((directory(args, &path)?, None)),
            Some(Location::Path(path)) if is_plain_directory(&path)? => {
                Ok((directory(args, &path)?, None))
            }
            Some(place) => image(args, &place, store, Wanted::All, io),
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
    Some(Location::Stored(origin(dir, store?)?.manifest.to_string()))
}

/// What the store remembers of a directory.
fn origin(dir: &Root, store: &Store) -> Option<Origin> {
    store.origin(&store::DirectoryId::of(dir).ok()?)
}

/// What a directory can tell, given what the store remembers that unpack could not make or set there. Without a store,
/// nothing is remembered.
pub(crate) fn as_noted(identity: Identity, args: &Args, dir: &Root) -> Identity {
    let store = open_store(args).ok().flatten();
    let Some(origin) = store.and_then(|store| origin(dir, &store)) else { return identity };
    let identity = if origin.lacks_devices { identity.without_devices() } else { identity };
    if origin.lacks_xattrs { identity.without_xattrs() } else { identity }
}

/// Whether it is a root file system, and no OCI layout.
fn is_plain_directory(path: &Path) -> anyhow::Result<bool> {
    Ok(path.is_dir() && Store::open_existing(path)?.is_none())
}

/// What of an image must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All that it holds.
    All,
    /// The attributes of its root directory.
    Root,
}

/// An image, and what is wanted of it; open where contents are compared as well.
pub(crate) fn image(
    args: &Args,
    place: &Location,
    store: Option<Store>,
    wanted: Wanted,
    io: &mut Io<'_>,
) -> anyhow::Result<(Base, Option<Opened>)> {
    let choice = Choice { name: args.image.clone(), platform: args.platform.clone() };
    let input = place.input(|| io.input.take_image())?;
    let mut opened = Opened::open(place, input, choice, store.as_ref()).hinted(hint)?;
    let is_read_again = args.checksum && !place.is_input();
    if !is_read_again {
        opened.read_once();
    }
    let image = Box::new(opened.image().clone());
    image.doubt.iter().for_each(|doubt| io.warn(doubt));
    let root = match store.filter(|_| wanted == Wanted::Root) {
        Some(store) => store.listed_root(image.layers.iter().map(|layer| &layer.diff_id))?,
        None => None,
    };
    let tree = match root {
        Some(root) => root,
        None => opened.tree(&io.progress)?,
    };
    let base = Base::Image { image, tree };
    if is_read_again {
        return Ok((base, Some(opened)));
    }
    opened.finish()?;
    Ok((base, None))
}

/// Another directory, as the first layer of an image would hold it.
fn directory(args: &Args, path: &Path) -> anyhow::Result<Base> {
    let root = Root::open(path)?;
    let mounts = if args.one_file_system { Mounts::Pass } else { Mounts::Enter };
    let stop = &cli::interrupt::requested;
    let options = ScanOptions { leave_out: None, mounts, known: None, stop };
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
        store::Error::At { source, .. } => hint(source),
        store::Error::NotFound { text } if text.starts_with("sha256:") => {
            let hint = "the image has gone from the store; pull it again, or give another --base";
            Some(hint.to_owned())
        }
        _ => error.hint(),
    }
}
