//! The image, the base that it is on, and the one that it is to be on.

use anyhow::Context as _;
use cli::text::clean;
use cli::{Code, Explain as _, Failure};
use image::edit::{BASE_DIGEST, BASE_NAME, RawObject};
use image::{Location, StoredImage};
use layer_format::listing::Tree;
use layer_format::{DiffId, Digest, Platform, Reference};
use store::{Lease, Store};

use crate::Args;

/// The value of `--from` for an image of which all layers are its own.
const SCRATCH: &str = "scratch";

/// An image, and the user's word for it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) image: StoredImage,
    pub(crate) said: String,
}

/// The three images of a rebase.
#[derive(Debug)]
pub(crate) struct Bases {
    pub(crate) image: Named,
    /// What the image is on; `None` for scratch.
    pub(crate) old: Option<Named>,
    pub(crate) new: Named,
    /// Whether the user said what the image is on.
    was_named: bool,
}

/// What an image says about its base.
#[derive(Debug, Default)]
struct Recorded {
    digest: Option<String>,
    name: Option<String>,
}

impl Bases {
    /// Finds the images. All are for the image's platform.
    ///
    /// # Errors
    /// One of them isn't in the store, or the image doesn't say what it is on.
    pub(crate) fn find(args: &Args, store: &Store, lease: Option<&Lease>) -> anyhow::Result<Self> {
        let image = Named::find(&args.image, args.platform.as_ref(), store, lease)?;
        Self::below(image, args, store, lease)
    }

