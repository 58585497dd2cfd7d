//! What the directory was: an image's tree, another directory's, or nothing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Explain as _, Io, usage};
use image::{Choice, Location, Opened};
use layer_format::Digest;
use layer_format::listing::Tree;
use rootfs::{Attributes, Diff, DiffOptions, IdMaps, Identity, Mounts, Root, Scan, ScanOptions};
use store::{DirectoryId, Origin, Store};

use crate::volumes::Volumes;

/// Which base is meant.
#[derive(Debug)]
pub(crate) enum BaseName {
    /// Nothing was there before.
    Scratch,
    /// An image or a directory.
    At(Location),
}

/// What was there before.
#[derive(Debug)]
pub(crate) struct Base {
    /// What it holds, as far as it is [wanted](Wanted); `None` for scratch.
    pub(crate) tree: Option<Tree>,
    /// The digest that the layer names its base by: that of the image's manifest, if it is an image that has one.
    pub(crate) manifest: Option<Digest>,
    /// Its volumes, if it is an image.
    pub(crate) volumes: Volumes,
    /// Where the contents of its files can be read.
    pub(crate) contents: Contents,
}

/// Where the contents of a base's files can be read.
#[derive(Debug)]
pub(crate) enum Contents {
    /// There are none.
    Scratch,
    /// The image can't be read a second time, or nothing [asked](BaseOptions::with_contents) for it.
    Unavailable,
    Image(Box<Opened>),
    Directory(Root),
}

/// How a base is found and read.
#[derive(Debug)]
pub(crate) struct BaseOptions<'a> {
    /// The user's store, if there is one.
    pub(crate) store: Option<&'a Store>,
    /// Which image of an archive or an index.
    pub(crate) choice: Choice,
    /// Whether a scan of a base that is a directory enters mounts.
    pub(crate) mounts: Mounts,
    /// The ids on the disk of a base that is a directory.
    pub(crate) ids: Option<IdMaps>,
    /// The owner of the files of a base that is a directory, if the process can't know their owners.
    pub(crate) default_owner: Option<(u32, u32)>,
    /// Whether contents are compared, for which an image is read again.
    pub(crate) with_contents: bool,
    /// Whether the volumes of an image are compared like anything else.
    pub(crate) keeps_volumes: bool,
    /// What must be known of an image below an upper directory.
    pub(crate) wanted: Wanted,
}

/// What must be known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All that it holds.
    All,
    /// The attributes of its root directory.
    Root,
}

/// Opens the store, if it exists: the one at `path`, or else the user's usual one.
///
/// # Errors
/// Those of [`Store::open_named`], if the base is in the store or is looked up there; otherwise it can do without one.
pub(crate) fn open_store(path: Option<&Path>, is_needed: bool) -> anyhow::Result<Option<Store>> {
    match Store::open_named(path) {
        Err(_) if !is_needed => Ok(None),
        store => store.hinted(store::Error::hint),
    }
}

/// The image that a directory was unpacked from, as the store remembers it.
pub(crate) fn origin(dir: &Root, store: &Store) -> Option<Origin> {
    store.origin(&DirectoryId::of(dir).ok()?)
}

impl From<&str> for BaseName {
    /// Parses a value of `--base`.
    fn from(text: &str) -> Self {
        if text == "scratch" { Self::Scratch } else { Self::At(Location::from(text)) }
    }
}

impl BaseName {
    /// The image that the store has noted.
    pub(crate) fn of_origin(origin: &Origin) -> Self {
        Self::At(Location::Stored(origin.manifest.to_string()))
    }
}

impl Base {
    /// Nothing.
    pub(crate) const SCRATCH: Self =
        Self { tree: None, manifest: None, volumes: Volumes::NONE, contents: Contents::Scratch };
}

impl BaseOptions<'_> {
    /// Finds a base and reads what it holds.
    pub(crate) fn find(self, name: BaseName, io: &mut Io<'_>) -> anyhow::Result<Base> {
        match name {
            BaseName::Scratch => Ok(Base::SCRATCH),
            BaseName::At(Location::Layer(path)) => {
                Err(usage(format!("{}: a layer is no base", clean_path(&path))).into())
            }
            BaseName::At(Location::Dir(path)) => {
                if let Some(doubt) = image::doubt_of_root(&path) {
                    io.warn(&doubt);
                }
                self.directory(&path)
            }
            BaseName::At(Location::Path(path)) if image::is_root_file_system(&path)? => {
                self.directory(&path)
            }
            BaseName::At(location) => self.image(&location, Wanted::All, io),
        }
    }

    /// Finds the image below an upper directory and reads what is [wanted](Self::wanted) of it.
    pub(crate) fn find_below_upper(self, name: BaseName, io: &mut Io<'_>) -> anyhow::Result<Base> {
        match name {
            BaseName::Scratch => Ok(Base::SCRATCH),
            BaseName::At(Location::Dir(_) | Location::Layer(_)) => {
                Err(usage("the base of an upper directory is an image").into())
            }
            BaseName::At(location) => {
                let wanted = self.wanted;
                self.image(&location, wanted, io)
            }
        }
    }

    fn image(self, location: &Location, wanted: Wanted, io: &mut Io<'_>) -> anyhow::Result<Base> {
        let input = location.input(|| io.input.take_image())?;
        let mut opened = Opened::open(location, input, self.choice, self.store).hinted(hint)?;
        let is_read_again = self.with_contents && !location.is_input();
        if !is_read_again {
            opened.read_once();
        }
        let image = opened.image();
        image.doubt.iter().for_each(|doubt| io.warn(doubt));
        let manifest = image.manifest.as_ref().map(|manifest| manifest.descriptor().digest);
        let named = if self.keeps_volumes { BTreeSet::new() } else { image.config.run()?.volumes };
        let root = match self.store.filter(|_| wanted == Wanted::Root) {
            Some(store) => store.listed_root(image.layers.iter().map(|layer| &layer.diff_id))?,
            None => None,
        };
        let tree = match root {
            Some(root) => root,
            None => opened.tree(&io.progress)?,
        };
        let contents = if is_read_again {
            Contents::Image(Box::new(opened))
        } else {
            opened.finish()?;
            Contents::Unavailable
        };
        let volumes = Volumes::of(&named, &tree);
        Ok(Base { tree: Some(tree), manifest, volumes, contents })
    }

    /// Another directory, as the first layer of an image would hold it.
    fn directory(self, path: &Path) -> anyhow::Result<Base> {
        let root = Root::open(path)?.with_ids(self.ids.clone());
        let stop = &cli::interrupt::requested;
        let options = ScanOptions { leave_out: None, mounts: self.mounts, known: None, stop };
        let scan = Scan::read(&root, &options).with_context(|| clean_path(path))?;
        let identity = Identity::of_scan(&scan);
        let options = DiffOptions {
            ignore: Attributes::default(),
            default_owner: self.default_owner.filter(|_| !identity.knows_owners()),
            identity,
            leave_out: None,
        };
        let diff = Diff::new(None, &scan, options).with_context(|| clean_path(path))?.finish();
        let mut tree = Tree::new();
        tree.begin_layer();
        for difference in diff.differences() {
            tree.apply(&difference.change)?;
        }
        let contents = Contents::Directory(root);
        Ok(Base { tree: Some(tree), manifest: None, volumes: Volumes::NONE, contents })
    }
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
