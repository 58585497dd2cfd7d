//! Where an image comes from: an archive on a pipe or in a file, an OCI layout, or the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use store::{Error, Hold, Store};
use stream::archive::{self, Archive, Choice, Image, Layer, Spool};

use crate::Result;
use crate::input::Input;
use crate::location::Location;
use crate::stored::{find, read_image, stored_layer};

/// An open source of images.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful exist at a time")]
pub enum Source {
    /// An archive in any format.
    Archive(Box<Archive>),
    /// A store or another OCI layout.
    Stored {
        /// The layout.
        store: Store,
        /// The image's name in it; `None` if the user named the layout itself.
        name: Option<String>,
        /// Keeps gc from removing the image's blobs while it is read; `None` until the image is found.
        hold: Option<Hold>,
    },
}

impl Source {
    /// Opens the source that a word means. `input` is needed if that is standard input; `store` is the user's, if there is one.
    ///
    /// # Errors
    /// [`Error::NoSuchFile`] or [`Error::NotFound`] if it isn't there; [`Error::NotALayout`] or [`Error::NotAnImage`] if it can't hold
    /// an image; the archive's errors if it isn't one.
    pub fn open(location: &Location, input: Option<Input>, store: Option<&Store>) -> Result<Self> {
        match location {
            Location::Input => match input {
                Some(input) => Self::input(input, store).map_err(about("standard input")),
                None => Err(Error::NotAnImage { what: "standard input".to_owned() }),
            },
            Location::Path(path) => Self::at(path, store),
            Location::Archive(path) => Self::of_file(open(path)?, store),
            Location::Layout(path) | Location::Dir(path) => Self::layout(path),
            Location::Stored(name) => match store {
                Some(store) => Ok(Self::stored(store.clone(), name.clone())),
                None => Err(Error::NotFound { text: name.clone() }),
            },
            Location::Layer(path) => {
                Err(Error::NotAnImage { what: path.to_string_lossy().into_owned() })
            }
        }
    }

    /// Opens an archive on an input stream. Temporary files are made beside the store, if there is one.
    pub(crate) fn input(input: Input, store: Option<&Store>) -> Result<Self> {
        Ok(Self::Archive(Box::new(input.archive(spool(store))?)))
    }

    /// Opens a path: a directory as one of images, a file as an archive.
    fn at(path: &Path, store: Option<&Store>) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(system("looking at", path))?;
        if metadata.is_dir() { Self::layout(path) } else { Self::of_file(file, store) }
    }

    /// Opens an OCI layout, or a directory that skopeo wrote.
    fn layout(path: &Path) -> Result<Self> {
        Ok(Self::Stored { store: open_layout(path)?, name: None, hold: None })
    }

    /// The source of an image of the store, by a name, a digest or the first digits of one.
    pub fn stored(store: Store, name: String) -> Self {
        Self::Stored { store, name: Some(name), hold: None }
    }

    /// The store or layout; `None` for an archive.
    pub fn layout_store(&self) -> Option<&Store> {
        match self {
            Self::Stored { store, .. } => Some(store),
            Self::Archive(_) => None,
        }
    }

    pub(crate) fn of_file(file: File, store: Option<&Store>) -> Result<Self> {
        Ok(Self::Archive(Box::new(Archive::from_file(file, spool(store))?)))
    }

    /// Finds the image that `choice` and the name mean.
    ///
    /// # Errors
    /// There is no such image, there are several, or none for the platform; or its documents are missing or malformed.
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

    /// The stored bytes of a layer; once they are read to their end, they have been checked against the manifest.
    pub fn layer<'a>(
        &'a mut self,
        image: &Image,
        position: usize,
    ) -> Result<Box<dyn Read + 'a>, layer_format::Error> {
        match self {
            Self::Archive(archive) => archive.layer(image, position),
            Self::Stored { store, .. } => Ok(stored_layer(store, &image.layers[position])?),
        }
    }

    /// The layers, each to be read by itself and at any time; `None` if they only come one after the other.
    ///
    /// # Errors
    /// Links in an archive lead in a circle.
    pub fn apart(&mut self, image: &Image) -> Result<Option<Apart>, layer_format::Error> {
        match self {
            Self::Archive(archive) => Ok(archive.apart(image)?.map(Apart::Archive)),
            Self::Stored { store, .. } => {
                Ok(Some(Apart::Stored { store: store.clone(), layers: image.layers.clone() }))
            }
        }
    }

    /// Reads an archive to its end and checks that it is whole.
    ///
    /// # Errors
    /// It is truncated or malformed.
    pub fn finish(self) -> Result<(), layer_format::Error> {
        match self {
            Self::Archive(archive) => archive.finish(),
            Self::Stored { .. } => Ok(()),
        }
    }
}

