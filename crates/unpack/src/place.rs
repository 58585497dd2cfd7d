//! The place of DIR, which is looked up by name once, and used by descriptors from then on.
//!
//! The directory above DIR may be another user's, who can put a symbolic link, or another directory, in the place of any
//! name in it at any moment. So its path is opened once. What has the last name is opened without following a link, and
//! everything is decided by what was opened. A symbolic link there is followed only if the user who runs this, root, or
//! the owner of `/` made it; its text is read from the link that was looked at.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, openat, readlinkat, stat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// How many symbolic links may lead from one to the next.
const MAX_LINKS: usize = 40;

/// Adds to an error of the kernel what was being done.
pub(crate) trait Doing<T> {
    /// Makes `what` the context of the error.
    fn doing(self, what: &'static str) -> anyhow::Result<T>;
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, what: &'static str) -> anyhow::Result<T> {
        self.map_err(io::Error::from).context(what)
    }
}

/// What DIR is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory that is there, opened for reading.
    Existing(File),
    /// There is nothing yet.
    Free(Name),
}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) parent: Parent,
    pub(crate) name: OsString,
}

/// The directory above DIR.
#[derive(Debug)]
pub(crate) struct Parent {
    fd: OwnedFd,
    /// Whether this user may read it, which is needed to list and sync it.
    pub(crate) is_readable: bool,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Finds what is at `path`.
///
/// # Errors
/// A usage error where the path leads to something else than a directory, or through a link of another user.
pub(crate) fn find(path: &Path) -> anyhow::Result<Place> {
    let mut path = path.to_owned();
    let mut base = None;
    for n_links in 0..MAX_LINKS {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // `.`, `..` and `/` have no place in a directory above them.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(Place::Existing(open(base.as_ref(), &path, flags).doing(OPENING)?.into()));
        };
        let parent = open_parent(base.as_ref(), &path)?;
        match look(&parent, &name)? {
            Found::Directory(directory) => return Ok(Place::Existing(directory.into())),
            Found::Nothing if n_links == 0 => return Ok(Place::Free(Name { parent, name })),
            Found::Nothing => return Err(Errno::NOENT).doing("following the symbolic link"),
            Found::Link(text) => path = text,
        }
        base = Some(parent);
    }
    Err(Errno::LOOP).doing("following the symbolic link")
}

/// What there is at a name.
enum Found {
    Directory(OwnedFd),
    /// A link that may be followed, and its text.
    Link(PathBuf),
    Nothing,
}

fn look(parent: &Parent, name: &OsStr) -> anyhow::Result<Found> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => {}
        opened => return Ok(Found::Directory(opened.doing(OPENING)?)),
    }
    let held = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(parent, name, held, Mode::empty()).doing(OPENING)?;
    let stat = fstat(&held).doing(OPENING)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(cli::usage("exists and is no directory").into());
    }
    if !is_trusted(stat.st_uid) {
        let what = format!("a symbolic link of another user (uid {})", stat.st_uid);
        return Err(cli::usage(what).hint("name the directory that it leads to").into());
    }
    // The type of this field depends on the machine.
    let kind = i128::from(fstatfs(&held).doing(OPENING)?.f_type);
    if kind == i128::from(PROC_SUPER_MAGIC) {
        // Such a link leads to what a process has open, whatever its text says, and can't be replaced by another user.
        let opened = openat(parent, name, flags, Mode::empty());
        return Ok(Found::Directory(opened.doing(OPENING)?));
    }
    let text = readlinkat(&held, "", Vec::new()).doing("reading the symbolic link")?;
    Ok(Found::Link(PathBuf::from(OsString::from_vec(text.into_bytes()))))
}

const OPENING: &str = "opening the directory";

/// Whether a link's owner could do the same without the link. The owner of `/` decides about every path; that is root, also
/// in a user namespace that doesn't map root.
fn is_trusted(owner: u32) -> bool {
    let owner_of_root = stat("/").map_or(0, |root| root.st_uid);
    [0, geteuid().as_raw(), owner_of_root].contains(&owner)
}

fn open_parent(base: Option<&Parent>, path: &Path) -> anyhow::Result<Parent> {
    let path =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match open(base, path, flags | OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            open(base, path, flags | OFlags::PATH).map(|fd| Parent { fd, is_readable: false })
        }
        opened => opened.map(|fd| Parent { fd, is_readable: true }),
    };
    opened.doing("opening the directory above it")
}

fn open(base: Option<&Parent>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(base.map_or(CWD, AsFd::as_fd), path, flags, Mode::empty())
}
