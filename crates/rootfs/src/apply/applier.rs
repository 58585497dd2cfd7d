//! The applier of layers. What it does with an entry, a hard link and a whiteout is in `add`, `link` and `whiteout`.

use std::collections::HashSet;
use std::io::BufRead;

use layer_format::layer::{Change, EntryPath};

use super::layer_paths::{LayerPaths, PathHash};
use super::options::Options;
use super::staging::Staged;
use super::walk::Walk;
use crate::error::Error;
use crate::metadata::Skipped;
use crate::root::Root;

/// What an [`Applier`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number of entries, without whiteouts.
    pub n_entries: u64,
    /// The size of the files' contents in bytes, without the holes of sparse files.
    pub bytes: u64,
    /// What the system refused.
    pub skipped: Skipped,
}

/// Applies the changes of one layer after the other, each once and in order.
///
/// After an error the tree holds an unspecified part of the image, and the applier can't be used any more. The caller should
/// [`clear`](crate::clear) the root. Until [`finish`](Self::finish), modes and times of a few directories are not final.
#[derive(Debug)]
pub struct Applier {
    pub(super) walk: Walk,
    /// The paths that the layer has to do with.
    pub(super) layer_paths: LayerPaths,
    /// The paths of device nodes that this user can't make. A hard link to one is skipped as well.
    pub(super) absent_devices: HashSet<PathHash>,
    pub(super) n_entries: u64,
    pub(super) bytes: u64,
}

impl Applier {
    /// Starts beneath `root`. The root's own attributes stay as they are unless an entry describes it; where ids are
    /// [mapped](Root::with_ids), it is given to the image's root.
    ///
    /// # Errors
    /// [`Error::Io`] if the root can't be worked in; [`Error::Unmapped`] if the image's root is in no range.
    pub fn new(root: Root, options: Options) -> Result<Self, Error> {
        let mut walk = Walk::new(root, options)?;
        walk.give_root()?;
        Ok(Self {
            walk,
            layer_paths: LayerPaths::new(),
            absent_devices: HashSet::new(),
            n_entries: 0,
            bytes: 0,
        })
    }

    /// Begins a layer. All that is there now belongs to the lower layers.
    pub fn begin_layer(&mut self) {
        self.layer_paths.forget();
    }

    /// Applies one change. A file's bytes are read from `content`, which is [`content_size`] bytes: the pieces of a sparse file,
    /// one after the other.
    ///
    /// # Errors
    /// [`Error::Impossible`] and [`Error::Link`] if the layer is to blame, [`Error::Content`] if `content` fails, and
    /// [`Error::Io`] if the system does.
    ///
    /// [`content_size`]: layer_format::layer::EntryKind::content_size
    pub fn apply(&mut self, change: &Change, content: &mut impl BufRead) -> Result<(), Error> {
        match change {
            Change::Add(entry) => self.add(entry, content),
            Change::Remove(path) => self.remove(path),
            Change::Opaque(path) => self.clear_below(path),
        }
    }

    /// Applies the entry of a file that was made before its turn, by a [`Stager`](super::Stager) for this applier's root.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub fn put(&mut self, path: &EntryPath, staged: &Staged) -> Result<(), Error> {
        self.put_file(path, staged)
    }

    /// Ends the layer. The directories that it worked in get their times.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end_layer(&mut self) -> Result<(), Error> {
        self.layer_paths.forget();
        self.walk.retreat(b"")
    }

    /// Ends the work. Only now the root gets its final attributes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<Report, Error> {
        let Self { walk, n_entries, bytes, .. } = self;
        let skipped = walk.finish()?.skipped;
        Ok(Report { n_entries, bytes, skipped })
    }
}
