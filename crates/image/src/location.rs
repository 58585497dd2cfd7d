//! The word for an image on a command line.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use store::Error;

use crate::input::Input;

/// The meaning of a word for an image, a directory or a layer on a command line. Its beginning decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `-`: an image stream on standard input.
    Input,
    /// `/…`, `./…`, `../…`: an archive, an OCI layout or a directory that skopeo wrote, or a root file system where one is
    /// allowed. The file itself tells which.
    Path(PathBuf),
    /// `archive:PATH`: an archive file.
    Archive(PathBuf),
    /// `layout:PATH`: an OCI layout, or a directory that skopeo wrote.
    Layout(PathBuf),
    /// `dir:PATH`: a root file system. Where none is allowed, the same as `layout:`, for skopeo's directories are called so.
    Dir(PathBuf),
    /// `layer:PATH`: a layer's tar.
    Layer(PathBuf),
    /// Anything else: an image of the store, by a name, a digest or the first digits of one.
    Stored(String),
}

impl Location {
    /// Adds to the error of an archive that is none, and of a directory that lacks a blob, which one it was.
    pub fn name(&self, error: Error) -> Error {
        let what = match self {
            Self::Input => "standard input".to_owned(),
            Self::Path(path) | Self::Archive(path) | Self::Layout(path) | Self::Dir(path) => {
                path.to_string_lossy().into_owned()
            }
            Self::Layer(_) | Self::Stored(_) => return error,
        };
        if let Error::MissingBlob { .. } = error {
            return Error::At { what, source: Box::new(error) };
        }
        match error.of_format() {
            Some(layer_format::Error::NoImage { .. })
                if !matches!(self, Self::Layout(_) | Self::Dir(_)) =>
            {
                Error::At { what, source: Box::new(error) }
            }
            _ => error,
        }
    }

    /// Whether it is standard input.
    pub fn is_input(&self) -> bool {
        *self == Self::Input
    }

    /// Takes standard input, if that is what the word means. `take` returns a reader of it, and the open file if it is a regular
    /// file.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn input<R: Read + Send + 'static, E>(
        &self,
        take: impl FnOnce() -> Result<(R, Option<File>), E>,
    ) -> Result<Option<Input>, E> {
        if !self.is_input() {
            return Ok(None);
        }
        let (reader, file) = take()?;
        Ok(Some(Input::new(reader, file)))
    }

    /// Whether it names an image of the user's store.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }
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
