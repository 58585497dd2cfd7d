//! The word for an image on a command line.

use std::path::PathBuf;

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

impl Location {
    /// Whether it is standard input, which its reader must be given.
    pub fn is_input(&self) -> bool {
        *self == Self::Input
    }

    /// Whether only the user's store can have it.
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
