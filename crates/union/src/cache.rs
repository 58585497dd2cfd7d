//! An image's layers in the cache: what is missing is extracted, and all of it is kept from gc until it is mounted.
//!
//! | what | key |
//! |---|---|
//! | a layer that stands alone | its diff id |
//! | any other layer | its chain ID: what it is depends on the layers below |
//! | on top, the root directory's attributes | the key of the layer that describes them |
//! | below all, directories that a command needs | always the same |

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context as _;
use cli::{Explain as _, Io};
use layer_format::Digest;
use layer_format::archive::Image;
use rootfs::overlay::{Control, MAX_LAYERS, Mount};
use rootfs::{Root, Skipped};
use store::{About, Extracted, Hold, LayerDraft, Layers, Lease, Reach, Store};

use crate::extract::{self, Job};
use crate::kind::Kind;
use crate::scaffold;

const WRITABLE: &str = "it takes a store that you may write to: save IMAGE | load --store DIR";

/// Directories to mount on top of each other.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) control: Control,
    /// Top first.
    pub(crate) layers: Vec<Extracted>,
    /// What the system refused to set on those that are new.
    pub(crate) skipped: Skipped,
    /// Keeps them from gc until it is noted that they are mounted; none in a store that nobody can write to.
    lease: Option<Lease>,
}

/// What the lowest directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Nothing: the union is what the image is.
    Bare,
    /// It has what a command's root needs, where the image doesn't have it.
    Scaffold,
}

impl Stack {
    /// That of an image.
    pub(crate) fn of(
        store: &Store,
        image: &Image,
        floor: Floor,
        io: &Io<'_>,
    ) -> anyhow::Result<Self> {
        let n_layers = image.layers.len() + 2;
        if n_layers > MAX_LAYERS {
            return Err(rootfs::Error::TooManyLayers { n_layers, most: MAX_LAYERS })
                .hint("unpack it, or commit it anew in fewer layers");
        }
        let kind = Kind::of_process()?;
        let keys = keys(image);
        let floor_key = scaffold::key(floor);
        let every: Vec<_> =
            keys.iter().flat_map(Keys::every).chain([floor_key, root_key(None)]).collect();
        let lease = hold(store, &every, io)?;
        let cache = store.layers(&kind.name);
        for garbage in cache.leftovers()? {
            remove(garbage.path())?;
        }
        let job = Job { store, cache: &cache, control: kind.control };
        let (mut layers, skipped) = image_layers(&job, image, &keys, io)?;
        layers.reverse();
        let root = root_layer(&cache, &layers)?;
        layers.insert(0, root);
        if floor == Floor::Scaffold || image.layers.is_empty() {
            layers.push(made(&cache, floor_key, |root| scaffold::fill(&root, floor))?);
        }
        Ok(Self { control: kind.control, layers, skipped, lease })
    }

    /// Notes that they are mounted, which keeps them from gc for as long as they are.
    pub(crate) fn note(&self, store: &Store, mount: &Mount, reach: Reach) -> anyhow::Result<()> {
        match self.lease {
            Some(_) => Ok(store.note_union(mount.root()?, &self.layers, reach)?),
            None => Ok(()),
        }
    }

    /// Their directories, open.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<Root>> {
        open(self.layers.iter())
    }
}

/// Keeps the layers from gc. A union that gc knows nothing of could lose its files under its programs, so there is none.
fn hold(store: &Store, keys: &[Digest], io: &Io<'_>) -> anyhow::Result<Option<Lease>> {
    match store.hold(keys)? {
        Hold::Held(lease) => Ok(Some(lease)),
        Hold::Without(error) if error.is_read_only() => {
            io.warn(
                "the store is read-only here: where it isn't, images gc may take the layers away",
            );
            Ok(None)
        }
        Hold::Without(error) => Err(error).hint(WRITABLE),
    }
}

/// Opens layers' directories. Of a layer that is there several times only the topmost counts: it covers all that the lower
/// ones could show or hide, and the kernel takes no directory twice.
pub(crate) fn open<'a>(
    top_first: impl Iterator<Item = &'a Extracted>,
) -> anyhow::Result<Vec<Root>> {
    let mut seen = HashSet::new();
    let layers = top_first.filter(|layer| seen.insert(layer.about().key));
    layers.map(|layer| Ok(Root::open(&layer.tree())?)).collect()
}