/// The layers of an image, each to be read by itself and at any time.
#[derive(Debug)]
pub enum Apart {
    /// Those of an archive in a file.
    Archive(archive::Apart),
    /// Those of a store or another OCI layout.
    Stored {
        /// The layout.
        store: Store,
        /// The layers, base first.
        layers: Vec<Layer>,
    },
}

impl Apart {
    /// A reader of a layer's stored bytes; once they are read to their end, they have been checked against the manifest.
    ///
    /// # Errors
    /// The layer has no blob, or the store doesn't have it.
    pub fn layer(&self, position: usize) -> Result<Box<dyn Read + Send>, layer_format::Error> {
        match self {
            Self::Archive(archive) => Ok(archive.layer(position)),
            Self::Stored { store, layers } => stored_layer(store, &layers[position]),
        }
    }
}

/// Opens a directory that holds images, for reading: an OCI layout, or one that skopeo's `dir:` transport wrote.
///
/// # Errors
/// [`Error::NoSuchFile`] if it isn't there, [`Error::NotALayout`] if it is neither, and those of its files.
pub fn open_layout(path: &Path) -> Result<Store> {
    open(path)?;
    Store::open_directory(path)?.ok_or_else(|| Error::NotALayout { path: path.to_owned() })
}

/// Whether a path is a root file system: a directory that holds no images as [`open_layout`] takes them.
///
/// # Errors
/// A file in it that says what it holds can't be read.
pub fn is_root_file_system(path: &Path) -> Result<bool> {
    Ok(path.is_dir() && Store::open_directory(path)?.is_none())
}

/// A warning about a directory that the user calls a root file system with `dir:`, if it holds an image: elsewhere that is what
/// `dir:` means.
pub fn doubt_of_root(path: &Path) -> Option<String> {
    let holds_image = matches!(Store::open_directory(path), Ok(Some(_)));
    let path = layer_format::layer::escape(path.as_os_str().as_encoded_bytes());
    holds_image.then(|| {
        format!("{path}: taken for a root file system; the image that it holds is layout:{path}")
    })
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoSuchFile { path: path.to_owned(), source },
        _ => system("opening", path)(source),
    })
}

/// A function that makes unlinked temporary files: in the store's directory, where there is room for images, or else in the
/// system's directory for temporary files.
pub fn spool(store: Option<&Store>) -> Spool {
    match store.map(|store| store.path().to_owned()) {
        Some(path) => Box::new(move || tempfile::tempfile_in(&path).or_else(|_| temporary())),
        None => Box::new(temporary),
    }
}

/// An unlinked file in the system's directory for temporary files; an error names the directory, and how another is chosen.
fn temporary() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let (reason, dir) = (report::reason(&error), std::env::temp_dir());
        let text = format!("{reason} in {}; TMPDIR names another directory", dir.display());
        io::Error::new(error.kind(), text)
    })
}

/// A function that makes no temporary file but fails, for a program that takes each part of an archive as it comes.
pub fn no_spool() -> Spool {
    Box::new(|| Err(io::ErrorKind::Unsupported.into()))
}

/// The user's store, if there is one. Errors count only if `location` names an image of the store; otherwise the caller can do
/// without one, and gets `None`.
///
/// # Errors
/// See [`Store::open_named`].
pub fn our_store(path: Option<&Path>, location: &Location) -> Result<Option<Store>> {
    match Store::open_named(path) {
        Err(_) if !location.is_stored() => Ok(None),
        store => store,
    }
}

/// Makes an error of an I/O error, what was being done, and the file.
pub(crate) fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, path: path.to_owned(), source }
}

/// Adds to an error what it is about.
pub(crate) fn about(what: impl Into<String>) -> impl FnOnce(Error) -> Error {
    let what = what.into();
    move |source| Error::At { what, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_read_matters_only_to_an_image_in_it() {
        let unreadable = Some(Path::new("/dev/null/store"));
        for elsewhere in ["-", "./image.tar", "archive:image.tar", "layout:image", "dir:root"] {
            assert!(our_store(unreadable, &elsewhere.into()).unwrap().is_none(), "{elsewhere}");
        }
        our_store(unreadable, &"app:1".into()).unwrap_err();
    }
}
