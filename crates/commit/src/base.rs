//! What the new layer goes on top of: nothing, or an image.

use cli::{Code, Explain as _, Failure};
use image::edit::Format;
use image::{Location, StoredImage};
use layer_format::{Digest, Platform};
use store::Lease;

/// The value of `--base` for an image without a base.
pub(crate) const SCRATCH: &str = "scratch";

/// What is below the new layer.
#[derive(Debug)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An image.
    Image(Box<StoredImage>),
}

impl Base {
    /// Finds the image of the store that `text` names, and keeps it from gc. `hint` says what to do about one that is elsewhere.
    ///
    /// # Errors
    /// Wrong usage, if it isn't a name for the store; the store's.
    pub(crate) fn find(
        text: &str,
        platform: Option<&Platform>,
        lease: &Lease,
        hint: &str,
    ) -> anyhow::Result<Self> {
        if text == SCRATCH {
            return Ok(Self::Scratch);
        }
        if !matches!(Location::from(text), Location::Stored(_)) {
            return Err(cli::usage(format!("{text}: the base is an image of the store"))
                .hint(hint)
                .into());
        }
        let image = StoredImage::find(text, platform, lease.store(), Some(lease))
            .hinted(store::Error::hint_in_store)?;
        Ok(Self::Image(Box::new(image)))
    }

    /// The base, from what `--base` names and the manifest that the layer says it was taken against.
    ///
    /// # Errors
    /// Wrong usage, if both are there and differ, or neither is there.
    pub(crate) fn settle(
        named: Option<Self>,
        of_layer: Option<Digest>,
        find: impl FnOnce(&str) -> anyhow::Result<Self>,
    ) -> anyhow::Result<Self> {
        match (named, of_layer) {
            (Some(base), None) => Ok(base),
            (Some(base), Some(digest)) if base.digest() == Some(digest) => Ok(base),
            (Some(base), Some(digest)) => Err(mismatch(&base, &digest).into()),
            (None, Some(digest)) => find(&digest.to_string()),
            (None, None) => Err(cli::usage("the layer doesn't say which image it belongs on")
                .hint("name the image below it with --base IMAGE, or --base scratch")
                .into()),
        }
    }

    /// The format that the image has unless another one is asked for: the base's.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Image(image) => Format::of(&image.manifest),
            Self::Scratch => Format::Oci,
        }
    }

    /// The number of its layers.
    pub(crate) fn n_layers(&self) -> usize {
        match self {
            Self::Scratch => 0,
            Self::Image(image) => image.diff_ids().len(),
        }
    }

    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Scratch => None,
            Self::Image(image) => Some(image.manifest.descriptor().digest),
        }
    }
}

fn mismatch(base: &Base, of_layer: &Digest) -> Failure {
    let base = base.digest().map_or_else(|| SCRATCH.to_owned(), |digest| digest.to_string());
    Failure::new(Code::Usage, format!("the layer was taken against {of_layer}, not {base}"))
        .hint("leave --base out, or take the layer against that base: snapshot DIR --base IMAGE")
}
