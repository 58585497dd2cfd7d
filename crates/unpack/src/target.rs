//! The directory that appears whole or not at all.
//!
//! A new one is built in a private directory beside its place and renamed. An empty one that exists already, a fresh mount
//! perhaps, is filled in place with a mark in it until it is whole. Both are locked while the work goes on, so what a killed
//! program left can be told from what a running one is making, and is removed.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::Io;
use cli::text::clean_path;
use rootfs::{IdMaps, Root, Skipped};
use rustix::fs::{
    AtFlags, FlockOperation, Gid, Mode, fchmod, fchown, flock, fsync, syncfs, unlinkat,
};
use rustix::io::Errno;
use store::{Origin, Store};
use stream::archive::Image;

use crate::draft::{self, Draft, MARK};
use crate::place::{self, Doing as _};

/// The directory that a new file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";
/// The mode of a bundle's directory: what is below it may have setuid bits and other users' names.
const PRIVATE: u32 = 0o700;
/// The same with a group that may pass through it.
const PASSABLE: u32 = 0o710;

/// Whether the directory is synced to the disk before it appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is synced, and survives a power cut.
    Synced,
    /// It is left to the page cache.
    Cached,
}

/// A directory that is being filled. When dropped before [`finish`](Self::finish), a new one is removed, and one that existed is
/// emptied.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its path, for the store's notes and messages.
    path: PathBuf,
    place: Place,
    is_whole: bool,
}

#[derive(Debug)]
enum Place {
    /// Built beside its place.
    Beside(Draft),
    /// Filled in its place, with a mark in it, and locked.
    Within {
        directory: File,
        /// The mode that it gets again if the run fails.
        mode: u32,
    },
}

/// What was unpacked into a directory.
pub(crate) struct Made<'a> {
    /// The image.
    pub(crate) image: &'a Image,
    /// The name of the subdirectory that it is in; `None` if it is in the directory itself.
    pub(crate) within: Option<&'a str>,
    /// The ids on the disk.
    pub(crate) ids: Option<&'a IdMaps>,
    /// The attributes that could not be set.
    pub(crate) skipped: Skipped,
}

impl Target {
    /// Makes the directory to fill, or opens the empty one that is there.
    ///
    /// # Errors
    /// Wrong usage, if something else is there; the system's.
    pub(crate) fn prepare(path: &Path, io: &Io<'_>) -> anyhow::Result<Self> {
        let place = match place::find(path) {
            Ok(place::Place::Existing(directory)) => within(directory),
            Ok(place::Place::Free(name)) => {
                for left in draft::sweep(&name) {
                    io.warn(&left);
                }
                Draft::new(name).map(Place::Beside)
            }
            Err(error) => Err(error),
        };
        let place = place.with_context(|| clean_path(path))?;
        Ok(Self { path: path.to_owned(), place, is_whole: false })
    }

    /// The directory to fill.
    pub(crate) fn root(&self) -> anyhow::Result<Root> {
        let directory = self.directory().try_clone().context("opening the directory")?;
        Ok(Root::from_fd(directory.into()))
    }

    /// A directory beside the tree, on the same file system; `None` if it is filled in its place.
    pub(crate) fn aside(&self) -> anyhow::Result<Option<File>> {
        match &self.place {
            Place::Beside(draft) => draft.private().try_clone().map(Some),
            Place::Within { .. } => Ok(None),
        }
        .context("opening the directory")
    }

    /// Gives the directory mode 0700, now and when it is finished. Where ids are mapped, the group of the image's root may pass
    /// through it, since runc enters the files as that root.
    pub(crate) fn make_private(&self, ids: Option<&IdMaps>) -> anyhow::Result<()> {
        let group = ids.and_then(IdMaps::root_group);
        let given = group.map(|group| fchown(self.directory(), None, Some(Gid::from_raw(group))));
        let mode = if given.is_some_and(|given| given.is_ok()) { PASSABLE } else { PRIVATE };
        let changed = fchmod(self.directory(), Mode::from_raw_mode(mode));
        changed.doing("making the directory private").with_context(|| clean_path(&self.path))
    }

