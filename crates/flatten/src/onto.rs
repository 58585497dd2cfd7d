//! The base that the upper layers of an image are squashed onto.

use cli::{Explain as _, Io};
use image::edit::{BASE_DIGEST, BASE_NAME, Format, RawObject, to_oci};
use image::{Choice, Image, Location, Opened, StoredImage};
use layer_format::listing::Tree;
use layer_format::resolve::Layer;
use layer_format::{Descriptor, DiffId, Manifest};
use store::{Hold, Store};

/// An image of the store whose layers are the lowest of another one's.
#[derive(Debug)]
pub(crate) struct Onto {
    pub(crate) image: StoredImage,
    pub(crate) tree: Tree,
    store: Store,
    /// Keeps gc from removing the layers.
    _hold: Option<Hold>,
}

impl Onto {
    /// Finds the base.
    ///
    /// # Errors
    /// Wrong usage, if it isn't below `image`, or all of that; the store doesn't have it, or it can't be read.
    pub(crate) fn find(
        text: &str,
        image: &Image,
        store: Option<&Store>,
        io: &Io<'_>,
    ) -> anyhow::Result<Self> {
        if !Location::from(text).is_stored() {
            return Err(cli::usage(format!("{text}: the base is an image of the store"))
                .hint("load brings an archive or a layout into the store")
                .into());
        }
        let missing = || store::Error::NotFound { text: text.to_owned() };
        let store = store.ok_or_else(missing).hinted(store::Error::hint_in_store)?;
        let platform = Some(&image.config.platform);
        let base = StoredImage::find(text, platform, store, None);
        let base = base.hinted(store::Error::hint_in_store)?;
        check_below(text, base.diff_ids(), image)?;
        let digest = base.manifest.descriptor().digest;
        let hold = store.hold_to_look(&[digest])?;
        let place = Location::Stored(digest.to_string());
        let mut opened = Opened::open(&place, None, Choice::default(), Some(store))?;
        let tree = opened.tree(&io.progress)?;
        Ok(Self { image: base, tree, store: store.clone(), _hold: hold })
    }

    /// The number of its layers.
    pub(crate) fn n_layers(&self) -> usize {
        self.image.diff_ids().len()
    }

    /// The descriptors of its layers, with the media types of an OCI image.
    pub(crate) fn layers(&self) -> anyhow::Result<Vec<RawObject>> {
        let manifest = RawObject::parse(self.image.manifest.raw())?;
        let mut layers: Vec<RawObject> = manifest.read("layers")?;
        layers.iter_mut().try_for_each(to_oci)?;
        Ok(layers)
    }

    /// The annotations of the squashed image: those that it had, and what it is on.
    pub(crate) fn annotations(&self, of_image: Option<&Manifest>) -> anyhow::Result<RawObject> {
        let mut annotations = match of_image.filter(|it| Format::of(it) == Format::Oci) {
            Some(manifest) => RawObject::parse(manifest.raw())?.read("annotations")?,
            None => RawObject::default(),
        };
        annotations.set(BASE_DIGEST, &self.image.manifest.descriptor().digest)?;
        annotations.set_or_remove(BASE_NAME, self.image.name.as_ref())?;
        Ok(annotations)
    }

    /// Calls `pass` with each layer and its stored bytes, which are verified at their end.
    pub(crate) fn pass_layers(
        &self,
        mut pass: impl FnMut(&Descriptor, Box<dyn std::io::Read>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let layers = self.image.manifest.layers.iter().zip(self.image.diff_ids());
        for (blob, diff_id) in layers {
            let layer = Layer { blob: blob.clone(), diff_id: *diff_id }.into();
            pass(blob, image::stored_layer(&self.store, &layer)?)?;
        }
        Ok(())
    }
}

/// Checks that the layers of the base are the lowest of the image, and not all.
fn check_below(base: &str, below: &[DiffId], image: &Image) -> anyhow::Result<()> {
    let layers: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
    let differs = layers.iter().zip(below).position(|(one, other)| one != other);
    let reason = match differs {
        Some(at) => {
            format!(
                "the image is not on {base}: layer {} is {}, and not {}",
                at + 1,
                layers[at],
                below[at]
            )
        }
        None if layers.len() > below.len() => return Ok(()),
        None => {
            let n = cli::counted(layers.len() as u64, "layer", "layers");
            format!("the image has {n}, and {base} has {}: there is nothing above it", below.len())
        }
    };
    Err(cli::usage(reason).hint("inspect --layers shows the diff ids of both").into())
}
