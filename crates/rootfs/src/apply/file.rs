//! Makes a regular file: with its content, then with its attributes.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::Entry;
use rustix::fs::{Mode, OFlags};

use super::content::{self, FileShape};
use super::open_directory::OpenDirectory;
use crate::error::{AtPath, Error};
use crate::inode::InodeHandle;
use crate::metadata::{AttributeSetter, WantedAttributes};

/// A file of a layer that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewFile<'a> {
    entry: &'a Entry,
    shape: FileShape<'a>,
}

impl<'a> NewFile<'a> {
    /// The file of an entry.
    pub(super) fn new(entry: &'a Entry, shape: FileShape<'a>) -> Self {
        Self { entry, shape }
    }

    /// The mode that it has until its attributes are set. Special bits are set after the owner, and to set user.* attributes takes
    /// write permission.
    fn first_mode(self) -> u32 {
        self.entry.mode & 0o777 | if self.entry.xattrs.is_empty() { 0 } else { 0o600 }
    }

    /// Creates the empty file. Nothing of its name may exist.
    pub(super) fn create(self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(self.first_mode()))
    }

    /// Gives the empty file, which was made in `directory`, its content and its attributes. The result is the number of bytes that
    /// were written.
    pub(super) fn complete(
        self,
        file: &OwnedFd,
        content: &mut impl BufRead,
        directory: &mut OpenDirectory,
        setter: &mut AttributeSetter,
    ) -> Result<u64, Error> {
        let Self { entry, shape } = self;
        let written = content::fill(file.as_fd(), &entry.path, shape, content)?;
        let present =
            directory.birth(self.first_mode(), |_| rustix::fs::fstat(file)).at_path(&entry.path)?;
        let inode = InodeHandle::Open(file.as_fd());
        setter.set(inode, present, &WantedAttributes::of(entry)).at_path(&entry.path)?;
        inode.set_times(entry.mtime).at_path(&entry.path)?;
        Ok(written)
    }
}
