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

use super::legacy::{self, LegacyMount, is_missing};
use super::spec::{Control, MAX_LAYERS, Overlay, PLAIN, path_of};
use crate::error::{AtPath, Doing, Error};
use crate::root::{Root, magic_link};

/// The most bytes that the kernel takes as a value. It refuses longer ones.
const MAX_STRING: usize = 255;

/// A union that is mounted, but not attached to a path yet. If it is dropped before it is [attached](Self::attach), it is
/// gone.
#[derive(Debug)]
pub struct Mount {
    /// The mount; its root directory, where the kernel gives no more.
    fd: OwnedFd,
    /// How it is mounted on a path that the kernel can't attach it to.
    again: Option<LegacyMount>,
}

/// How a union came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It is the mount that was made before.
    AsItWas,
    /// It was mounted once more: it has another device number.
    Anew,
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
        match self.mount_by_context() {
            Err(Refused::Lower) => self.mount_by_one_call(),
            Err(Refused::Other(errno, _)) if is_missing(errno) => self.mount_by_one_call(),
            Err(Refused::Other(errno, said)) => Err(Error::mount(errno, said)),
            Ok(fd) => Ok(Mount { fd, again: LegacyMount::of(self).ok() }),
        }
    }

    fn mount_by_one_call(&self) -> Result<Mount, Error> {
        let call = LegacyMount::of(self)?;
        Ok(Mount { fd: call.mount()?, again: Some(call) })
    }

    fn mount_by_context(&self) -> Result<OwnedFd, Refused> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let made =
            self.configure(context.as_fd()).and_then(|()| Ok(create(&context, self.attributes())?));
        made.map_err(|refused| match refused {
            Refused::Lower => Refused::Lower,
            Refused::Other(errno, _) => Refused::Other(errno, said(&context)),
        })
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
                errno => errno.into(),
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
    /// Something else, of which it may have said more.
    Other(Errno, Option<String>),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Other(errno, None)
    }
}

/// Sets an option to a directory: to its descriptor, or for kernels before 6.13 to its path.
fn set_directory(context: BorrowedFd<'_>, key: &str, dir: &Root) -> rustix::io::Result<()> {
    match fsconfig_set_fd(context, key, dir) {
        Err(Errno::INVAL) => fsconfig_set_string(context, key, path_of(dir)?.as_path()),
        result => result,
    }
}

fn create(context: &OwnedFd, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
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

    /// Attaches it to the directory `path`, or to the one that a link there leads to. What was opened in it before must be
    /// closed.
    ///
    /// # Errors
    /// [`Error::Mount`].
    pub fn attach(self, path: &Path) -> Result<Attached, Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        match (move_mount(&self.fd, "", CWD, path, flags), self.again) {
            (Ok(()), _) => Ok(Attached::AsItWas),
            // A directory is no mount that could be moved.
            (Err(errno), Some(again)) if is_missing(errno) || errno == Errno::INVAL => {
                // No two may write to the same layer.
                drop(self.fd);
                again.mount_on(path)?;
                Ok(Attached::Anew)
            }
            (Err(errno), _) => Err(Error::mount(errno, None)),
        }
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
    let asked = match ask_by_context(&magic_link(dir.as_fd())) {
        Err(Error::Mount { source, .. })
            if Errno::from_io_error(&source).is_some_and(is_missing) =>
        {
            legacy::mount_onto_itself(dir)
        }
        asked => asked,
    };
    match asked {
        Ok(()) => Ok(false),
        Err(Error::Mount { source, said }) => match Errno::from_io_error(&source) {
            Some(Errno::BUSY) => Ok(true),
            Some(Errno::INVAL) => Ok(false),
            _ => Err(Error::Mount { source, said }),
        },
        Err(error) => Err(error),
    }
}

fn ask_by_context(path: &str) -> Result<(), Error> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Error::mount(errno, None))?;
    mount_onto_itself(&context, path).map_err(|errno| Error::mount(errno, said(&context)))
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
