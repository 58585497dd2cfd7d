//! Mounts a union of layers: first nowhere, so that only this process reaches it, then in its place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use layer_format::layer::{EntryPath, escape};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::legacy;
use super::spec::{Control, MAX_LAYERS, Overlay, PLAIN, path_of};
use crate::error::{AtPath, Doing, Error};
use crate::root::{Root, magic_link};

/// The most bytes that the kernel takes as a value. It refuses longer ones.
const MAX_STRING: usize = 255;

/// A union that is mounted, but not attached to a path yet. If it is dropped before it is [attached](Self::attach), it is
/// gone.
#[derive(Debug)]
pub struct Mount {
    fd: OwnedFd,
}

impl Overlay<'_> {
    /// Mounts it.
    ///
    /// # Errors
    /// [`Error::Mount`], with the kernel's message; [`Error::TooManyLayers`] if there are more than [`MAX_LAYERS`], or more than
    /// the options hold on kernels before 6.5.
    pub fn mount(&self) -> Result<Mount, Error> {
        if self.lowers.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers { n_layers: self.lowers.len(), most: MAX_LAYERS });
        }
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::mount(errno, None))?;
        match self.configure(context.as_fd()) {
            Err(Refused::Lower) => legacy::mount(self).map(|fd| Mount { fd }),
            Err(Refused::Other(errno)) => Err(Error::mount(errno, said(&context))),
            Ok(()) => create(&context, self.attributes())
                .map_err(|errno| Error::mount(errno, said(&context))),
        }
    }

    fn configure(&self, context: BorrowedFd<'_>) -> Result<(), Refused> {
        let is_boundary = |at: &usize| self.source.is_char_boundary(*at);
        let end = (0..=MAX_STRING.min(self.source.len())).rev().find(is_boundary).unwrap_or(0);
        fsconfig_set_string(context, "source", &self.source[..end])?;
        if self.control == Control::User {
            fsconfig_set_flag(context, "userxattr")?;
        }
        for (key, value) in PLAIN {
            fsconfig_set_string(context, key, value)?;
        }
        for lower in self.lowers {
            set_directory(context, "lowerdir+", lower).map_err(|errno| match errno {
                Errno::INVAL => Refused::Lower,
                errno => Refused::Other(errno),
            })?;
        }
        if let Some(upper) = self.upper {
            set_directory(context, "upperdir", upper.dir)?;
            set_directory(context, "workdir", upper.work)?;
        }
        Ok(())
    }
}

/// What the kernel refused.
enum Refused {
    /// A layer of its own, since it is older than 6.5.
    Lower,
    Other(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Other(errno)
    }
}

/// Sets an option to a directory: to its descriptor, or for kernels before 6.13 to its path.
fn set_directory(context: BorrowedFd<'_>, key: &str, dir: &Root) -> rustix::io::Result<()> {
    match fsconfig_set_fd(context, key, dir) {
        Err(Errno::INVAL) => fsconfig_set_string(context, key, path_of(dir)?.as_path()),
        result => result,
    }
}

fn create(context: &OwnedFd, attributes: MountAttrFlags) -> rustix::io::Result<Mount> {
    fsconfig_create(context)?;
    let fd = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(Mount { fd })
}

/// The kernel's message about what it refused last.
fn said(context: &OwnedFd) -> Option<String> {
    let mut last = None;
    let mut buffer = [0; 1024];
    while let Ok(size) = rustix::io::read(context, &mut buffer) {
        last = Some(escape(buffer[..size].trim_ascii().strip_prefix(b"e ").unwrap_or(b"")));
    }
    last.filter(|text| !text.is_empty())
}

impl Mount {
    /// Its root directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn root(&self) -> Result<Root, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty());
        let fd = fd.doing("opening the union").at_path(&EntryPath::root())?;
        Ok(Root::from_fd(fd))
    }

    /// Attaches it to the directory `path`, or to the one that a link there leads to.
    ///
    /// # Errors
    /// [`Error::Mount`].
    pub fn attach(self, path: &Path) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(&self.fd, "", CWD, path, flags).map_err(|errno| Error::mount(errno, None))
    }
}

/// Whether an overlay in any mount namespace writes to a directory, which only the kernel knows.
///
/// The kernel is asked for a mount that it can't make, since the directory would be its own working directory. Before it notices
/// that, it refuses the upper directory of another overlay, if the option `index` is on.
///
/// # Errors
/// [`Error::Mount`] if the kernel gives another error.
pub fn is_upper_in_use(dir: &Root) -> Result<bool, Error> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Error::mount(errno, None))?;
    let path = magic_link(dir.as_fd());
    match mount_onto_itself(&context, &path) {
        Err(Errno::BUSY) => Ok(true),
        Ok(()) | Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(Error::mount(errno, said(&context))),
    }
}

/// Asks for an overlay whose upper directory is its working directory.
fn mount_onto_itself(context: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    for (key, value) in [("index", "on"), ("lowerdir", "/"), ("upperdir", path), ("workdir", path)]
    {
        fsconfig_set_string(context, key, value)?;
    }
    fsconfig_create(context)
}

/// Unmounts what is mounted on `path`.
///
/// # Errors
/// [`Error::Unmount`], for example if it is in use.
pub fn unmount(path: &Path) -> Result<(), Error> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
        .map_err(|errno| Error::Unmount { source: errno.into() })
}
