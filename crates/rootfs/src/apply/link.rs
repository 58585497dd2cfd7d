//! Applies hard links. The target is held by a descriptor before anything is changed at the link's own path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::{EntryPath, components, split_last};
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::{Errno, Result as SysResult};

use super::applier::Applier;
use super::layer_paths::PathMarks;
use super::walk::Purpose;
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::root;

const OPERATION: &str = "making the hard link";

impl Applier {
    /// Makes `name`, in the current directory, another name of `target`. The attributes of the target stay as they are.
    pub(super) fn add_link(
        &mut self,
        name: &[u8],
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), Error> {
        let refuse = |reason| Error::Link { path: path.clone(), target: target.clone(), reason };
        let Some((target_parent, target_name)) = split_last(target.as_bytes()) else {
            return Err(refuse("it is the root"));
        };
        let here = self.walk.path().to_vec();
        let held = self.hold_target(target_parent, target_name, path)?;
        let absent =
            self.absent_devices.contains(&self.layer_paths.hash(self.walk.path(), target_name));
        let makes_way = is_at_or_below(self.walk.path(), &here, name);
        if let Some(held) = &held {
            let stat = rustix::fs::fstat(held).doing(OPERATION).at_path(path)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Err(refuse("it is a directory"));
            }
        } else if !absent {
            return Err(refuse("it isn't there"));
        }
        if makes_way {
            return Err(refuse("the link replaces it"));
        }
        self.walk.go_back(&here)?;
        self.mark(name);
        let Some(held) = held else {
            self.walk.remove(name).at_path(path)?;
            self.skip_device(name);
            return Ok(());
        };
        self.link_held(&held, name).at_path(path)
    }

    /// A descriptor that holds a link's target, even if that is a symbolic link. `None` if it doesn't exist.
    fn hold_target(
        &mut self,
        parent: &[u8],
        name: &[u8],
        path: &EntryPath,
    ) -> Result<Option<OwnedFd>, Error> {
        if !self.walk.go(parent, Purpose::LinkTarget, &self.layer_paths)?
            || self.walk.is_reserved(name)
        {
            return Ok(None);
        }
        let held = match root::hold(self.walk.fd(), name) {
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
            held => held.doing(OPERATION).at_path(path)?,
        };
        let hash = self.layer_paths.hash(self.walk.path(), name);
        if !self.layer_paths.marks(hash).has(PathMarks::WRITTEN) {
            self.layer_paths.mark_linked(self.walk.path(), name);
        }
        Ok(Some(held))
    }

    /// Makes `name`, in the current directory, another name of what is held.
    fn link_held(&mut self, held: &OwnedFd, name: &[u8]) -> Result<(), SystemError> {
        self.walk.here().change();
        match link(held, self.walk.fd(), name) {
            Err(Errno::EXIST) if self.is_same(held, name).doing(OPERATION)? => Ok(()),
            Err(Errno::EXIST) => {
                self.walk.remove(name)?;
                link(held, self.walk.fd(), name).doing(OPERATION)
            }
            result => result.doing(OPERATION),
        }
    }

    /// Whether `name` is what is held.
    fn is_same(&self, held: &OwnedFd, name: &[u8]) -> SysResult<bool> {
        let one = rustix::fs::fstat(held)?;
        let other = rustix::fs::statat(self.walk.fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// Whether `path` is that of `name` in `directory`, or is below it.
fn is_at_or_below(path: &[u8], directory: &[u8], name: &[u8]) -> bool {
    let mut names = components(path);
    let mut others = components(directory).chain([name]);
    others.all(|other| names.next() == Some(other))
}

/// Links what is held by its descriptor, or by its magic link if the kernel allows the former to privileged processes only.
fn link(held: &OwnedFd, parent: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    match rustix::fs::linkat(held, "", parent, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => rustix::fs::linkat(
            CWD,
            root::magic_link(held.as_fd()),
            parent,
            name,
            AtFlags::SYMLINK_FOLLOW,
        ),
        result => result,
    }
}
