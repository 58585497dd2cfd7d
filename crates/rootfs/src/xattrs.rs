//! Extended attributes of one inode, whether it can be opened or only be held.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use crate::error::{Doing, Failure, SETTING_XATTR};
use crate::metadata::Inode;
use crate::root::{self, magic_link};

/// How the attributes of an inode are reached.
#[derive(Debug)]
pub(crate) enum Xattrs<'a> {
    /// Through its descriptor.
    Open(BorrowedFd<'a>),
    /// Through the magic link of a descriptor that only holds it: the way to symbolic links and special files.
    Held(OwnedFd),
}

impl<'a> Xattrs<'a> {
    pub(crate) fn of(inode: Inode<'a>) -> std::result::Result<Self, Failure> {
        Ok(match inode {
            Inode::Open(fd) => Self::Open(fd),
            Inode::Named(dir, name) => Self::Held(root::hold(dir, name).doing(SETTING_XATTR)?),
        })
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Held(held) => {
                rustix::fs::setxattr(magic_link(held.as_fd()), name, value, XattrFlags::empty())
            }
        }
    }

    /// Removes what an image may carry and `kept` doesn't name. What the system itself put there, labels of a security
    /// module for instance, stays; so does what this user may not remove.
    pub(crate) fn retain(&self, kept: &[(Vec<u8>, Vec<u8>)]) -> std::result::Result<(), Failure> {
        const OPERATION: &str = "removing an extended attribute";
        let mut names = match self.list_size() {
            Err(Errno::NOTSUP) | Ok(0) => return Ok(()),
            size => vec![0; size.doing(OPERATION)?],
        };
        let size = self.list(&mut names).doing(OPERATION)?;
        for name in names[..size].split(|&byte| byte == 0).filter(|name| is_of_images(name)) {
            if kept.iter().any(|(other, _)| other == name) {
                continue;
            }
            match self.remove(name) {
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
                result => result.doing(OPERATION)?,
            }
        }
        Ok(())
    }

    fn list_size(&self) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr_query(fd),
            Self::Held(held) => rustix::fs::listxattr_query(magic_link(held.as_fd())),
        }
    }

    fn list(&self, names: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, names),
            Self::Held(held) => rustix::fs::listxattr(magic_link(held.as_fd()), names),
        }
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Held(held) => rustix::fs::removexattr(magic_link(held.as_fd()), name),
        }
    }
}

/// Whether a directory passes an access control list on to what is made in it.
pub(crate) fn has_default_acl(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(dir, DEFAULT_ACL).is_ok()
}

const DEFAULT_ACL: &str = "system.posix_acl_default";

fn is_of_images(name: &[u8]) -> bool {
    let exact: [&[u8]; 3] =
        [b"security.capability", b"system.posix_acl_access", DEFAULT_ACL.as_bytes()];
    name.starts_with(b"user.") || name.starts_with(b"trusted.") || exact.contains(&name)
}