/// By which keys a layer may be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) diff: Digest,
    pub(crate) chain: Digest,
}

impl Keys {
    fn every(&self) -> [Digest; 4] {
        [self.diff, self.chain, root_key(Some(&self.diff)), root_key(Some(&self.chain))]
    }
}

fn keys(image: &Image) -> Vec<Keys> {
    let next = |below: &mut Option<Digest>, layer: &layer_format::archive::Layer| {
        let chain = Digest::chain(below.as_ref(), &layer.diff_id);
        *below = Some(chain);
        Some(Keys { diff: layer.diff_id.0, chain })
    };
    image.layers.iter().scan(None, next).collect()
}

/// The image's own layers, base first, and what could not be set on the new ones.
fn image_layers(
    job: &Job<'_>,
    image: &Image,
    keys: &[Keys],
    io: &Io<'_>,
) -> anyhow::Result<(Vec<Extracted>, Skipped)> {
    let mut skipped = Skipped::default();
    let mut layers: Vec<Extracted> = vec![];
    for (layer, keys) in image.layers.iter().zip(keys) {
        if let Some(there) = find(job.cache, keys)? {
            layers.push(there);
            continue;
        }
        let task = io.progress.task(layer.digest().short(), layer.size());
        task.state("Extracting");
        let build_lock = job.cache.build_lock(&keys.chain).hint(WRITABLE)?;
        let there = match find(job.cache, keys)? {
            Some(there) => there,
            None => extract::layer(job, (layer, *keys), &layers, &task, &mut skipped)
                .with_context(|| format!("layer {}", layer.digest().short()))?,
        };
        drop(build_lock);
        task.done("Extracted");
        layers.push(there);
    }
    Ok((layers, skipped))
}

fn find(cache: &Layers, keys: &Keys) -> store::Result<Option<Extracted>> {
    let alone = cache.find(&keys.diff)?.filter(|layer| layer.about().stands_alone);
    alone.map_or_else(|| cache.find(&keys.chain), |layer| Ok(Some(layer)))
}

/// The directory whose attributes those of the union's root are: they are the topmost directory's, and most layers don't
/// say what the root is like.
fn root_layer(cache: &Layers, layers: &[Extracted]) -> anyhow::Result<Extracted> {
    let describing = layers.iter().find(|layer| layer.about().describes_root);
    made(cache, root_key(describing.map(|layer| &layer.about().key)), |root| match describing {
        Some(layer) => Ok(rootfs::overlay::copy_attributes(&Root::open(&layer.tree())?, &root)?),
        None => scaffold::fill(&root, Floor::Bare),
    })
}

fn root_key(describing: Option<&Digest>) -> Digest {
    let of = describing.map_or_else(|| "no layer".to_owned(), Digest::to_string);
    Digest::of(format!("root of {of}").as_bytes())
}

/// A directory that is made without a layer, if it isn't there.
fn made(
    cache: &Layers,
    key: Digest,
    fill: impl FnOnce(Root) -> anyhow::Result<()>,
) -> anyhow::Result<Extracted> {
    if let Some(there) = cache.find(&key)? {
        return Ok(there);
    }
    let draft = Draft::begin(cache)?;
    fill(draft.root()?)?;
    draft.finish(About { key, stands_alone: true, describes_root: true, bytes: 0 })
}

/// A layer that is being made; what of it gets no name goes.
pub(crate) struct Draft(LayerDraft);

impl Draft {
    pub(crate) fn begin(cache: &Layers) -> anyhow::Result<Self> {
        Ok(Self(cache.draft()?))
    }

    /// Where it is made.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The layer's directory, open.
    pub(crate) fn root(&self) -> anyhow::Result<Root> {
        Ok(Root::open(&self.0.tree())?)
    }

    pub(crate) fn finish(self, about: About) -> anyhow::Result<Extracted> {
        cli::interrupt::check()?;
        Ok(self.0.finish(about)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it has its name by now, there is nothing. What can't be removed, the next program removes.
        let hold = cli::interrupt::hold();
        drop(remove(self.0.path()));
        drop(hold);
    }
}

/// Removes a directory with all that is in it.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = File::open(parent).context("opening the layer cache")?;
    Ok(rootfs::remove_tree(&parent, name.as_bytes())?)
}
