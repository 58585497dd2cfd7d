//! The extended attributes of one inode, which is open or only held.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use crate::error::{Doing, SETTING_XATTR, SystemError};
use crate::inode::InodeHandle;
use crate::root::{self, magic_link};

/// How the attributes of an inode are reached.
#[derive(Debug)]
pub(crate) enum Xattrs<'a> {
    /// Through its descriptor.
    Open(BorrowedFd<'a>),
    /// Through the magic link of a descriptor that only holds it. Symbolic links and special files are reached so.
    Held(OwnedFd),
}

impl<'a> Xattrs<'a> {
    pub(crate) fn of(inode: InodeHandle<'a>) -> std::result::Result<Self, SystemError> {
        Ok(match inode {
            InodeHandle::Open(fd) => Self::Open(fd),
            InodeHandle::Named(dir, name) => {
                Self::Held(root::hold(dir, name).doing(SETTING_XATTR)?)
            }
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

    /// Removes the attributes that an image may carry and that `kept` doesn't name. Attributes that this user may not remove
    /// stay, and so do those of the system, for example the labels of a security module.
    pub(crate) fn retain(
        &self,
        kept: &[(Vec<u8>, Vec<u8>)],
    ) -> std::result::Result<(), SystemError> {
        const OPERATION: &str = "removing an extended attribute";
        let names = match whole(|names| self.list(names), 1024) {
            Err(Errno::NOTSUP) => return Ok(()),
            names => names.doing(OPERATION)?,
        };
        for name in names.split(|&byte| byte == 0).filter(|name| is_of_images(name)) {
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

/// An extended attribute: its full name and its value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

pub(crate) const READING: &str = "reading an extended attribute";

/// The attributes of an open inode that an image may carry, sorted.
pub(crate) fn read_open(fd: BorrowedFd<'_>) -> std::result::Result<Vec<Xattr>, SystemError> {
    read(
        |list| rustix::fs::flistxattr(fd, list),
        |name, value| rustix::fs::fgetxattr(fd, name, value),
    )
}

/// The same of an inode that is only held.
pub(crate) fn read_held(held: BorrowedFd<'_>) -> std::result::Result<Vec<Xattr>, SystemError> {
    let path = magic_link(held);
    read(
        |list| rustix::fs::listxattr(&path, list),
        |name, value| rustix::fs::getxattr(&path, name, value),
    )
}

/// The same of what is at a path of this process. A link at its end isn't followed.
pub(crate) fn read_path(path: &CStr) -> std::result::Result<Vec<Xattr>, SystemError> {
    read(
        |list| rustix::fs::llistxattr(path, list),
        |name, value| rustix::fs::lgetxattr(path, name, value),
    )
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> std::result::Result<Vec<Xattr>, SystemError> {
    let names = match whole(&list, 1024) {
        Err(Errno::NOTSUP) => return Ok(vec![]),
        names => names.doing(READING)?,
    };
    let mut xattrs = vec![];
    for name in names.split(|&byte| byte == 0).filter(|name| is_of_images(name)) {
        match whole(|value| get(name, value), 256) {
            // It was removed meanwhile, or the file system lists it and doesn't give it. gocryptfs does so with capabilities.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            value => xattrs.push((name.to_vec(), value.doing(READING)?)),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// The maximal size of a value, or of a list of names, in bytes: `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of Linux.
const MOST_BYTES: usize = 64 << 10;

/// Reads a value or a list into a small buffer. If that is too small, it is read into one of the maximal size. The kernel
/// isn't asked for the size, since that could change before the next call.
fn whole(read: impl Fn(&mut [u8]) -> Result<usize>, guess: usize) -> Result<Vec<u8>> {
    let mut small = [0; 1024];
    match read(&mut small[..guess]) {
        Ok(size) => return Ok(small[..size].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0; MOST_BYTES];
    let size = read(&mut large)?;
    large.truncate(size);
    large.shrink_to_fit();
    Ok(large)
}

/// Whether a directory has an access control list for what is made in it.
pub(crate) fn has_default_acl(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(dir, DEFAULT_ACL).is_ok()
}

const DEFAULT_ACL: &str = "system.posix_acl_default";

/// The labels that a machine's security module, or its key (EVM), gives its own files. They are no part of an image.
const OF_MACHINE: [&[u8]; 4] =
    [b"security.selinux", b"security.apparmor", b"security.evm", b"security.SMACK64"];

/// Whether images carry attributes of this name. Others are the system's own. A file's signature (`security.ima`) belongs to
/// the file (buildah#2127).
pub(crate) fn is_of_images(name: &[u8]) -> bool {
    let is_of_space = |space: &str| name.starts_with(space.as_bytes());
    if is_of_space("security.") {
        // Smack has several: SMACK64EXEC, SMACK64MMAP…
        return !OF_MACHINE.iter().any(|label| name.starts_with(label));
    }
    is_of_space("user.")
        || is_of_space("trusted.")
        || name == b"system.posix_acl_access"
        || name == DEFAULT_ACL.as_bytes()
}

/// Whether an image's attribute of this name is about a file's bytes, and is lost when they change: a capability or a
/// signature.
pub(crate) fn is_of_bytes(name: &[u8]) -> bool {
    name.starts_with(b"security.") && is_of_images(name)
}
