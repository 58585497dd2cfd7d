//! The layers of a kind, and one that is being made.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use layer_format::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::Error;
use crate::locked_file::{self, AtDrop, IfMissing, LockedFile, Taken, unused_name};
use crate::store::{self, Folder, Store};
use crate::system;

/// The number of hexadecimal digits of a key in a name. Two keys don't share them by chance; if they do, that is an error.
pub(super) const NAME: usize = 20;
pub(super) const ABOUT: &str = "about.json";
pub(super) const TREE: &str = "tree";
pub(super) const DRAFT: &str = ".draft-";
pub(super) const GONE: &str = ".gone-";

/// The extracted layers of one kind.
#[derive(Clone, Debug)]
pub struct Layers {
    pub(super) folder: PathBuf,
    /// The same in the stores beside this one.
    pub(super) beside: Vec<PathBuf>,
}

/// What is known about an extracted layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The digest that the layer is found by.
    pub key: Digest,
    /// Whether the layer means the same on top of any other layers.
    pub stands_alone: bool,
    /// Whether the layer has an entry for the root directory.
    pub describes_root: bool,
    /// The size of its content, in bytes.
    pub bytes: u64,
}

/// An extracted layer in the cache.
#[derive(Clone, Debug)]
pub struct Extracted {
    path: PathBuf,
    about: About,
}

/// A layer that is being made. It is locked, so that no other program removes it.
#[derive(Debug)]
pub struct LayerDraft {
    folder: PathBuf,
    path: PathBuf,
    /// The directory, locked.
    _directory: File,
}

/// The lock that a program holds while it makes one layer.
#[derive(Debug)]
pub struct BuildLock {
    _lock: LockedFile,
}

impl Store {
    /// The extracted layers of a kind; `kind` is the name of a folder.
    pub fn layers(&self, kind: &str) -> Layers {
        let folder = |store: &Self| store.folder(Folder::Layers).join(kind);
        Layers { folder: folder(self), beside: self.beside().iter().map(folder).collect() }
    }
}

impl Layers {
    /// The layer with this key, if it is there. The caller must have protected the key with a lease.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a layer with another key has the name; [`Error::MalformedJson`] if its description is damaged.
    pub fn find(&self, key: &Digest) -> Result<Option<Extracted>> {
        let own = find_in(&self.folder, key)?;
        // Another user's may not be for us.
        let beside = || self.beside.iter().find_map(|folder| find_in(folder, key).ok().flatten());
        Ok(own.or_else(beside))
    }

    /// Waits until no other program makes the layer with this key, and keeps others from it. Then look again whether the layer
    /// is there.
    pub fn build_lock(&self, key: &Digest) -> Result<BuildLock> {
        self.make_folder()?;
        let path = self.folder.join(format!(".build-{}", name(key)));
        loop {
            match LockedFile::take(path.clone(), IfMissing::Create)? {
                Taken::Mine(mut lock) => {
                    lock.at_drop(AtDrop::Remove);
                    return Ok(BuildLock { _lock: lock });
                }
                Taken::Busy(file) => {
                    locked_file::lock(&file).map_err(Error::io("locking", &path))?;
                }
                Taken::Gone => {}
            }
        }
    }

    /// Begins a layer: an empty directory with an empty [`LayerDraft::tree`] in it.
    pub fn draft(&self) -> Result<LayerDraft> {
        self.make_folder()?;
        loop {
            let path = self.folder.join(format!("{DRAFT}{}", unused_name()));
            let made = DirBuilder::new().mode(0o755).create(&path);
            made.map_err(Error::io("making directory", &path))?;
            // A sweeper may have found it before the lock was on it; then another is made.
            let Some(directory) = lock_directory(&path)? else { continue };
            let draft = LayerDraft { folder: self.folder.clone(), path, _directory: directory };
            store::create_dir(&draft.tree())?;
            return Ok(draft);
        }
    }

    /// Makes the folder of this kind with mode 0700: an image's setuid programs are for the user who mounts it, not for all users
    /// of the machine.
    fn make_folder(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(Error::io("making directory", &self.folder))
    }
}

impl Extracted {
    /// The layer's directory.
    pub fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// What is known about the layer.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Whether a path in a list of mounts looks like that of a layer in some store.
    pub fn is_one(path: &Path) -> bool {
        let is_name =
            |name: &str| name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        path.ends_with(TREE)
            && path.parent().and_then(|it| it.file_name()?.to_str()).is_some_and(is_name)
    }
}

impl LayerDraft {
    /// The directory in which the layer is made. When it is finished, `tree` must be the only directory in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The layer's directory.
    pub fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// Syncs the layer, which must be whole and verified, and gives it its name. If another program was faster, returns that
    /// one's layer; then the caller removes this draft.
    ///
    /// # Errors
    /// It can't be written or synced, or [`Error::Malformed`] if a directory that is no layer has its name.
    pub fn finish(&self, about: About) -> Result<Extracted> {
        let path = self.folder.join(name(&about.key));
        let file = self.path.join(ABOUT);
        let content = serde_json::to_vec(&about)
            .map_err(|source| Error::MalformedJson { path: file.clone(), source })?;
        fs::write(&file, content).map_err(Error::io("writing", &file))?;
        let opened = File::open(&file).map_err(Error::io("opening", &file))?;
        // One call for all its files. Without it, a name could outlive a power cut that its content doesn't.
        system::sync_file_system(&opened).map_err(Error::io("syncing", &file))?;
        match rename(&self.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let reason = "a layer that isn't whole";
                find_in(&self.folder, &about.key)?.ok_or(Error::Malformed { path, reason })
            }
            renamed => {
                renamed.map_err(Error::io("renaming to", &path))?;
                Ok(Extracted { path, about })
            }
        }
    }
}

/// The layer with this key in a folder, if it is there.
fn find_in(folder: &Path, key: &Digest) -> Result<Option<Extracted>> {
    let path = folder.join(name(key));
    let Some(about) = read_about(&path)? else { return Ok(None) };
    if about.key != *key {
        return Err(Error::Malformed { path, reason: "another layer has this name" });
    }
    Ok(Some(Extracted { path, about }))
}

/// The name of the layer with this key.
pub(super) fn name(key: &Digest) -> String {
    key.hex()[..NAME].to_owned()
}

/// Renames a directory, unless the new name is taken, if only by an empty directory.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that can't promise it: names are never those of empty directories.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            renamed => renamed,
        },
        renamed => Ok(renamed?),
    }
}

pub(super) fn read_about(entry: &Path) -> Result<Option<About>> {
    let path = entry.join(ABOUT);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            let content = read.map_err(Error::io("reading", &path))?;
            let about = serde_json::from_slice(&content);
            about.map(Some).map_err(|source| Error::MalformedJson { path, source })
        }
    }
}

/// Locks a directory; `None` if it is gone or another program has locked it.
pub(super) fn lock_directory(path: &Path) -> Result<Option<File>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("opening", path))?,
    };
    let is_locked = locked_file::try_lock(&directory).map_err(Error::io("locking", path))?;
    Ok((is_locked && locked_file::leads_to(path, &directory)?).then_some(directory))
}
