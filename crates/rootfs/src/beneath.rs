//! Opening by path: beneath the root, through no link, however long the path is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// The kernel takes no path of 4096 bytes; a name has 255 at most.
const PIECE: usize = 3800;

/// Opens `path` beneath the root; the empty path is the root. The last name isn't followed either.
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut rest = path;
    let mut here = None;
    while rest.len() > PIECE {
        let cut = rest[..PIECE].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        here = Some(open_piece(directory(here.as_ref(), root), &rest[..cut], way)?);
        rest = &rest[cut + 1..];
    }
    open_piece(directory(here.as_ref(), root), if rest.is_empty() { b"." } else { rest }, flags)
}

/// Takes hold of what is at `path` without opening it.
pub(crate) fn hold(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

fn directory<'a>(here: Option<&'a OwnedFd>, root: BorrowedFd<'a>) -> BorrowedFd<'a> {
    here.map_or(root, AsFd::as_fd)
}

fn open_piece(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a filter that doesn't know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_by_names(directory, path, flags),
        opened => opened,
    }
}

fn open_by_names(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = path.split(|&byte| byte == b'/').peekable();
    let mut here: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { way } else { flags };
        let next = rustix::fs::openat(
            self::directory(here.as_ref(), directory),
            name,
            flags,
            Mode::empty(),
        )?;
        here = Some(next);
    }
    here.ok_or(Errno::NOENT)
}
