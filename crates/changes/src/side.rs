//! The two that are compared: each is an image, a directory or a layer.

use std::path::PathBuf;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Explain as _, Io, Progress};
use image::{Choice, Location, Opened};
use layer_format::{DiffId, Error};
use rootfs::{Attributes, Known, Mounts, Root, Scan, ScanOptions};
use store::Store;

use crate::layer_file::LayerFile;
use crate::record::{Record, Records};

/// One of the two.
pub(crate) enum Side {
    Image(Box<Opened>),
    Directory(Directory),
    Layer(LayerFile),
}

/// A root file system.
pub(crate) struct Directory {
    /// Its path as the command line has it.
    path: PathBuf,
    root: Root,
}

/// Both.
pub(crate) struct Sides {
    /// A of the command line.
    pub(crate) before: Side,
    /// B of the command line.
    pub(crate) after: Side,
}

impl Side {
    /// Opens what a word of the command line means; `choice` says which image, if there are several.
    pub(crate) fn open(
        word: &str,
        choice: Choice,
        store: Option<&Store>,
        io: &mut Io<'_>,
    ) -> anyhow::Result<Self> {
        match Location::from(word) {
            Location::Layer(path) => {
                let layer = LayerFile::open(&path, store, io);
                Ok(Self::Layer(layer.with_context(|| clean_path(&path))?))
            }
            Location::Dir(path) => {
                if let Some(doubt) = image::doubt_of_root(&path) {
                    io.warn(&doubt);
                }
                Ok(Self::Directory(Directory::open(path)?))
            }
            Location::Path(path) if image::is_root_file_system(&path)? => {
                Ok(Self::Directory(Directory::open(path)?))
            }
            location => {
                let input = location.input(|| io.input.take_image())?;
                let opened = Opened::open(&location, input, choice, store).hinted(hint)?;
                opened.image().doubt.iter().for_each(|doubt| io.warn(doubt));
                Ok(Self::Image(Box::new(opened)))
            }
        }
    }

    /// The diff ids of an image's layers, base first; none for what is no image.
    pub(crate) fn diff_ids(&self) -> Vec<DiffId> {
        match self {
            Self::Image(opened) => {
                opened.image().layers.iter().map(|layer| layer.diff_id).collect()
            }
            Self::Directory(_) | Self::Layer(_) => vec![],
        }
    }

    /// All that it holds. What a directory has just as `known` has it is left out.
    fn record(&mut self, known: Option<&Record>, progress: &Progress) -> anyhow::Result<Record> {
        Ok(match self {
            Self::Image(opened) => Record::Tree(opened.tree(progress)?),
            Self::Directory(directory) => Record::Scan(directory.scan(known)?),
            Self::Layer(layer) => Record::Tree(layer.tree()?),
        })
    }
}

impl Sides {
    /// Whether both are images of the same layers, so that no file can be different.
    pub(crate) fn are_same_layers(&self) -> bool {
        let are_images = matches!((&self.before, &self.after), (Side::Image(_), Side::Image(_)));
        are_images && self.before.diff_ids() == self.after.diff_ids()
    }

    /// Reads what both hold. If contents aren't compared, what a directory has just as the other side has it is left out of
    /// the directory's record. Otherwise nothing is left out, since a file is read as the scan has found it.
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

impl Directory {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let root = Root::open(&path)?;
        Ok(Self { path, root })
    }

    fn scan(&self, known: Option<&Record>) -> anyhow::Result<Scan> {
        let known = match known {
            Some(Record::Tree(tree)) => Some(Known::new(tree, &self.root, Attributes::default())),
            Some(Record::Scan(_)) | None => None,
        };
        let options = ScanOptions {
            leave_out: None,
            mounts: Mounts::Enter,
            known: known.as_ref(),
            stop: &cli::interrupt::requested,
        };
        let scan = Scan::read(&self.root, &options);
        cli::interrupt::check()?;
        scan.with_context(|| clean_path(&self.path))
    }
}

/// What to do about an image that isn't there, is one of several, or is none.
fn hint(error: &store::Error) -> Option<String> {
    match error {
        store::Error::At { source, .. } => hint(source),
        store::Error::Layer(Error::RootFileSystem) => {
            Some("a layer is named with layer:FILE".to_owned())
        }
        store::Error::Layer(Error::NoImage { what, .. }) if what == "the image archive" => {
            Some("a layer is named with layer:FILE".to_owned())
        }
        _ => error.hint(),
    }
}
