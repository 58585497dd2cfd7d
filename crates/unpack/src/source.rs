//! Where the image comes from: an archive on a pipe or in a file, an OCI layout, or the store.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure, Io};
use layer_format::archive::{Archive, Choice, Image, Layer, Spool};
use layer_format::{Config, Descriptor, Document, Error, Manifest, Platform, Verified, select};
use store::Store;

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;

/// An image's place, open.
#[derive(Debug)]
pub(crate) enum Source {
    /// An archive, whoever wrote it.
    Archive(Box<Archive>),
    /// A store or another OCI layout.
    Stored {
        /// The layout.
        store: Store,
        /// The image's name in it; none where the layout itself was named.
        name: Option<String>,
    },
}

impl Source {
    /// Opens what IMAGE means; what it stands for is decided by how it begins.
    pub(crate) fn open(
        image: &str,
        store: Result<&Store, &store::Error>,
        io: &mut Io<'_>,
    ) -> anyhow::Result<Self> {
        if image == "-" {
            let input = io.input.take_binary()?;
            let spool = spool(store.ok());
            let archive = match input.as_regular_file() {
                Some(file) => {
                    Archive::from_file(file.try_clone().context("opening standard input")?, spool)
                }
                None => Archive::from_reader(input, spool),
            };
            return Ok(Self::Archive(Box::new(archive.context("standard input")?)));
        }
        let (kind, rest) = image.split_once(':').unwrap_or(("", image));
        match kind {
            "archive" | "layout" => Self::at(Path::new(rest), store.ok()),
            "dir" | "layer" => {
                Err(cli::usage(format!("{image}: only an image can be unpacked")).into())
            }
            _ if image.starts_with(['/', '.']) => Self::at(Path::new(image), store.ok()),
            _ => match store {
                Ok(store) => {
                    Ok(Self::Stored { store: store.clone(), name: Some(image.to_owned()) })
                }
                Err(error) => {
                    Err(Failure::new(Code::Failed, format!("opening the store: {error}")).into())
                }
            },
        }
    }

    /// Opens an archive file or an OCI layout.
    fn at(path: &Path, store: Option<&Store>) -> anyhow::Result<Self> {
        let shown = || cli::report::clean(&path.to_string_lossy()).into_owned();
        let file = File::open(path).map_err(|error| open_failure(&shown(), error))?;
        if file.metadata().with_context(shown)?.is_dir() {
            let layout = Store::open_existing(path)?
                .ok_or_else(|| cli::usage(format!("{}: not an OCI layout", shown())))?;
            return Ok(Self::Stored { store: layout, name: None });
        }
        let archive = Archive::from_file(file, spool(store)).with_context(shown)?;
        Ok(Self::Archive(Box::new(archive)))
    }

    /// Finds the image that is meant.
    pub(crate) fn image(&mut self, choice: &Choice) -> anyhow::Result<Image> {
        match self {
            Self::Archive(archive) => Ok(archive.image(choice)?),
            Self::Stored { store, name } => {
                let name = choice.name.as_ref().or(name.as_ref());
                let (root, name) = find(store, name)?;
                let manifest = manifest(store, root, choice)?;
                let config = Config::parse(store.document(&manifest.config.digest)?)?;
                config.check_layers(manifest.layers.len())?;
                if let Some(wanted) = choice
                    .platform
                    .as_ref()
                    .filter(|wanted| wanted.rank(&config.platform).is_none())
                {
                    let present = vec![config.platform.to_string()];
                    return Err(Error::NoPlatform { wanted: wanted.to_string(), present }.into());
                }
                let pairs = manifest.layers.iter().zip(config.diff_ids());
                let layers =
                    pairs.map(|(blob, diff_id)| Layer::stored(blob.clone(), *diff_id)).collect();
                Ok(Image {
                    names: name.into_iter().collect(),
                    manifest: Some(manifest),
                    config,
                    layers,
                })
            }
        }
    }

    /// The stored bytes of a layer; at their end they have been checked against the manifest.
    pub(crate) fn layer<'a>(
        &'a mut self,
        image: &Image,
        position: usize,
    ) -> Result<Box<dyn Read + 'a>, Error> {
        match self {
            Self::Archive(archive) => archive.layer(image, position),
            Self::Stored { store, .. } => {
                let missing = || Error::NotFound {
                    what: format!("layer {}", image.layers[position].diff_id),
                };
                let blob = image.layers[position].blob.as_ref().ok_or_else(missing)?;
                let opening = |error| Error::Io {
                    operation: "opening a blob",
                    source: std::io::Error::other(error),
                };
                let file = store.blob(&blob.digest).map_err(opening)?.ok_or_else(missing)?;
                Ok(Box::new(Verified::new(file, "layer", blob.digest, Some(blob.size))))
            }
        }
    }

    /// Reads an archive to its end and checks that it is whole.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self {
            Self::Archive(archive) => archive.finish(),
            Self::Stored { .. } => Ok(()),
        }
    }
}

fn open_failure(path: &str, error: std::io::Error) -> anyhow::Error {
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
    Failure::new(code, path).because(error).into()
}

/// What comes too early waits beside the store, where images have room, or else where temporary files do.
fn spool(store: Option<&Store>) -> Spool {
    match store.map(|store| store.path().to_owned()) {
        Some(path) => {
            Box::new(move || tempfile::tempfile_in(&path).or_else(|_| tempfile::tempfile()))
        }
        None => Box::new(tempfile::tempfile),
    }
}

/// The image of this name, or the only one.
fn find(store: &Store, name: Option<&String>) -> anyhow::Result<(Descriptor, Option<String>)> {
    if let Some(name) = name {
        let found = store.find(name).with_hint(|| format!("pull {}", cli::report::clean(name)))?;
        return Ok((found.descriptor, found.image.name().map(str::to_owned)));
    }
    let mut images = store.images()?;
    images.dedup_by(|one, other| one.digest() == other.digest());
    match images.len() {
        0 => Err(Failure::new(Code::NotFound, "no image in this layout").into()),
        1 => {
            let image = images.remove(0);
            Ok((image.descriptor.clone(), image.name().map(str::to_owned)))
        }
        _ => {
            let shown = |image: &store::Image| {
                image.name().map_or_else(|| image.digest().to_string(), str::to_owned)
            };
            Err(Error::Ambiguous { names: images.iter().map(shown).collect() }.into())
        }
    }
}

/// The manifest that `root` is or, of an index, leads to on the wanted platform.
fn manifest(store: &Store, root: Descriptor, choice: &Choice) -> anyhow::Result<Manifest> {
    let wanted = choice.platform.clone().unwrap_or_else(Platform::host);
    let mut descriptor = root;
    for _ in 0..=DEPTH_LIMIT {
        match Document::parse(store.document(&descriptor.digest)?)? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => descriptor = select(&index.manifests, &wanted)?.clone(),
        }
    }
    Err(Error::Malformed { what: "index".to_owned(), reason: "nested too deep" }.into())
}
