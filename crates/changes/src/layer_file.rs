//! A layer in a file: a tar, compressed or not, that can be read again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use cli::interrupt::Interruptible;
use cli::{Code, Failure, Io};
use image::layer::BUFFER;
use layer_format::layer::{Change, Entry, EntryKind, Reader, Timestamp};
use layer_format::listing::Tree;
use layer_format::{Decoder, Error};
use store::Store;

/// A layer in an open file.
#[derive(Debug)]
pub(crate) struct LayerFile {
    file: File,
    /// The offset at which the layer begins.
    start: u64,
}

impl LayerFile {
    /// Opens the layer at `path`; `-` is standard input. What can't be read twice is copied to a temporary file.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such file.
    pub(crate) fn open(
        path: &Path,
        store: Option<&Store>,
        io: &mut Io<'_>,
    ) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            let input = io.input.take_binary()?;
            return match input.as_regular_file().map(File::try_clone).transpose()? {
                Some(mut file) => {
                    let start = file.stream_position()?;
                    Ok(Self { file, start })
                }
                None => Self::copied(input, store),
            };
        }
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(Code::NotFound, "no such file").into(),
            _ => anyhow::Error::from(error),
        })?;
        if file.metadata()?.is_file() {
            Ok(Self { file, start: 0 })
        } else {
            Self::copied(Interruptible(file), store)
        }
    }

    /// A copy in a temporary file.
    fn copied(mut content: impl Read, store: Option<&Store>) -> anyhow::Result<Self> {
        let mut file = image::spool(store)().context("making a temporary file")?;
        io::copy(&mut content, &mut file)?;
        Ok(Self { file, start: 0 })
    }

    /// The layer's changes, from the beginning.
    pub(crate) fn read(&self) -> Result<Reader<impl BufRead + use<>>, Error> {
        let reading = |source| Error::io("reading a layer", source);
        let mut file = self.file.try_clone().map_err(reading)?;
        file.seek(SeekFrom::Start(self.start)).map_err(reading)?;
        let decoder =
            Decoder::new(BufReader::with_capacity(BUFFER, Interruptible(file))).map_err(reading)?;
        Ok(Reader::new(BufReader::with_capacity(BUFFER, Interruptible(decoder))))
    }

    /// The tree of the layer's entries, with whiteouts as the files that they are in the layer.
    pub(crate) fn tree(&self) -> anyhow::Result<Tree> {
        let mut tree = Tree::new();
        tree.begin_layer();
        let mut layer = self.read()?;
        while let Some(change) = layer.read_change()? {
            tree.apply(&Change::Add(as_entry(change)))?;
        }
        tree.end_layer();
        Ok(tree)
    }
}

/// A whiteout as the file that it is in a layer.
fn as_entry(change: Change) -> Entry {
    let path = match change {
        Change::Add(entry) => return entry,
        Change::Remove(path) => {
            let name = [b".wh.", path.file_name().unwrap_or_default()].concat();
            path.parent().unwrap_or_default().join(&name)
        }
        Change::Opaque(path) => path.join(b".wh..wh..opq"),
    };
    Entry {
        path,
        kind: EntryKind::File { size: 0, data: None },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: vec![],
    }
}
