//! Where an image comes from: an archive on a pipe or in a file, an OCI layout, or the store.
//!
//! ```text
//! text ── Location ──► Source ── image(choice) ──► manifest, config, layers ── layer(n) ──► stored bytes, verified
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use layer_format::archive::{self, Archive, Choice, Layer, Spool};
use layer_format::{
    Config, Descriptor, Document, Manifest, Platform, Reference, Verified, check_platform, select,
};

use crate::Result;
use crate::error::Error;
use crate::store::Store;

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;

/// What the word for an image, a directory or a layer on a command line stands for, which its beginning decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `-`: an image stream on standard input.
    Input,
    /// `/…`, `./…`, `../…`: an archive or an OCI layout, or a directory where one is allowed; a look at it tells.
    Path(PathBuf),
    /// `archive:PATH`: an archive file.
    Archive(PathBuf),
    /// `layout:PATH`: an OCI layout.
    Layout(PathBuf),
    /// `dir:PATH`: a root file system.
    Dir(PathBuf),
    /// `layer:PATH`: a layer's tar.
    Layer(PathBuf),
    /// Anything else is in the store, by a name, a digest or the first digits of one.
    Stored(String),
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Input,
            _ if text.starts_with(['/', '.']) => Self::Path(text.into()),
            Some(("archive", path)) => Self::Archive(path.into()),
            Some(("layout", path)) => Self::Layout(path.into()),
            Some(("dir", path)) => Self::Dir(path.into()),
            Some(("layer", path)) => Self::Layer(path.into()),
            _ => Self::Stored(text.to_owned()),
        }
    }
}

/// An image's place, open.
#[derive(Debug)]
pub enum Source {
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
    /// Opens an archive on standard input or the like. `file` is the same input where it is a regular file, to be read in
    /// place. What comes too early waits beside the store, if there is one.
    pub fn from_input(
        input: impl Read + Send + 'static,
        file: Option<File>,
        store: Option<&Store>,
    ) -> Result<Self> {
        let archive = match file {
            Some(file) => Archive::from_file(file, spool(store)),
            None => Archive::from_reader(input, spool(store)),
        };
        Ok(Self::Archive(Box::new(archive?)))
    }

    /// Opens an archive file or an OCI layout.
    pub fn at(path: &Path, store: Option<&Store>) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(Error::io("looking at", path))?;
        if metadata.is_dir() { Self::layout(path) } else { Self::of_file(file, store) }
    }

    /// Opens an archive file.
    pub fn archive(path: &Path, store: Option<&Store>) -> Result<Self> {
        Self::of_file(open(path)?, store)
    }

    /// Opens an OCI layout.
    pub fn layout(path: &Path) -> Result<Self> {
        open(path)?;
        let layout = Store::open_existing(path)?;
        let store = layout.ok_or_else(|| Error::NotALayout { path: path.to_owned() })?;
        Ok(Self::Stored { store, name: None })
    }

    /// An image of the store, by a name, a digest or the first digits of one.
    pub fn stored(store: Store, name: String) -> Self {
        Self::Stored { store, name: Some(name) }
    }

    fn of_file(file: File, store: Option<&Store>) -> Result<Self> {
        Ok(Self::Archive(Box::new(Archive::from_file(file, spool(store))?)))
    }

    /// Finds the image that is meant.
    pub fn image(&mut self, choice: &Choice) -> Result<archive::Image> {
        match self {
            Self::Archive(archive) => Ok(archive.image(choice)?),
            Self::Stored { store, name } => {
                let (root, names) = find(store, choice.name.as_ref().or(name.as_ref()))?;
                store.read_image(&root, names, choice.platform.as_ref())
            }
        }
    }

    /// The stored bytes of a layer; at their end they have been checked against the manifest.
    pub fn layer<'a>(
        &'a mut self,
        image: &archive::Image,
        position: usize,
    ) -> Result<Box<dyn Read + 'a>, layer_format::Error> {
        match self {
            Self::Archive(archive) => archive.layer(image, position),
            Self::Stored { store, .. } => store.layer(&image.layers[position]),
        }
    }

    /// Reads an archive to its end and checks that it is whole.
    pub fn finish(self) -> Result<(), layer_format::Error> {
        match self {
            Self::Archive(archive) => archive.finish(),
            Self::Stored { .. } => Ok(()),
        }
    }
}

