//! Applies entries, except for hard links.

use std::io::BufRead;
use std::os::fd::BorrowedFd;

use layer_format::layer::{Entry, EntryKind, EntryPath, impossible, split_last};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::applier::Applier;
use super::content::FileShape;
use super::file::NewFile;
use super::layer_paths::PathMarks;
use super::staging::Staged;
use super::walk::{Child, Purpose};
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::metadata::{Leftovers, WantedAttributes};

const MAKING: &str = "making the entry";
const NO_DIRECTORY: &str = "the root can only be a directory";

impl Applier {
    /// Applies an entry; a file's bytes are read from `content`.
    pub(super) fn add(&mut self, entry: &Entry, content: &mut impl BufRead) -> Result<(), Error> {
        if let Some(reason) = impossible(entry) {
            return Err(Error::impossible(&entry.path, reason));
        }
        let entry = &*self.walk.ids.entry_on_disk(entry)?;
        self.n_entries += 1;
        let Some((parent, name)) = split_last(entry.path.as_bytes()) else {
            return self.describe_root(entry);
        };
        self.walk.go(parent, Purpose::Write, &self.layer_paths)?;
        self.walk.check_reserved(name)?;
        match &entry.kind {
            EntryKind::File { size, data } => {
                let shape = FileShape { size: *size, pieces: data.as_deref() };
                self.add_file(name, &entry.path, NewFile::new(entry, shape), content)
            }
            EntryKind::Directory => self.add_directory(name, entry),
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

    /// Notes that the layer has written `name` in the current directory.
    pub(super) fn mark(&mut self, name: &[u8]) {
        self.layer_paths.mark_above(self.walk.path());
        let hash = self.layer_paths.hash(self.walk.path(), name);
        self.layer_paths.mark(hash, PathMarks::WRITTEN);
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::impossible(&entry.path, NO_DIRECTORY));
        }
        self.walk.retreat(b"")?;
        self.layer_paths.mark_above(b"");
        self.walk.describe(&WantedAttributes::of(entry), Leftovers::Possible)
    }

    fn add_directory(&mut self, name: &[u8], entry: &Entry) -> Result<(), Error> {
        let leftovers = match self.walk.make_directory(name, entry.mode & 0o777 | 0o700) {
            Ok(directory) => {
                let leftovers = self.walk.here().inheritance();
                self.mark(name);
                self.walk.push(name, directory)?;
                leftovers
            }
            Err(failure) if failure.errno() == Errno::EXIST => self.reuse_directory(name, entry)?,
            Err(failure) => return Err(failure.at(entry.path.clone())),
        };
        self.walk.describe(&WantedAttributes::of(entry), leftovers)
    }

    /// Enters the directory `name`, which exists, or makes one in place of what is there.
    fn reuse_directory(&mut self, name: &[u8], entry: &Entry) -> Result<Leftovers, Error> {
        let directory = match self.walk.open(name).at_path(&entry.path)? {
            Child::Directory(directory) => directory,
            // If the layer has a link and a directory of one name, the last one stays.
            Child::Other if self.may_stand_for_directory(name) && self.walk.follow(name)? => {
                self.layer_paths.mark_above(self.walk.path());
                return Ok(Leftovers::Possible);
            }
            Child::Other | Child::Missing => {
                self.walk.remove(name).at_path(&entry.path)?;
                self.walk.make_directory(name, entry.mode & 0o777 | 0o700).at_path(&entry.path)?
            }
        };
        self.mark(name);
        self.walk.push(name, directory)?;
        Ok(Leftovers::Possible)
    }

    fn may_stand_for_directory(&self, name: &[u8]) -> bool {
        self.walk.may_follow(name, Purpose::Whiteout, &self.layer_paths)
    }

    fn add_file(
        &mut self,
        name: &[u8],
        path: &EntryPath,
        new: NewFile<'_>,
        content: &mut impl BufRead,
    ) -> Result<(), Error> {
        let file = self.replacing(name, |parent| new.create(parent, name)).at_path(path)?;
        let (here, setter) = self.walk.here_and_setter();
        self.bytes += new.complete(&file, content, here, setter)?;
        Ok(())
    }

    /// Puts a file that was made before its turn in its place.
    pub(super) fn put_file(&mut self, path: &EntryPath, staged: &Staged) -> Result<(), Error> {
        self.n_entries += 1;
        let Some((parent, name)) = split_last(path.as_bytes()) else {
            return Err(Error::impossible(path, NO_DIRECTORY));
        };
        self.walk.go(parent, Purpose::Write, &self.layer_paths)?;
        self.walk.check_reserved(name)?;
        self.replacing(name, |parent| staged.place(parent, name)).at_path(path)?;
        self.bytes += staged.bytes;
        if let Some(skipped) = &staged.skipped {
            self.walk.setter.skipped.add(**skipped);
        }
        Ok(())
    }

    fn add_symlink(&mut self, name: &[u8], entry: &Entry, target: &[u8]) -> Result<(), Error> {
        self.replacing(name, |parent| rustix::fs::symlinkat(target, parent, name))
            .and_then(|()| {
                let wanted = WantedAttributes { mode: None, ..WantedAttributes::of(entry) };
                self.walk.describe_named(name, 0, &wanted)
            })
            .at_path(&entry.path)
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
                .and_then(|()| self.walk.describe_named(name, mode, &WantedAttributes::of(entry)))
                .at_path(&entry.path),
        }
    }

    /// Counts a device node that this user can't make.
    pub(super) fn skip_device(&mut self, name: &[u8]) {
        self.walk.setter.skipped.devices += 1;
        let hash = self.layer_paths.hash(self.walk.path(), name);
        self.absent_devices.insert(hash);
    }

    /// Makes something under `name`. What is there already is removed first.
    fn replacing<T>(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, SystemError> {
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
