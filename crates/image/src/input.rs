//! Standard input that holds an archive.

use std::fs::File;
use std::io::Read;

use stream::archive::{Archive, Spool};

/// An input stream that holds an archive, for example standard input.
pub struct Input {
    reader: Box<dyn Read + Send>,
    /// The same input if it is a regular file, to be read in place.
    file: Option<File>,
}

impl Input {
    /// The input that `reader` reads; `file` is the same input if it is a regular file.
    pub fn new(reader: impl Read + Send + 'static, file: Option<File>) -> Self {
        Self { reader: Box::new(reader), file }
    }

    /// Opens the archive in it. `spool` makes a temporary file for members that come before they are needed.
    ///
    /// # Errors
    /// It doesn't begin like an archive, or can't be read.
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
