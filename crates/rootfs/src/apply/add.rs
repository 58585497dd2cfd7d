//! Entries: what a path becomes.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{Entry, EntryKind, impossible, split_last};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::own::Marks;
use super::walk::{Child, Purpose};
use super::{Applier, content};
use crate::error::{Doing, Error, Failure};
use crate::metadata::{self, Attributes, Inode, Leftovers};

const MAKING: &str = "making the entry";

impl Applier {
    pub(super) fn add(&mut self, entry: &Entry, content: &mut impl BufRead) -> Result<(), Error> {
        if let Some(reason) = impossible(entry) {
            return Err(Error::impossible(&entry.path, reason));
        }
        self.n_entries += 1;
        let Some((parent, name)) = split_last(entry.path.as_bytes()) else {
            return self.describe_root(entry);
        };
        self.walk.go(parent, Purpose::Write, &self.own)?;
        self.walk.check_reserved(name)?;
        match &entry.kind {
            EntryKind::Directory => self.add_directory(name, entry),
            EntryKind::File { size, data } => {
                self.add_file(name, entry, (*size, data.as_deref()), content)
            }
            EntryKind::Symlink { target } => self.add_symlink(name, entry, target),
            EntryKind::CharDevice { major, minor } => {
                self.add_special(name, entry, FileType::CharacterDevice, (*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.add_special(name, entry, FileType::BlockDevice, (*major, *minor))
            }
            EntryKind::Fifo => self.add_special(name, entry, FileType::Fifo, (0, 0)),
            EntryKind::Hardlink { target } => self.add_link(name, &entry.path, target),
        }
    }

    /// Notes that the layer has written `name` in the directory worked in.
    pub(super) fn mark(&mut self, name: &[u8]) {
        self.own.mark_above(self.walk.path());
        let key = self.own.key(self.walk.path(), name);
        self.own.mark(key, Marks::WRITTEN);
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::impossible(&entry.path, "the root can only be a directory"));
        }
        self.walk.retreat(b"")?;
        self.own.mark_above(b"");
        self.walk.describe(&Attributes::of(entry), Leftovers::Possible)
    }

    fn add_directory(&mut self, name: &[u8], entry: &Entry) -> Result<(), Error> {
        let at = |failure: Failure| failure.at(entry.path.clone());
        let leftovers = match self.walk.make_directory(name, entry.mode & 0o777 | 0o700) {
            Ok(directory) => {
                let leftovers = self.walk.here().inheritance();
                self.mark(name);
                self.walk.push(name, directory)?;
                leftovers
            }
            Err(failure) if failure.errno() == Errno::EXIST => self.reuse_directory(name, entry)?,
            Err(failure) => return Err(at(failure)),
        };
        self.walk.describe(&Attributes::of(entry), leftovers)
    }

    /// Goes to the directory that is there under `name`, or makes one in place of what is there.
    fn reuse_directory(&mut self, name: &[u8], entry: &Entry) -> Result<Leftovers, Error> {
        let at = |failure: Failure| failure.at(entry.path.clone());
        let directory = match self.walk.open(name).map_err(at)? {
            Child::Directory(directory) => directory,
            // Of the layer's own link and directory of one name, the last one wins.
            Child::Other if self.may_stand_for_directory(name) && self.walk.follow(name)? => {
                self.own.mark_above(self.walk.path());
                return Ok(Leftovers::Possible);
            }
            Child::Other | Child::Missing => {
                self.walk.remove(name).map_err(at)?;
                self.walk.make_directory(name, entry.mode & 0o777 | 0o700).map_err(at)?
            }
        };
        self.mark(name);
        self.walk.push(name, directory)?;
        Ok(Leftovers::Possible)
    }

    fn may_stand_for_directory(&self, name: &[u8]) -> bool {
        self.walk.may_follow(name, Purpose::Whiteout, &self.own)
    }

    fn add_file(
        &mut self,
        name: &[u8],
        entry: &Entry,
        shape: (u64, Option<&[(u64, u64)]>),
        content: &mut impl BufRead,
    ) -> Result<(), Error> {
        let at = |failure: Failure| failure.at(entry.path.clone());
        // Special bits come after the owner; user.* attributes need write permission.
        let mode = entry.mode & 0o777 | if entry.xattrs.is_empty() { 0 } else { 0o600 };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self
            .replacing(name, |parent| {
                rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode))
            })
            .map_err(at)?;
        self.bytes += content::fill(file.as_fd(), &entry.path, shape, content)?;
        let present = self.walk.here().birth(mode, |_| rustix::fs::fstat(&file)).map_err(at)?;
        let inode = Inode::Open(file.as_fd());
        self.walk.setter.set(inode, present, &Attributes::of(entry)).map_err(at)?;
        metadata::set_times(inode, entry.mtime).map_err(at)
    }

    fn add_symlink(&mut self, name: &[u8], entry: &Entry, target: &[u8]) -> Result<(), Error> {
        self.replacing(name, |parent| rustix::fs::symlinkat(target, parent, name))
            .and_then(|()| {
                self.walk.describe_named(
                    name,
                    0,
                    &Attributes { mode: None, ..Attributes::of(entry) },
                )
            })
            .map_err(|failure| failure.at(entry.path.clone()))
    }

    fn add_special(
        &mut self,
        name: &[u8],
        entry: &Entry,
        kind: FileType,
        number: (u32, u32),
    ) -> Result<(), Error> {
        let device = rustix::fs::makedev(number.0, number.1);
        let mode = entry.mode & 0o777;
        let made = self.replacing(name, |parent| {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), device)
        });
        match made {
            Err(failure) if failure.errno() == Errno::PERM && kind != FileType::Fifo => {
                self.skip_device(name);
                Ok(())
            }
            made => made
                .and_then(|()| self.walk.describe_named(name, mode, &Attributes::of(entry)))
                .map_err(|failure| failure.at(entry.path.clone())),
        }
    }

    /// Counts a device node that this user can't make.
    pub(super) fn skip_device(&mut self, name: &[u8]) {
        self.walk.setter.skipped.devices += 1;
        let key = self.own.key(self.walk.path(), name);
        self.absent_devices.insert(key);
    }

    /// Makes something where nothing may be; what is there after all goes.
    fn replacing<T>(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, Failure> {
        self.mark(name);
        self.walk.here().change();
        match make(self.walk.fd()) {
            Err(Errno::EXIST) => {
                self.walk.remove(name)?;
                make(self.walk.fd()).doing(MAKING)
            }
            result => result.doing(MAKING),
        }
    }
}
