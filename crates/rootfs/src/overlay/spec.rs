//! What is mounted: the layers of a union, and how the kernel is to mount them.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::mount::MountAttrFlags;

use crate::root::{Root, magic_link};

/// The largest number of layers that the kernel puts on top of each other.
pub const MAX_LAYERS: usize = 500;

/// The extended attributes in which the kernel keeps its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `trusted.overlay.…`, which takes the system's root.
    Trusted,
    /// `user.overlay.…`, for the root of a user namespace.
    User,
}

/// A union to mount.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// The source that the list of mounts shows.
    pub source: &'a str,
    /// The layers, top first. There must be two, or one below an upper directory.
    pub lowers: &'a [Root],
    /// The layer that changes are written to. Without it the union is read-only.
    pub upper: Option<WritableLayer<'a>>,
    /// Where the kernel keeps its marks.
    pub control: Control,
}

/// The writable layer.
#[derive(Clone, Copy, Debug)]
pub struct WritableLayer<'a> {
    /// The upper directory.
    pub dir: &'a Root,
    /// The kernel's working directory, on the same file system.
    pub work: &'a Root,
}

impl Overlay<'_> {
    /// The attributes of the mount.
    pub(super) fn attributes(&self) -> MountAttrFlags {
        match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        }
    }
}

/// Options that a machine may have turned on by default. They are turned off, since they would leave things in an upper
/// directory that no layer can hold.
pub(super) const PLAIN: [(&str, &str); 3] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// The path of an open directory.
pub(super) fn path_of(dir: &Root) -> rustix::io::Result<PathBuf> {
    let path = rustix::fs::readlinkat(CWD, magic_link(dir.as_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}
