//! Directories that are removed again unless something comes of them: those that a run makes for the user, and drafts of the
//! layer cache.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::text::clean_path;
use rootfs::Root;
use store::{About, Extracted, LayerDraft, Layers};

/// A directory that a run has made, or found. One that it has made is removed when this is dropped, unless it was
/// [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct MadeDir {
    /// The absolute path, if the run made it.
    made: Option<PathBuf>,
}

impl MadeDir {
    /// Makes the directory if there is none.
    ///
    /// # Errors
    /// The system's, and wrong usage if there is something else at the path.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        let made = match fs::create_dir(path) {
            // Removal goes by the directory above, which a bare name doesn't tell.
            Ok(()) => Some(std::path::absolute(path).with_context(|| clean_path(path))?),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(error).with_context(|| clean_path(path)),
        };
        let dir = Self { made };
        if dir.is_new() || fs::metadata(path).with_context(|| clean_path(path))?.is_dir() {
            return Ok(dir);
        }
        Err(cli::usage(format!("{}: not a directory", clean_path(path))).into())
    }

    /// Whether the run has made it.
    pub(crate) fn is_new(&self) -> bool {
        self.made.is_some()
    }

    /// Makes it stay.
    pub(crate) fn keep(&mut self) {
        self.made = None;
    }
}

impl Drop for MadeDir {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // The error that the run failed with is the one to report.
            remove(path).ok();
        }
    }
}

/// A layer of the cache that is being made. It is removed when dropped, unless it was [finished](Self::finish).
pub(crate) struct Draft(LayerDraft);

impl Draft {
    /// Makes an empty one.
    pub(crate) fn begin(cache: &Layers) -> anyhow::Result<Self> {
        Ok(Self(cache.draft()?))
    }

    /// The path of the draft; the layer's own directory is in it.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The layer's directory, open.
    pub(crate) fn root(&self) -> anyhow::Result<Root> {
        Ok(Root::open(&self.0.tree())?)
    }

    /// Gives the layer its name in the cache.
    pub(crate) fn finish(self, about: About) -> anyhow::Result<Extracted> {
        cli::interrupt::check()?;
        Ok(self.0.finish(about)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A finished draft isn't at this path any more. What can't be removed now, the next program removes.
        let hold = cli::interrupt::hold();
        drop(remove(self.0.path()));
        drop(hold);
    }
}

/// Opens the directories of layers. If a layer is there several times, only the topmost is opened: it covers all that the
/// others could show or hide, and the kernel takes no directory twice.
pub(crate) fn open<'a>(
    top_first: impl Iterator<Item = &'a Extracted>,
) -> anyhow::Result<Vec<Root>> {
    let mut seen = HashSet::new();
    let layers = top_first.filter(|layer| seen.insert(layer.about().key));
    layers.map(|layer| Ok(Root::open(&layer.tree())?)).collect()
}

/// Removes a directory and everything in it.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = File::open(parent).context("opening the layer cache")?;
    Ok(rootfs::remove_tree(&parent, name.as_bytes())?)
}
