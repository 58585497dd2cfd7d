//! An image's layers in the cache: what is missing is extracted, and all of it is kept from gc until it is mounted.

use anyhow::Context as _;
use cli::{Explain as _, Io};
use layer_format::Digest;
use rootfs::overlay::{Control, MAX_LAYERS};
use rootfs::{Root, Skipped};
use store::{About, Extracted, Hold, Layers, Lease, Reach, Store};
use stream::archive::Image;

use crate::directory::{Draft, open, remove};
use crate::extract::{self, Job};
use crate::floor::Floor;
use crate::keys::{Keys, Kind, keys, root_key};

/// The hint when the layer cache can't be written to.
const WRITABLE: &str = "it takes a store that you may write to: save IMAGE | load --store DIR";

/// The directories that a union is mounted from.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) control: Control,
    /// Top first.
    pub(crate) layers: Vec<Extracted>,
    /// The attributes that the system refused to set on layers that are new.
    pub(crate) skipped: Skipped,
    /// Keeps the layers from gc until the store knows that they are mounted; `None` if the store is read-only.
    lease: Option<Lease>,
}

impl Stack {
    /// The stack of an image; extracts those of its layers that the cache lacks.
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
        let floor_key = floor.key();
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
            layers.push(made(&cache, floor_key, |root| floor.fill(&root))?);
        }
        Ok(Self { control: kind.control, layers, skipped, lease })
    }

    /// Records in the store that the layers are mounted, which keeps them from gc while they are.
    pub(crate) fn note(&self, store: &Store, root: Root, reach: Reach) -> anyhow::Result<()> {
        match self.lease {
            Some(_) => Ok(store.note_union(root, &self.layers, reach)?),
            None => Ok(()),
        }
    }

    /// Opens the directories, top first.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<Root>> {
        open(self.layers.iter())
    }
}

/// Keeps the layers from gc. Without that, gc could remove files of a mounted union, so the union is refused; only a
/// read-only store is used anyway, with a warning.
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

/// The image's own layers, base first, and the attributes that could not be set on new ones.
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
            None => extract::layer(job, layer, *keys, &layers, &task, &mut skipped)
                .with_context(|| format!("layer {}", layer.digest().short()))?,
        };
        drop(build_lock);
        task.done("Extracted");
        layers.push(there);
    }
    Ok((layers, skipped))
}

/// The layer under one of its keys, if it has been extracted.
fn find(cache: &Layers, keys: &Keys) -> store::Result<Option<Extracted>> {
    let alone = cache.find(&keys.diff)?.filter(|layer| layer.about().stands_alone);
    alone.map_or_else(|| cache.find(&keys.chain), |layer| Ok(Some(layer)))
}

/// The topmost directory of the stack, whose attributes the union's root has: those that the topmost layer which describes the
/// root gives it.
fn root_layer(cache: &Layers, layers: &[Extracted]) -> anyhow::Result<Extracted> {
    let describing = layers.iter().find(|layer| layer.about().describes_root);
    made(cache, root_key(describing.map(|layer| &layer.about().key)), |root| match describing {
        Some(layer) => Ok(rootfs::overlay::copy_attributes(&Root::open(&layer.tree())?, &root)?),
        None => Floor::Bare.fill(&root),
    })
}

/// A directory of the cache that is made without a layer; `fill` is only called if the cache lacks it.
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
