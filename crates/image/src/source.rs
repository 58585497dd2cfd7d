//! Where an image comes from: an archive on a pipe or in a file, an OCI layout, or the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use layer_format::archive::{Archive, Choice, Image, Spool};
use store::{Error, Hold, Store};

use crate::location::Location;
use crate::stored::{find, read_image, stored_layer};
use crate::{Result, opened};

/// Standard input, or the like.
pub struct Input {
    reader: Box<dyn Read + Send>,
    /// The same input where it is a regular file, to be read in place.
    file: Option<File>,
}

impl Input {
    /// What `reader` reads; `file` is the same where it is a regular file.
    pub fn new((reader, file): (impl Read + Send + 'static, Option<File>)) -> Self {
        Self { reader: Box::new(reader), file }
    }

    /// The archive that it is; `spool` is where waits what comes too early.
    ///
    /// # Errors
    /// Its beginning is that of no archive.
    pub fn archive(self, spool: Spool) -> Result<Archive, layer_format::Error> {
        match self.file {
            Some(file) => Archive::from_file(file, spool),
            None => Archive::from_reader(self.reader, spool),
        }
    }

    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("file", &self.file).finish_non_exhaustive()
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
        /// What keeps the image's blobs there while it is read, once it is found.
        hold: Option<Hold>,
    },
}

impl Source {
    /// Opens what a word means. `input` is asked for where that is standard input; `store` is the user's, if there is one.
    ///
    /// # Errors
    /// It isn't there, or nothing that holds an image.
    pub fn open(location: &Location, input: Option<Input>, store: Option<&Store>) -> Result<Self> {
        match location {
            Location::Input => match input {
                Some(input) => Self::input(input, store).map_err(opened::at("standard input")),
                None => Err(Error::NotAnImage { what: "standard input".to_owned() }),
            },
            Location::Path(path) => Self::at(path, store),
            Location::Archive(path) => Self::of_file(open(path)?, store),
            Location::Layout(path) => Self::layout(path),
            Location::Stored(name) => match store {
                Some(store) => Ok(Self::stored(store.clone(), name.clone())),
                None => Err(Error::NotFound { text: name.clone() }),
            },
            Location::Dir(path) | Location::Layer(path) => {
                Err(Error::NotAnImage { what: path.to_string_lossy().into_owned() })
            }
        }
    }

    /// Opens an archive on standard input or the like. What comes too early waits beside the store, if there is one.
    pub(crate) fn input(input: Input, store: Option<&Store>) -> Result<Self> {
        Ok(Self::Archive(Box::new(input.archive(spool(store))?)))
    }

    /// Opens an archive file or an OCI layout.
    fn at(path: &Path, store: Option<&Store>) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(system("looking at", path))?;
        if metadata.is_dir() { Self::layout(path) } else { Self::of_file(file, store) }
    }

    /// Opens an OCI layout.
    fn layout(path: &Path) -> Result<Self> {
        open(path)?;
        let layout = Store::open_existing(path)?;
        let store = layout.ok_or_else(|| Error::NotALayout { path: path.to_owned() })?;
        Ok(Self::Stored { store, name: None, hold: None })
    }

    /// An image of the store, by a name, a digest or the first digits of one.
    pub fn stored(store: Store, name: String) -> Self {
        Self::Stored { store, name: Some(name), hold: None }
    }

    /// The layout that it is in, if it is in one.
    pub fn layout_store(&self) -> Option<&Store> {
        match self {
            Self::Stored { store, .. } => Some(store),
            Self::Archive(_) => None,
        }
    }

    pub(crate) fn of_file(file: File, store: Option<&Store>) -> Result<Self> {
        Ok(Self::Archive(Box::new(Archive::from_file(file, spool(store))?)))
    }

    /// Finds the image that is meant.
    pub fn image(&mut self, choice: &Choice) -> Result<Image> {
        match self {
            Self::Archive(archive) => Ok(archive.image(choice)?),
            Self::Stored { store, name, hold } => {
                let (root, names) = find(store, choice.name.as_ref().or(name.as_ref()))?;
                // A layout of others is left as it is.
                if name.is_some() {
                    *hold = store.hold_to_look(&[root.digest])?;
                }
                read_image(store, &root, names, choice.platform.as_ref())
            }
        }
    }

    /// The stored bytes of a layer; at their end they have been checked against the manifest.
    pub fn layer<'a>(
        &'a mut self,
        image: &Image,
        position: usize,
    ) -> Result<Box<dyn Read + 'a>, layer_format::Error> {
        match self {
            Self::Archive(archive) => archive.layer(image, position),
            Self::Stored { store, .. } => stored_layer(store, &image.layers[position]),
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

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoSuchFile { path: path.to_owned(), source },
        _ => system("opening", path)(source),
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

/// For whoever takes each part of an archive as it comes, so that nothing waits.
pub fn no_spool() -> Spool {
    Box::new(|| Err(io::ErrorKind::Unsupported.into()))
}

/// The user's store, if there is one. It is a help, not a need, unless `location` is in it: what is wrong with it is an error
/// then alone.
///
/// # Errors
/// See [`Store::open_existing`].
pub fn our_store(path: Option<&Path>, location: &Location) -> Result<Option<Store>> {
    match Store::path_or_usual(path).and_then(Store::open_existing) {
        Err(_) if !location.is_stored() => Ok(None),
        store => store,
    }
}

/// Adds what was being done to which file.
pub(crate) fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, path: path.to_owned(), source }
}
