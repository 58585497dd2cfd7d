//! Layers extracted for union mounts: a cache of directories, shared by images.
//!
//! ```text
//! strata/layers/KIND/NAME/tree         the layer, as the file system takes it
//! strata/layers/KIND/NAME/about.json   which key it has, and what else is worth knowing
//! strata/layers/KIND/.draft-…          on its way to a name; locked by who makes it
//! strata/layers/KIND/.build-NAME       held locked by who makes that one
//! strata/layers/KIND/.gone-…           on its way out
//! ```
//!
//! A kind is a set of directories that the same mounts can use: who owns the files, and where marks are kept, differs
//! between the system's root and the users. NAME is the key's first digits, short because kernels before 6.5 take all names
//! of a union in one page. What has a name is whole: it got it by rename, when all was verified and on disk.
//!
//! Like a blob, a key is first entered in a [`Lease`](crate::Lease), then looked for; gc holds the lock and removes what
//! no lease has and no union has mounted. A union leaves a note in `strata/unions` before its lease ends, and the note
//! counts until the union is proven to be gone (`unions`). A layer whose name is in any `/proc/*/mountinfo` stays in any
//! case, wherever that store is: paths mean different things in different mount namespaces.

mod alive;
mod collect;
mod sight;
mod unions;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use layer_format::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use serde::{Deserialize, Serialize};

pub use collect::{Collected, Doomed, Kept, Proof};
pub use unions::Reach;

use crate::Result;
use crate::error::Error;
use crate::layout;
use crate::owned::{self, AtDrop, IfMissing, Owned, Taken, unused_name};
use crate::store::{Folder, Store};

/// How many digits of a key make a name: nobody finds two alike by chance, and who forces it gets an error.
const NAME: usize = 20;
const ABOUT: &str = "about.json";
const TREE: &str = "tree";
const DRAFT: &str = ".draft-";
const GONE: &str = ".gone-";

/// The extracted layers of one kind.
#[derive(Clone, Debug)]
pub struct Layers {
    folder: PathBuf,
}

/// What is known about an extracted layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What it is a layer of, or by itself.
    pub key: Digest,
    /// Whether it means the same on top of any other layers.
    pub stands_alone: bool,
    /// Whether the layer says what the root directory is like.
    pub describes_root: bool,
    /// How many bytes of content it has.
    pub bytes: u64,
}

/// A layer that is there.
#[derive(Clone, Debug)]
pub struct Extracted {
    path: PathBuf,
    about: About,
}

/// A layer on its way into the cache. Nobody else touches it while it lives.
#[derive(Debug)]
pub struct LayerDraft {
    folder: PathBuf,
    path: PathBuf,
    /// Locked.
    _directory: File,
}

/// The right to make one layer.
#[derive(Debug)]
pub struct Turn {
    _lock: Owned,
}

impl Store {
    /// The extracted layers of a kind, which is a word.
    pub fn layers(&self, kind: &str) -> Layers {
        Layers { folder: self.folder(Folder::Layers).join(kind) }
    }
}

impl Layers {
    /// The layer of this key, if it is there. Enter the key in a lease first.
    pub fn find(&self, key: &Digest) -> Result<Option<Extracted>> {
        let path = self.folder.join(name(key));
        let Some(about) = read_about(&path)? else { return Ok(None) };
        if about.key != *key {
            return Err(Error::Malformed { path, reason: "another layer has this name" });
        }
        Ok(Some(Extracted { path, about }))
    }

    /// Waits until nobody else makes the layer of this key. Then look again whether it is there.
    pub fn turn(&self, key: &Digest) -> Result<Turn> {
        self.make_folder()?;
        let path = self.folder.join(format!(".build-{}", name(key)));
        loop {
            match Owned::take(path.clone(), IfMissing::Create)? {
                Taken::Mine(mut lock) => {
                    lock.at_drop(AtDrop::Remove);
                    return Ok(Turn { _lock: lock });
                }
                Taken::Busy(file) => owned::lock(&file).map_err(Error::io("locking", &path))?,
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
            layout::create_dir(&draft.tree())?;
            return Ok(draft);
        }
    }

    /// Nobody else may go there: an image's setuid programs are for those who mount it, not for everybody on the machine.
    fn make_folder(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(Error::io("making directory", &self.folder))
    }

    /// What killed programs left here, for the caller to remove.
    pub fn leftovers(&self) -> Result<Vec<Doomed>> {
        collect::leftovers(&self.folder)
    }
}

impl Extracted {
    /// The layer's directory.
    pub fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// What is known about it.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Whether a path in a list of mounts is that of a layer in some store.
    pub fn is_one(path: &Path) -> bool {
        let is_name =
            |name: &str| name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        path.ends_with(TREE)
            && path.parent().and_then(|it| it.file_name()?.to_str()).is_some_and(is_name)
    }
}

impl LayerDraft {
    /// Where it is being made; other directories beside `tree` must be gone in the end.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The layer's directory.
    pub fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// Gives it its name, once it is whole and verified. If another program was faster, that one's counts, and the caller
    /// removes this one.
    pub fn finish(&self, about: About) -> Result<Extracted> {
        let path = self.folder.join(name(&about.key));
        let file = self.path.join(ABOUT);
        let content = serde_json::to_vec(&about)
            .map_err(|source| Error::MalformedJson { path: file.clone(), source })?;
        fs::write(&file, content).map_err(Error::io("writing", &file))?;
        let opened = File::open(&file).map_err(Error::io("opening", &file))?;
        // One call for all its files. Without it, a name could outlive a power cut that its content doesn't.
        syncfs(opened).map_err(|errno| Error::io("syncing", &file)(errno.into()))?;
        match rename(&self.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let layers = Layers { folder: self.folder.clone() };
                let reason = "a layer that isn't whole";
                layers.find(&about.key)?.ok_or(Error::Malformed { path, reason })
            }
            renamed => {
                renamed.map_err(Error::io("renaming to", &path))?;
                Ok(Extracted { path, about })
            }
        }
    }
}

fn name(key: &Digest) -> String {
    key.hex()[..NAME].to_owned()
}

/// Renames unless the new name is taken, by an empty directory too.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
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

fn read_about(entry: &Path) -> Result<Option<About>> {
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

/// Locks a directory, unless it is gone or somebody else's.
fn lock_directory(path: &Path) -> Result<Option<File>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("opening", path))?,
    };
    match directory.try_lock() {
        Ok(()) => Ok(owned::leads_to(path, &directory)?.then_some(directory)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("locking", path)(error)),
    }
}

#[cfg(test)]
mod tests;