    /// Records in the store which image `root`, which is the directory or `within` it, was made from, so that a snapshot of it
    /// needn't be told. Errors are ignored.
    pub(crate) fn note(&self, root: &Root, made: &Made<'_>, store: &Store) {
        let Some(manifest) = &made.image.manifest else { return };
        let path = made.within.map_or_else(|| self.path.clone(), |name| self.path.join(name));
        let path = std::path::absolute(&path).unwrap_or(path);
        let origin = Origin {
            manifest: manifest.descriptor().digest,
            name: made.image.names.first().cloned(),
            path,
            lacks_devices: made.skipped.devices > 0,
            lacks_xattrs: made.skipped.unsupported_xattrs > 0,
            id_maps: made.ids.map(IdMaps::to_string),
        };
        if let Ok(target) = store::DirectoryId::of(root) {
            drop(store.note_origin(&target, &origin));
        }
    }

    /// Finishes the directory: syncs it, and then puts it in its place or removes its mark.
    pub(crate) fn finish(mut self, durability: Durability, io: &Io<'_>) -> anyhow::Result<()> {
        let shown = || clean_path(&self.path);
        if durability == Durability::Synced {
            syncfs(self.directory()).doing("bringing it to the disk").with_context(shown)?;
        }
        match &self.place {
            Place::Beside(draft) => draft.publish(),
            Place::Within { directory, .. } => unmark(directory),
        }
        .with_context(shown)?;
        self.is_whole = true;
        let synced = match (&self.place, durability) {
            (_, Durability::Cached) => Ok(()),
            (Place::Beside(draft), Durability::Synced) => draft.sync_name(),
            (Place::Within { directory, .. }, Durability::Synced) => sync(directory),
        };
        if let Place::Beside(draft) = &self.place
            && let Err(error) = draft.remove()
        {
            let why = cli::error::chain(error.as_ref());
            io.warn(&format!("{}: removing the private directory: {why}", shown()));
        }
        synced.with_context(shown)
    }

    fn directory(&self) -> &File {
        match &self.place {
            Place::Beside(draft) => draft.tree(),
            Place::Within { directory, .. } => directory,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // The run's own error is the one to report. What stays is marked, and the next run removes it.
        let hold = cli::interrupt::hold();
        match &self.place {
            Place::Beside(draft) => drop(draft.remove()),
            Place::Within { directory, mode } => {
                drop(empty(directory));
                fchmod(directory, Mode::from_raw_mode(*mode)).ok();
            }
        }
        drop(hold);
    }
}

fn within(directory: File) -> anyhow::Result<Place> {
    if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
        let message = "another program is filling this directory";
        return Err(cli::Failure::new(cli::Code::Failed, message).into());
    }
    let names = draft::names(directory.as_fd())?;
    if draft::holds_our_mark(directory.as_fd()) {
        empty(&directory)?;
    } else if !names.iter().all(|name| name == LOST_AND_FOUND) {
        let refused = cli::usage("the directory is not empty");
        return Err(refused.hint("give a new one, or empty it").into());
    }
    let mode = directory.metadata().context("looking at the directory")?.mode() & 0o7777;
    draft::mark(directory.as_fd())?;
    Ok(Place::Within { directory, mode })
}

/// Empties a directory, the mark last. `lost+found` is removed too: the layers may have put anything into it.
fn empty(directory: &File) -> anyhow::Result<()> {
    let root = Root::from_fd(directory.try_clone().context("opening the directory")?.into());
    rootfs::clear(&root, Some(MARK))?;
    Ok(rootfs::remove_tree(directory, MARK.as_bytes())?)
}

/// Syncs a directory's entries to the disk.
fn sync(directory: &File) -> anyhow::Result<()> {
    match fsync(directory) {
        // Some file systems can't sync directories, and say so.
        Err(Errno::INVAL) => syncfs(directory),
        synced => synced,
    }
    .doing("bringing it to the disk")
}

/// Removes the mark. The directory's mode and times stay.
fn unmark(directory: &File) -> anyhow::Result<()> {
    let before = directory.metadata().context("looking at the directory")?;
    let remove = || unlinkat(directory, MARK, AtFlags::empty());
    let removed = match remove() {
        // A layer may have given it a mode that forbids its owner to remove anything.
        Err(Errno::ACCESS) => {
            let mode = before.mode() & 0o7777;
            fchmod(directory, Mode::from_raw_mode(mode | 0o700))
                .and_then(|()| remove())
                .and_then(|()| fchmod(directory, Mode::from_raw_mode(mode)))
        }
        removed => removed,
    };
    removed.doing("removing the mark")?;
    let times = fs::FileTimes::new();
    let times = match (before.accessed(), before.modified()) {
        (Ok(accessed), Ok(modified)) => times.set_accessed(accessed).set_modified(modified),
        _ => return Ok(()),
    };
    directory.set_times(times).context("setting the directory's times")
}