impl Store {
    /// Reads the image that `root` is or, of an index, leads to on the wanted platform: without one, this machine's, if
    /// there is a choice.
    pub fn read_image(
        &self,
        root: &Descriptor,
        names: Vec<String>,
        platform: Option<&Platform>,
    ) -> Result<archive::Image> {
        let (manifest, listed) = self.manifest(root, platform)?;
        manifest.check_image()?;
        let config = Config::parse(self.document(&manifest.config.digest)?)?;
        let diff_ids = manifest.files(&config)?;
        check_platform(platform, listed.as_ref(), &config.platform)?;
        let pairs = manifest.layers.iter().zip(diff_ids);
        let layers = pairs.map(|(blob, diff_id)| Layer::stored(blob.clone(), *diff_id)).collect();
        let is_single = root.digest == manifest.descriptor().digest;
        let manifest = Some(manifest);
        Ok(archive::Image { names, manifest, config, layers, doubt: None, is_single })
    }

    /// The stored bytes of a layer; at their end they have been checked against the manifest.
    pub fn layer(&self, layer: &Layer) -> Result<Box<dyn Read>, layer_format::Error> {
        let missing = || layer_format::Error::NotFound { what: format!("layer {}", layer.diff_id) };
        let blob = layer.blob.as_ref().ok_or_else(missing)?;
        let opening = |error| layer_format::Error::Io {
            operation: "opening a blob",
            source: io::Error::other(error),
        };
        let file = self.blob(&blob.digest).map_err(opening)?.ok_or_else(missing)?;
        Ok(Box::new(Verified::new(file, "layer", blob.digest, Some(blob.size))))
    }

    /// The manifest that `root` leads to, and the platform that an index lists it for.
    fn manifest(
        &self,
        root: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<(Manifest, Option<Platform>)> {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let (mut digest, mut listed) = (root.digest, None);
        for _ in 0..=DEPTH_LIMIT {
            match Document::parse(self.document(&digest)?)? {
                Document::Manifest(manifest) => return Ok((manifest, listed)),
                Document::Index(index) => {
                    let entries = self.present(index.manifests)?;
                    let entry = select(&entries, &wanted)?;
                    (digest, listed) = (entry.digest, entry.platform.clone());
                }
            }
        }
        let reason = "nested too deep";
        Err(layer_format::Error::Malformed { what: "index".to_owned(), reason }.into())
    }

    /// The entries of an index that are here, if any is: an index may be here for some of its platforms only.
    fn present(&self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        let (mut here, mut away) = (vec![], vec![]);
        for entry in entries {
            let is_here = self.has(&entry.digest, entry.size)?;
            if is_here { here.push(entry) } else { away.push(entry) }
        }
        Ok(if here.is_empty() { away } else { here })
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoSuchFile { path: path.to_owned(), source },
        _ => Error::io("opening", path)(source),
    })
}

/// Makes unlinked files beside the store, where images have room, or else where temporary files go.
pub fn spool(store: Option<&Store>) -> Spool {
    match store.map(|store| store.path().to_owned()) {
        Some(path) => {
            Box::new(move || tempfile::tempfile_in(&path).or_else(|_| tempfile::tempfile()))
        }
        None => Box::new(tempfile::tempfile),
    }
}

/// The image of this name, or the only one; and all its names, the one that it was found by first.
fn find(store: &Store, name: Option<&String>) -> Result<(Descriptor, Vec<String>)> {
    let found = name.map(|name| store.find(name)).transpose()?;
    let mut images = store.images()?;
    if let Some(found) = found {
        images.retain(|image| image.digest() == found.image.digest());
        return Ok((found.descriptor, names(&images, found.image.name())));
    }
    images.retain(|image| image.descriptor.is_image());
    // What is there for another image's sake counts only where there is nothing else.
    let is_about_another =
        |image: &crate::Image| image.name().is_some_and(Reference::is_about_another);
    let own = images.iter().filter(|image| !is_about_another(image));
    let own: HashSet<_> = own.map(|image| *image.digest()).collect();
    images.retain(|image| own.is_empty() || own.contains(image.digest()));
    let first = images.first().ok_or_else(|| Error::NoImage { path: store.path().to_owned() })?;
    if images.iter().all(|image| image.digest() == first.digest()) {
        return Ok((first.descriptor.clone(), names(&images, first.name())));
    }
    let shown = |image: &crate::Image| match image.name() {
        Some(name) => layer_format::layer::escape(name.as_bytes()),
        None => image.digest().to_string(),
    };
    let mut names: Vec<_> = images.iter().map(shown).collect();
    names.sort();
    Err(layer_format::Error::Ambiguous { names }.into())
}

fn names(images: &[crate::Image], first: Option<&str>) -> Vec<String> {
    let others = images.iter().filter_map(crate::Image::name).filter(|name| Some(*name) != first);
    first.into_iter().chain(others).map(str::to_owned).collect()
}
