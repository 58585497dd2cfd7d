//! One of the two that are compared: an image, a directory or a layer, and the tree that it is.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::interrupt::Interruptible;
use cli::text::clean_path;
use cli::{Explain as _, Failure, Io, Progress};
use image::layer::BUFFER;
use image::{Choice, Location, Opened};
use layer_format::layer::{Change, Entry, EntryKind, Reader, Timestamp};
use layer_format::listing::Tree;
use layer_format::{Decoder, Error};
use rootfs::{Attributes, Known, Mounts, Root, Scan, ScanOptions};
use store::Store;

use crate::Args;
use crate::record::{Record, Records};

/// One of the two.
pub(crate) enum Side {
    Image(Box<Opened>),
    Directory(Box<Directory>),
    /// A tar, compressed or not, that begins somewhere in a file.
    Layer(File, u64),
}

/// A root file system.
pub(crate) struct Directory {
    path: PathBuf,
    root: Root,
}

/// Both.
pub(crate) struct Sides {
    pub(crate) before: Side,
    pub(crate) after: Side,
}

/// Opens A, which is 0, or B.
pub(crate) fn open(
    args: &Args,
    number: usize,
    store: Option<&Store>,
    io: &mut Io<'_>,
) -> anyhow::Result<Side> {
    let text = if number == 0 { &args.before } else { &args.after };
    // What is given once is for both.
    let choice = Choice {
        name: args.image.get(number).or(args.image.last()).cloned(),
        platform: args.platform.get(number).or(args.platform.last()).cloned(),
    };
    match Location::from(text.as_str()) {
        Location::Layer(path) => layer(&path, store, io).with_context(|| clean_path(&path)),
        Location::Dir(path) => Ok(Side::Directory(Box::new(Directory::open(&path)?))),
        Location::Path(path) if is_plain_directory(&path)? => {
            Ok(Side::Directory(Box::new(Directory::open(&path)?)))
        }
        location => {
            let input = location.input(|| io.input.take_image())?;
            let opened = Opened::open(&location, input, choice, store).hinted(hint)?;
            opened.image().doubt.iter().for_each(|doubt| io.warn(doubt));
            Ok(Side::Image(Box::new(opened)))
        }
    }
}

impl Sides {
    /// Whether both are images of the same layers, so that no file can be different.
    pub(crate) fn are_same_layers(&self) -> bool {
        let (Side::Image(before), Side::Image(after)) = (&self.before, &self.after) else {
            return false;
        };
        let diff_ids = |side: &Opened| {
            side.image().layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>()
        };
        diff_ids(before) == diff_ids(after)
    }

    /// Reads what both hold; of a directory only what isn't in the other just so, unless its contents are to be compared:
    /// it takes what was found to read a file as it was found.
    pub(crate) fn records(
        &mut self,
        with_contents: bool,
        progress: &Progress,
    ) -> anyhow::Result<Records> {
        let Self { before, after } = self;
        if let Side::Directory(directory) = before {
            let after = after.record(None, progress)?;
            let before = Record::Scan(directory.scan(Some(&after).filter(|_| !with_contents))?);
            return Ok(Records { before, after });
        }
        let before = before.record(None, progress)?;
        let after = after.record(Some(&before).filter(|_| !with_contents), progress)?;
        Ok(Records { before, after })
    }

    /// Reads archives to their ends and checks that they are whole.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        for side in [self.before, self.after] {
            if let Side::Image(opened) = side {
                opened.finish()?;
            }
        }
        Ok(())
    }
}

impl Side {
    /// All that it holds.
    fn record(&mut self, known: Option<&Record>, progress: &Progress) -> anyhow::Result<Record> {
        Ok(match self {
            Self::Image(opened) => Record::Tree(opened.tree(progress)?),
            Self::Directory(directory) => Record::Scan(directory.scan(known)?),
            Self::Layer(file, start) => Record::Tree(layer_tree(file, *start)?),
        })
    }
}

impl Directory {
    fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), root: Root::open(path)? })
    }

    fn scan(&self, known: Option<&Record>) -> anyhow::Result<Scan> {
        let known = match known {
            Some(Record::Tree(tree)) => Some(Known::new(tree, &self.root, Attributes::default())),
            Some(Record::Scan(_)) | None => None,
        };
        let (leave_out, mounts, known) = (None, Mounts::Enter, known.as_ref());
        let stop = &cli::interrupt::requested;
        let scan = Scan::read(&self.root, &ScanOptions { leave_out, mounts, known, stop });
        cli::interrupt::check()?;
        scan.with_context(|| clean_path(&self.path))
    }
}

fn layer_tree(file: &File, start: u64) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    tree.begin_layer();
    let mut layer = read_layer(file, start)?;
    while let Some(change) = layer.read_change()? {
        tree.apply(&Change::Add(as_entry(change)))?;
    }
    tree.end_layer();
    Ok(tree)
}

/// A layer's changes, from the beginning.
pub(crate) fn read_layer(
    file: &File,
    start: u64,
) -> Result<Reader<impl io::BufRead + use<>>, Error> {
    let reading = |source| Error::io("reading a layer", source);
    let mut file = file.try_clone().map_err(reading)?;
    file.seek(SeekFrom::Start(start)).map_err(reading)?;
    let decoder =
        Decoder::new(BufReader::with_capacity(BUFFER, Interruptible(file))).map_err(reading)?;
    Ok(Reader::new(BufReader::with_capacity(BUFFER, Interruptible(decoder))))
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
    let (kind, mtime) = (EntryKind::File { size: 0, data: None }, Timestamp::default());
    Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime, xattrs: vec![] }
}

/// What can't be read twice is copied to a file.
fn layer(path: &Path, store: Option<&Store>, io: &mut Io<'_>) -> anyhow::Result<Side> {
    if path.as_os_str() != "-" {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(cli::Code::NotFound, "no such file").into(),
            _ => anyhow::Error::from(error),
        })?;
        return if file.metadata()?.is_file() {
            Ok(Side::Layer(file, 0))
        } else {
            kept(Interruptible(file), store)
        };
    }
    let input = io.input.take_binary()?;
    match input.as_regular_file().map(File::try_clone).transpose()? {
        Some(mut file) => {
            let start = file.stream_position()?;
            Ok(Side::Layer(file, start))
        }
        None => kept(input, store),
    }
}

fn kept(mut content: impl Read, store: Option<&Store>) -> anyhow::Result<Side> {
    let mut file = image::spool(store)().context("making a temporary file")?;
    io::copy(&mut content, &mut file)?;
    Ok(Side::Layer(file, 0))
}

/// Whether it is a root file system, and no OCI layout.
fn is_plain_directory(path: &Path) -> anyhow::Result<bool> {
    Ok(path.is_dir() && Store::open_existing(path)?.is_none())
}

/// What to do about an image that isn't there, is one of several, or is none.
fn hint(error: &store::Error) -> Option<String> {
    match error {
        store::Error::At { source, .. } => hint(source),
        store::Error::Layer(Error::RootFileSystem) => {
            Some("a layer is named with layer:FILE".to_owned())
        }
        store::Error::Layer(Error::Malformed { what, .. }) if what == "the image archive" => {
            Some("a layer is named with layer:FILE".to_owned())
        }
        _ => error.hint(),
    }
}
