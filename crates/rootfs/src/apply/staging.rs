//! Files that are made before their turn.
//!
//! Of a layer's regular file, only the place depends on the layers below. So another thread can make it while those are still applied:
//! with its content and all its attributes, in a directory of its own on the same file system. In its turn,
//! [`Applier::put`](super::Applier::put) renames it.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use layer_format::layer::{Entry, EntryKind, EntryPath, impossible};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result as SysResult};

use super::content::FileShape;
use super::file::NewFile;
use super::open_directory::OpenDirectory;
use super::options::Options;
use crate::error::{AtPath, Doing, Error};
use crate::ids::MappedIds;
use crate::metadata::{AttributeSetter, Skipped};
use crate::remove;
use crate::root::{self, Root};

const MAKING: &str = "making the directory for files before their turn";

/// A directory with a directory for each [`Stager`]. When dropped, it is removed with all that is in it.
#[derive(Debug)]
pub struct Staging {
    parent: OwnedFd,
    name: &'static str,
    directory: OwnedFd,
}

impl Staging {
    /// Makes the directory `name` in `parent`, which must be on the file system of the root that is filled, and not be that root or
    /// below it: layers could reach what is there.
    ///
    /// # Errors
    /// [`Error::Io`], if it exists, too, or files can't be renamed from there into the root: a process that Landlock confines may
    /// make files in both and not that.
    pub fn make(parent: impl AsFd, name: &'static str, root: &Root) -> Result<Self, Error> {
        let path = EntryPath::parse(name.as_bytes()).unwrap_or_default();
        let parent = rustix::io::fcntl_dupfd_cloexec(parent, 3).doing(MAKING).at_path(&path)?;
        let directory = make_directory(parent.as_fd(), name).doing(MAKING).at_path(&path)?;
        let staging = Self { parent, name, directory };
        staging.probe(root.as_fd()).doing(MAKING).at_path(&path)?;
        Ok(staging)
    }

    /// Moves a file into the root, and removes it there.
    fn probe(&self, root: BorrowedFd<'_>) -> SysResult<()> {
        let name = format!("{}.probe", self.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
        rename(&self.directory, &name, root, name.as_bytes())?;
        rustix::fs::unlinkat(root, &name, AtFlags::empty())
    }

    /// A maker of files for the applier that has this root and these options. `number` is its alone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stager(&self, number: usize, root: &Root, options: &Options) -> Result<Stager, Error> {
        let name = number.to_string();
        let path = EntryPath::parse(name.as_bytes()).unwrap_or_default();
        let made = make_directory(self.directory.as_fd(), &name).doing(MAKING).at_path(&path)?;
        let shared = rustix::io::fcntl_dupfd_cloexec(&made, 3).doing(MAKING).at_path(&path)?;
        let mut directory = OpenDirectory::new(made, 0, None).at_path(&path)?;
        directory.unlock(rustix::process::geteuid().as_raw()).at_path(&path)?;
        Ok(Stager {
            directory,
            shared: Arc::new(shared),
            setter: AttributeSetter::new(options.owner, options.special_bits),
            ids: root.ids().clone(),
            n_made: 0,
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Whoever keeps its parent removes what stays.
        drop(remove::remove_tree(&self.parent, self.name.as_bytes()));
    }
}

fn make_directory(parent: BorrowedFd<'_>, name: &str) -> SysResult<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    let directory = root::open_directory(parent, name.as_bytes())?;
    // The umask may have taken bits, and the parent may have given setgid, which would give files another group.
    rustix::fs::fchmod(&directory, Mode::RWXU)?;
    Ok(directory)
}

/// Makes files before their turn.
#[derive(Debug)]
pub struct Stager {
    directory: OpenDirectory,
    /// The same directory, for those who rename.
    shared: Arc<OwnedFd>,
    setter: AttributeSetter,
    ids: MappedIds,
    n_made: u64,
}

impl Stager {
    /// Makes the file of an entry; its bytes are read from `content`. `None` if the entry is no regular file, or one that the applier
    /// will refuse: that says why.
    ///
    /// # Errors
    /// Those of [`Applier::apply`](super::Applier::apply).
    pub fn stage(
        &mut self,
        entry: &Entry,
        content: &mut impl BufRead,
    ) -> Result<Option<Staged>, Error> {
        if entry.path.is_root() || impossible(entry).is_some() {
            return Ok(None);
        }
        let entry = &*self.ids.entry_on_disk(entry)?;
        let EntryKind::File { size, data } = &entry.kind else { return Ok(None) };
        let new = NewFile::new(entry, FileShape { size: *size, pieces: data.as_deref() });
        let number = self.n_made;
        self.n_made += 1;
        let name = number.to_string();
        let made = new.create(self.directory.as_fd(), name.as_bytes());
        let file = made.doing("making the entry").at_path(&entry.path)?;
        let bytes = new.complete(&file, content, &mut self.directory, &mut self.setter)?;
        let skipped = std::mem::take(&mut self.setter.skipped);
        let skipped = (skipped != Skipped::default()).then(|| Box::new(skipped));
        Ok(Some(Staged { directory: Arc::clone(&self.shared), number, bytes, skipped }))
    }
}

/// A file that was made before its turn.
#[derive(Debug)]
pub struct Staged {
    directory: Arc<OwnedFd>,
    /// Its name there.
    number: u64,
    /// How many bytes were written.
    pub(super) bytes: u64,
    pub(super) skipped: Option<Box<Skipped>>,
}

impl Staged {
    /// Renames it to its place. [`Errno::EXIST`] if something is there.
    pub(super) fn place(&self, parent: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
        rename(&self.directory, &self.number.to_string(), parent, name)
    }
}

/// Renames a file to where nothing is.
fn rename(directory: impl AsFd, file: &str, parent: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    match rustix::fs::renameat_with(&directory, file, parent, name, RenameFlags::NOREPLACE) {
        // The file system, or the kernel, has no such flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(&directory, file, parent, name),
                Err(errno) => Err(errno),
            }
        }
        renamed => renamed,
    }
}
