//! Copies the attributes of one directory to another.

use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{EntryPath, Timestamp};

use crate::error::{AtPath, Doing, Error, SystemError};
use crate::inode::InodeHandle;
use crate::metadata::{
    AttributeSetter, Leftovers, Owner, PresentAttributes, SpecialBits, WantedAttributes,
};
use crate::root::Root;
use crate::xattrs::{self, Xattr};

const READING: &str = "reading the attributes";

/// Gives the root `to` the owner, mode, extended attributes and times of `from`. Overlayfs' own attributes of `from` are left
/// out, and so is what the system refuses.
///
/// # Errors
/// [`Error::Io`].
pub fn copy_attributes(from: &Root, to: &Root) -> Result<(), Error> {
    copy(from.as_fd(), to.as_fd()).at_path(&EntryPath::root())
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), SystemError> {
    let stat = rustix::fs::fstat(from).doing(READING)?;
    let has = rustix::fs::fstat(to).doing(READING)?;
    let xattrs = xattrs(from)?;
    let mtime =
        Timestamp { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    let wanted = WantedAttributes {
        owner: (stat.st_uid, stat.st_gid),
        mode: Some(stat.st_mode & 0o7777),
        mtime,
        xattrs: &xattrs,
        is_file: false,
    };
    let inode = InodeHandle::Open(to);
    AttributeSetter::new(Owner::Keep, SpecialBits::WithOwner).set(
        inode,
        PresentAttributes::of(&has, Leftovers::Possible),
        &wanted,
    )?;
    inode.set_times(mtime)
}

/// Whether an extended attribute is one of the kernel's overlayfs.
pub(super) fn is_mark(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The attributes that an image may carry, without those of overlayfs.
fn xattrs(from: BorrowedFd<'_>) -> Result<Vec<Xattr>, SystemError> {
    let mut xattrs = xattrs::read_open(from)?;
    xattrs.retain(|(name, _)| !is_mark(name));
    Ok(xattrs)
}
