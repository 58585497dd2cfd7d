//! The writable layer: the user's directory, and the kernel's working directory beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Code, Failure, Io};
use rootfs::Root;
use rootfs::overlay::{copy_attributes, is_upper_in_use};
use rustix::fs::{AtFlags, FlockOperation, StatxFlags, flock, statx};
use rustix::io::Errno;
use store::{DirectoryId, Origin, Store};
use stream::archive::Image;

use crate::cache::Stack;
use crate::directory::MadeDir;
use crate::mount_error;

/// A writable layer, ready to be mounted.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) dir: Root,
    pub(crate) work: Root,
    path: PathBuf,
    /// The working directory, locked until it is mounted: from then on the kernel tells that it is in use.
    _lock: File,
    /// The two directories.
    made: [MadeDir; 2],
    /// Whether it held nothing when it was prepared.
    is_empty: bool,
}

impl Upper {
    /// Makes the directories that are missing. An empty layer gets the attributes of the image's root, which it covers.
    ///
    /// # Errors
    /// The system's, and if another union writes to it or the working directory would be on another file system.
    pub(crate) fn prepare(path: &Path, stack: &Stack) -> anyhow::Result<Self> {
        let shown = || clean_path(path);
        let upper = MadeDir::make(path)?;
        let path = fs::canonicalize(path).with_context(shown)?;
        let dir = Root::open(&path)?;
        let upper_is_new = upper.is_new();
        let is_empty = upper_is_new || fs::read_dir(&path).with_context(shown)?.next().is_none();
        let work_path = work(&path).context("a writable layer can't be the root directory")?;
        let made = [upper, MadeDir::make(&work_path)?];
        let work = Root::open(&work_path)?;
        if mount_of(&dir)? != mount_of(&work)? {
            let message = format!(
                "{}: the kernel's working directory would stand beside it, on another file system",
                shown()
            );
            let hint = format!("--upper {}", clean_path(&path.join("upper")));
            return Err(Failure::new(Code::Failed, message).hint(hint).into());
        }
        let lock = File::open(&work_path).context("opening the working directory")?;
        let is_locked = match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => true,
            locked => {
                locked.map_err(io::Error::from).context("locking the working directory")?;
                false
            }
        };
        // The lock is for two that begin at once. The list of mounts doesn't have those of other mount namespaces, and may
        // have another name of the directory, so the kernel is asked.
        if is_locked || (!upper_is_new && is_upper_in_use(&dir).map_err(mount_error::explain)?) {
            let message = format!("{}: another union writes to it", shown());
            // A mount that was ended lives on in every mount namespace that was made meanwhile.
            let hint = format!(
                "which programs have its mount: grep -l {} /proc/[0-9]*/mountinfo",
                clean_path(&path)
            );
            return Err(Failure::new(Code::Failed, message).hint(hint).into());
        }
        if is_empty && let Some(root) = stack.layers.first() {
            copy_attributes(&Root::open(&root.tree())?, &dir)?;
        }
        Ok(Self { dir, work, path, _lock: lock, made, is_empty })
    }

    /// Records in the store which image the changes are made to, for a snapshot of them. Warns if the changes in it were made
    /// to another image.
    pub(crate) fn note(&self, store: &Store, image: &Image, io: &Io<'_>) {
        let origin = origin(image, self.path.clone());
        let (Some(origin), Ok(target)) = (origin, DirectoryId::of(&self.dir)) else { return };
        let before = store.changed_image(&target).filter(|_| !self.is_empty);
        if let Some(before) = before.filter(|before| before.manifest != origin.manifest) {
            let (path, other) = (clean_path(&self.path), before.manifest.short());
            io.warn(&format!("{path} holds changes that were made to another image, {other}"));
        }
        // A snapshot can also be told the image.
        store.note_changed_image(&target, &origin).ok();
    }

    /// Makes the directories stay, once they are mounted.
    pub(crate) fn keep(&mut self) {
        self.made.iter_mut().for_each(MadeDir::keep);
    }
}

/// What the store records about a directory that shows the image, or has changes to it; `None` for an image without a
/// manifest.
pub(crate) fn origin(image: &Image, path: PathBuf) -> Option<Origin> {
    let manifest = image.manifest.as_ref()?.descriptor().digest;
    Some(Origin {
        manifest,
        name: image.names.first().cloned(),
        path,
        lacks_devices: false,
        lacks_xattrs: false,
        id_maps: None,
    })
}

/// The end of the working directory's name.
const WORK: &str = ".strata-work";

/// Whether a directory has the name of a working directory made by union.
pub(crate) fn is_work(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(WORK.as_bytes()))
}

/// The id of the mount that a directory is in; the same for all where the kernel (before 5.8) or a filter doesn't tell.
fn mount_of(dir: &Root) -> anyhow::Result<u64> {
    match statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(0),
        stat => {
            Ok(stat.map_err(io::Error::from).context("looking at the writable layer")?.stx_mnt_id)
        }
    }
}

/// The path of the working directory: a hidden name beside the writable layer.
fn work(upper: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(upper.file_name()?);
    name.push(WORK);
    Some(upper.with_file_name(name))
}