    /// Finds the bases of one of the images of an index.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub(crate) fn of_member(
        image: &StoredImage,
        args: &Args,
        (store, lease): (&Store, &Lease),
    ) -> anyhow::Result<Self> {
        let image = Named::sound(image.clone(), args.image.clone())?;
        Self::below(image, args, store, Some(lease))
    }

    fn below(
        image: Named,
        args: &Args,
        store: &Store,
        lease: Option<&Lease>,
    ) -> anyhow::Result<Self> {
        let find = |text: &str| {
            let platform = &image.image.config.platform;
            Named::find(text, Some(platform), store, lease)
                .map_err(|error| for_another_platform(error, text, &image))
        };
        if args.onto == SCRATCH {
            return Err(cli::usage("--onto scratch: a base is an image").into());
        }
        let new = find(&args.onto)?;
        let old = match args.from.as_deref() {
            Some(SCRATCH) => None,
            Some(text) => Some(find(text)?),
            None => Some(recorded(&image, store, lease)?),
        };
        Ok(Self { image, old, new, was_named: args.from.is_some() })
    }

    /// The number of layers of the base that the image is on.
    pub(crate) fn n_old(&self) -> usize {
        self.old.as_ref().map_or(0, |old| old.image.diff_ids().len())
    }

    /// The diff ids of the new image, base first.
    pub(crate) fn diff_ids(&self) -> Vec<DiffId> {
        let own = &self.image.image.diff_ids()[self.n_old()..];
        [self.new.image.diff_ids(), own].concat()
    }

    /// Checks that the image can be put on the new base.
    ///
    /// # Errors
    /// The old base isn't below the image, the platforms differ, or the new base is itself on the image; if the store remembers
    /// what all layers hold, also if an own layer links to a file that the new base doesn't have.
    pub(crate) fn check(&self, store: &Store) -> anyhow::Result<()> {
        self.check_old()?;
        let (image, new) = (&self.image, &self.new);
        let (is, wanted) = (&new.image.config.platform, &image.image.config.platform);
        if wanted.rank(is) != Some(0) || is.rank(wanted) != Some(0) {
            return Err(other_platform(&new.said, &is.to_string(), image).into());
        }
        let all = image.image.diff_ids();
        if all.len() > self.n_old() && new.image.diff_ids().starts_with(all) {
            let text = format!("{} has all layers of {} already", new.said, image.said);
            return Err(cli::usage(text).into());
        }
        self.check_links(store)
    }

    /// Checks that the layers of the old base are the lowest of the image.
    fn check_old(&self) -> anyhow::Result<()> {
        let Some(old) = &self.old else { return Ok(()) };
        let (image, below) = (self.image.image.diff_ids(), old.image.diff_ids());
        let differs = image.iter().zip(below).position(|(one, other)| one != other);
        let reason = match differs {
            Some(at) => {
                format!("layer {} is {}, and not {}", at + 1, image[at], below[at])
            }
            None if image.len() < below.len() => {
                let (n, n_below) = (layers(image.len()), below.len());
                format!("it has {n}, and {} has {n_below}", old.said)
            }
            None => return Ok(()),
        };
        let text = format!("{} is not on {}: {reason}", self.image.said, old.said);
        let code = if self.was_named { Code::Usage } else { Code::Failed };
        let failure = Failure::new(code, text);
        let new = self.new.image.diff_ids();
        Err(if image.starts_with(new) && !new.is_empty() {
            failure.hint(format!("it is on {}", self.new.said))
        } else if self.was_named {
            failure.hint("inspect --layers shows the diff ids of both")
        } else {
            failure.hint("--from IMAGE says what it is on")
        }
        .into())
    }

    /// Checks, if the store remembers what all layers hold, that hard links of the image's own lead to something.
    fn check_links(&self, store: &Store) -> anyhow::Result<()> {
        let n_below = self.new.image.diff_ids().len();
        let mut tree = Tree::new();
        for (position, diff_id) in self.diff_ids().iter().enumerate() {
            let listed = store.add_listed(&mut tree, diff_id);
            let is_known = listed.or_else(|error| {
                if position < n_below {
                    return Err(error).context(self.new.said.clone());
                }
                let number = self.n_old() + position - n_below + 1;
                let (image, new) = (&self.image.said, &self.new.said);
                let text = format!("layer {number} of {image} can't be on {new}");
                Err(Failure::new(Code::Failed, text).because(error).into())
            })?;
            if !is_known {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What the new image consists of.
    pub(crate) fn summary(&self) -> String {
        let n_own = self.image.image.diff_ids().len() - self.n_old();
        let new = layers(self.new.image.diff_ids().len());
        let old = match &self.old {
            Some(old) => format!("{} of {}", self.n_old(), old.said),
            None => "none".to_owned(),
        };
        format!("{new} of {} instead of {old}, and {n_own} of its own", self.new.said)
    }
}

impl Named {
    fn find(
        text: &str,
        platform: Option<&Platform>,
        store: &Store,
        lease: Option<&Lease>,
    ) -> anyhow::Result<Self> {
        if !matches!(Location::from(text), Location::Stored(_)) {
            return Err(cli::usage(format!("{text}: only images of the store can be rebased"))
                .hint("load brings an archive or a layout into the store")
                .into());
        }
        let image = StoredImage::find(text, platform, store, lease);
        Self::sound(image.hinted(store::Error::hint_in_store)?, text.to_owned())
    }

    /// An image whose config is what readers expect.
    fn sound(image: StoredImage, said: String) -> anyhow::Result<Self> {
        image.config.run().with_context(|| said.clone())?;
        Ok(Self { image, said })
    }
}

/// What is said about a base of which there is no image for the platform of `image`.
fn for_another_platform(error: anyhow::Error, base: &str, image: &Named) -> anyhow::Error {
    let of_format = error.chain().find_map(|link| link.downcast_ref::<store::Error>()?.of_format());
    match of_format {
        Some(layer_format::Error::NoPlatform { present, .. }) => {
            other_platform(base, &present.join(", "), image).into()
        }
        _ => error,
    }
}

fn other_platform(base: &str, is: &str, image: &Named) -> Failure {
    let text =
        format!("{base} is for {is}, and {} for {}", image.said, image.image.config.platform);
    Failure::new(Code::NotFound, clean(&text))
}

/// The image that another one says it is on.
///
/// # Errors
/// It doesn't say so, or the store doesn't have that image.
fn recorded(image: &Named, store: &Store, lease: Option<&Lease>) -> anyhow::Result<Named> {
    let Recorded { digest, name } = Recorded::of(&image.image)?;
    let platform = Some(&image.image.config.platform);
    let Some(digest) = digest.and_then(|text| text.parse::<Digest>().ok()) else {
        let text = format!("{} doesn't say which base it is on", image.said);
        let hint = match name.as_deref() {
            Some(SCRATCH) | None => "--from IMAGE says it".to_owned(),
            Some(name) => format!("by its name it is {}: --from says which", clean(name)),
        };
        return Err(cli::usage(text).hint(hint).into());
    };
    let name = name.and_then(|name| name.parse::<Reference>().ok());
    let said = match &name {
        Some(name) => format!("{name} ({})", digest.short()),
        None => digest.to_string(),
    };
    match StoredImage::find(&digest.to_string(), platform, store, lease) {
        Ok(found) => Named::sound(found, said),
        Err(store::Error::NotFound { .. }) => {
            let text =
                format!("{}: the base that it is on is not in the store: {said}", image.said);
            let failure = Failure::new(Code::NotFound, text);
            let failure = match name {
                Some(name) => failure.hint(format!(
                    "pull --no-stream {}; its layers are here, so that costs little",
                    name.at(digest)
                )),
                None => failure,
            };
            Err(failure.hint("or --from IMAGE, with an image of the same layers").into())
        }
        Err(error) => Err(error).hinted(store::Error::hint_in_store),
    }
}

impl Recorded {
    /// Reads the annotations of the image, or else its labels, in which some tools say the same.
    fn of(image: &StoredImage) -> Result<Self, layer_format::Error> {
        let annotations = &image.manifest.annotations;
        let of_manifest = |key: &str| annotations.get(key).cloned();
        let found = Self { digest: of_manifest(BASE_DIGEST), name: of_manifest(BASE_NAME) };
        if found.digest.is_some() {
            return Ok(found);
        }
        let config = RawObject::parse(image.config.raw())?;
        let labels: RawObject = config.read::<RawObject>("config")?.read("Labels")?;
        let label = |key: &str| labels.read::<String>(key).ok().filter(|text| !text.is_empty());
        Ok(match label(BASE_DIGEST) {
            Some(digest) => Self { digest: Some(digest), name: label(BASE_NAME) },
            None => found,
        })
    }
}

fn layers(n: usize) -> String {
    cli::counted(n as u64, "layer", "layers")
}
