//! A union of layers, mounted: first nowhere, where only its maker reaches it, then in its place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use layer_format::layer::{EntryPath, escape};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{MAX_LAYERS, legacy};
use crate::error::{Doing, Error};
use crate::root::{Root, magic_link};

/// What the kernel takes as a value; it cuts nothing off, but refuses more.
const MAX_STRING: usize = 255;

/// Whose extended attributes the kernel keeps its marks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `trusted.overlay.…`, which takes the system's root.
    Trusted,
    /// `user.overlay.…`, for the root of a user namespace.
    User,
}

/// What to mount.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// What the mount calls its source; people see it in the list of mounts.
    pub source: &'a str,
    /// The layers, top first: at least two, or one below an upper directory.
    pub lowers: &'a [Root],
    /// Where changes go; without it the union is read-only.
    pub upper: Option<Upper<'a>>,
    /// Where the kernel keeps its marks.
    pub control: Control,
}

/// The writable layer.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The layer itself.
    pub dir: &'a Root,
    /// A directory on the same file system, for the kernel.
    pub work: &'a Root,
}

/// A union that is mounted, and not yet anywhere. Dropped before it is [attached](Self::attach), it is gone.
#[derive(Debug)]
pub struct Mount {
    fd: OwnedFd,
}

impl Overlay<'_> {
    /// Mounts it.
    ///
    /// # Errors
    /// [`Error::Mount`], with what the kernel says; [`Error::TooManyLayers`] beyond [`MAX_LAYERS`], and beyond what the
    /// options hold on kernels before 6.5.
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
        let source = &self.source[..self.source.floor_char_boundary(MAX_STRING)];
        fsconfig_set_string(context, "source", source)?;
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

    fn attributes(&self) -> MountAttrFlags {
        match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        }
    }
}

/// What machines may have turned on, and what would leave things in an upper directory that no layer can say.
pub(super) const PLAIN: [(&str, &str); 3] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// What the kernel didn't take.
enum Refused {
    /// One layer at a time: it is older than 6.5.
    Lower,
    Other(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Other(errno)
    }
}

/// Names a directory: by its descriptor, or to kernels before 6.13 by its path.
fn set_directory(context: BorrowedFd<'_>, key: &str, dir: &Root) -> rustix::io::Result<()> {
    match fsconfig_set_fd(context, key, dir) {
        Err(Errno::INVAL) => fsconfig_set_string(context, key, path_of(dir)?.as_path()),
        result => result,
    }
}

/// Where an open directory is.
pub(super) fn path_of(dir: &Root) -> rustix::io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = rustix::fs::readlinkat(CWD, magic_link(dir.as_fd()), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
}

fn create(context: &OwnedFd, attributes: MountAttrFlags) -> rustix::io::Result<Mount> {
    fsconfig_create(context)?;
    let fd = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(Mount { fd })
}

/// The kernel's own words about what it refused last.
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
    pub fn root(&self) -> Result<Root, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty());
        let fd = fd.doing("opening the union").map_err(|it| it.at(EntryPath::root()))?;
        Ok(Root::from_fd(fd))
    }

    /// Puts it on the directory `path`, or on the one that a link there leads to.
    pub fn attach(self, path: &Path) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(&self.fd, "", CWD, path, flags).map_err(|errno| Error::mount(errno, None))
    }
}

/// Whether some overlay writes to a directory, in whatever mount namespace it is mounted: only the kernel knows.
///
/// It is asked for a mount that it can't make, for the directory would be its own working directory. Before it sees that, it
/// refuses an upper directory that is another overlay's, if it is to keep an index.
///
/// # Errors
/// [`Error::Mount`] if the kernel says something else.
pub fn is_upper_in_use(dir: &Root) -> Result<bool, Error> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Error::mount(errno, None))?;
    let path = magic_link(dir.as_fd());
    let ask = || {
        for (key, value) in [("index", "on"), ("lowerdir", "/")] {
            fsconfig_set_string(&context, key, value)?;
        }
        fsconfig_set_string(&context, "upperdir", path.as_str())?;
        fsconfig_set_string(&context, "workdir", path.as_str())?;
        fsconfig_create(&context)
    };
    match ask() {
        Err(Errno::BUSY) => Ok(true),
        Ok(()) | Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(Error::mount(errno, said(&context))),
    }
}

/// Takes away what is mounted on `path`, unless it is in use.
pub fn unmount(path: &Path) -> Result<(), Error> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
        .map_err(|errno| Error::Unmount { source: errno.into() })
}
