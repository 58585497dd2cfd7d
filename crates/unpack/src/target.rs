//! The directory that appears whole or not at all.
//!
//! A new one is built beside its place and renamed. An empty one that exists already, a fresh mount perhaps, is filled in
//! place with a mark in it until it is whole. Both are locked while the work goes on, so what a killed program left is
//! told from what a running one is at, and goes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::report::clean_path;
use layer_format::archive::Image;
use rootfs::Root;
use rustix::fs::{AtFlags, FlockOperation, Mode, RenameFlags, fchmod, flock, renameat_with};
use rustix::io::Errno;
use store::{Origin, Store};

/// Says of a directory that it isn't whole.
pub(crate) const MARK: &str = layer_format::layer::INCOMPLETE;
/// What a fresh file system may have in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// A directory on its way to being whole. Dropped before [`finish`](Self::finish), it goes, or is emptied.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it is to be.
    path: PathBuf,
    place: Place,
    /// Held locked while the work goes on.
    directory: File,
    is_whole: bool,
}

#[derive(Debug)]
enum Place {
    /// Built under another name, in the same parent.
    Beside(PathBuf),
    /// Filled where it is, with a mark in it.
    Within,
}

impl Target {
    /// Makes the directory to fill, or takes the empty one that is there.
    pub(crate) fn prepare(path: &Path) -> anyhow::Result<Self> {
        let shown = || clean_path(path);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::within(path).with_context(shown),
            Ok(_) => Err(cli::usage(format!("{}: exists and is no directory", shown())).into()),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && fs::symlink_metadata(path).is_err() =>
            {
                Self::beside(path).with_context(shown)
            }
            Err(error) => Err(error).with_context(shown),
        }
    }

    /// The root to fill.
    pub(crate) fn root(&self) -> anyhow::Result<Root> {
        let directory = self.directory.try_clone().context("opening the directory")?;
        Ok(Root::from_fd(directory.into()))
    }

    /// Notes in the store what `root`, which is the directory or `within` it, was made from, so that a snapshot of it
    /// needs no telling. No loss if not.
    pub(crate) fn note(&self, root: &Root, within: Option<&str>, store: &Store, image: &Image) {
        let Some(manifest) = &image.manifest else { return };
        let path = within.map_or_else(|| self.path.clone(), |name| self.path.join(name));
        let path = std::path::absolute(&path).unwrap_or(path);
        let origin = Origin {
            manifest: manifest.descriptor().digest,
            name: image.names.first().cloned(),
            path,
        };
        if let Ok(target) = store::Target::of(root) {
            drop(store.note_origin(&target, &origin));
        }
    }

    /// Says that the directory is whole: it appears in its place, or loses its mark.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        match &self.place {
            Place::Beside(beside) => {
                rename(beside, &self.path).with_context(|| clean_path(&self.path))?;
            }
            Place::Within => unmark(&self.directory).with_context(|| clean_path(&self.path))?,
        }
        self.is_whole = true;
        Ok(())
    }

    fn beside(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().context("a directory can't be made with this name")?;
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".strata-");
        sweep(parent, &prefix).context("removing what a killed program left")?;
        for attempt in 0..1000 {
            let mut name = prefix.clone();
            name.push(format!("{}-{attempt}", std::process::id()));
            let beside = parent.join(name);
            match fs::DirBuilder::new().mode(0o700).create(&beside) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.context("making the directory")?;
                    return Self::made(path, beside);
                }
            }
        }
        anyhow::bail!("no free name beside it")
    }

    fn made(path: &Path, beside: PathBuf) -> anyhow::Result<Self> {
        let directory = File::open(&beside).context("opening the directory")?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .context("locking the directory")?;
        directory
            .set_permissions(fs::Permissions::from_mode(0o755))
            .context("making the directory")?;
        Ok(Self { path: path.to_owned(), place: Place::Beside(beside), directory, is_whole: false })
    }

    fn within(path: &Path) -> anyhow::Result<Self> {
        let directory = File::open(path).context("opening the directory")?;
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(cli::Failure::new(
                cli::Code::Failed,
                "another program is filling this directory",
            )
            .into());
        }
        let names = names(path)?;
        if names.iter().any(|name| name == MARK) {
            empty(&directory)?;
        } else if !names.iter().all(|name| name == LOST_AND_FOUND) {
            return Err(cli::usage("the directory is not empty")
                .hint("give a new one, or empty it")
                .into());
        }
        File::create_new(path.join(MARK)).context("marking the directory")?;
        Ok(Self { path: path.to_owned(), place: Place::Within, directory, is_whole: false })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // There is another error to report; what stays is marked or has an odd name, and the next run removes it.
        let hold = cli::interrupt::hold();
        match &self.place {
            Place::Beside(beside) => drop(remove(beside)),
            Place::Within => drop(empty(&self.directory)),
        }
        drop(hold);
    }
}

fn names(path: &Path) -> anyhow::Result<Vec<OsString>> {
    let entries = fs::read_dir(path).context("reading the directory")?;
    entries.map(|entry| Ok(entry.context("reading the directory")?.file_name())).collect()
}

/// Empties a directory, the mark last; `lost+found` goes too, as the layers may have put anything into it, and is no loss.
fn empty(directory: &File) -> anyhow::Result<()> {
    let root = Root::from_fd(directory.try_clone().context("opening the directory")?.into());
    rootfs::clear(&root, Some(MARK))?;
    Ok(rootfs::remove_tree(directory, MARK.as_bytes())?)
}

/// Removes a tree by descriptors, following no link.
fn remove(path: &Path) -> anyhow::Result<()> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().context("no name")?;
    let parent = File::open(parent).context("opening the parent")?;
    Ok(rootfs::remove_tree(&parent, name.as_bytes())?)
}

/// Removes the directories of killed programs: those that nobody has locked.
fn sweep(parent: &Path, prefix: &OsString) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_bytes().starts_with(prefix.as_bytes());
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Puts the directory in its place, unless something came there meanwhile.
fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let here = rustix::fs::CWD;
    match renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // A file system that can't promise it: rename replaces an empty directory at most.
            fs::rename(from, to).context("moving the directory to its place")
        }
        renamed => renamed.map_err(io::Error::from).context("moving the directory to its place"),
    }
}

/// Removes the mark. The directory's mode and times stay.
fn unmark(directory: &File) -> anyhow::Result<()> {
    let before = directory.metadata().context("looking at the directory")?;
    let remove = || rustix::fs::unlinkat(directory, MARK, AtFlags::empty());
    let removed = match remove() {
        // A layer may have given it a mode in which nobody can remove anything.
        Err(Errno::ACCESS) => {
            let mode = before.mode() & 0o7777;
            fchmod(directory, Mode::from_raw_mode(mode | 0o700))
                .and_then(|()| remove())
                .and_then(|()| fchmod(directory, Mode::from_raw_mode(mode)))
        }
        removed => removed,
    };
    removed.map_err(io::Error::from).context("removing the mark")?;
    let times = fs::FileTimes::new();
    let times = match (before.accessed(), before.modified()) {
        (Ok(accessed), Ok(modified)) => times.set_accessed(accessed).set_modified(modified),
        _ => return Ok(()),
    };
    directory.set_times(times).context("setting the directory's times")
}
