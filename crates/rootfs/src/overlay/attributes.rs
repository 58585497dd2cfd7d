//! A directory's attributes, given to another.

use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{EntryPath, Timestamp};

use super::is_mark;
use crate::error::{Doing, Error, Failure};
use crate::metadata::{self, Attributes, Inode, Leftovers, Owner, Present, Setter, SpecialBits};
use crate::root::Root;
use crate::xattrs::{self, Xattr};

const READING: &str = "reading the attributes";

/// Gives the root `to` what `from` has: owner, mode, extended attributes and times. What overlayfs has noted on `from`
/// for itself isn't passed on, and what the system refuses is left out, as on all other files.
pub fn copy_attributes(from: &Root, to: &Root) -> Result<(), Error> {
    copy(from.as_fd(), to.as_fd()).map_err(|failure| failure.at(EntryPath::root()))
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Failure> {
    let stat = rustix::fs::fstat(from).doing(READING)?;
    let has = rustix::fs::fstat(to).doing(READING)?;
    let xattrs = xattrs(from)?;
    let mtime =
        Timestamp { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    let wanted = Attributes {
        owner: (stat.st_uid, stat.st_gid),
        mode: Some(stat.st_mode & 0o7777),
        mtime,
        xattrs: &xattrs,
        is_file: false,
    };
    let inode = Inode::Open(to);
    Setter::new(Owner::Keep, SpecialBits::WithOwner).set(
        inode,
        Present::of(&has, Leftovers::Possible),
        &wanted,
    )?;
    metadata::set_times(inode, mtime)
}

/// What an image may carry, without the kernel's own marks.
fn xattrs(from: BorrowedFd<'_>) -> Result<Vec<Xattr>, Failure> {
    let mut xattrs = xattrs::read_open(from)?;
    xattrs.retain(|(name, _)| !is_mark(name));
    Ok(xattrs)
}
