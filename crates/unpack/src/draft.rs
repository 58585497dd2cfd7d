//! A tree that is being made in a private directory beside its place.
//!
//! ```text
//! parent/.NAME.strata-0123456789abcdef/      0700 and ours as long as it is there; locked while we live
//!     .strata-incomplete                     tells what killed programs left from what others have
//!     tree/                                  becomes parent/NAME by a rename, with the mode that it shall have
//! ```
//!
//! No other user can reach into the private directory, and everything in it is named relative to its descriptor. So the owner of
//! the parent can rename the private directory, or put something else in its place, without any effect on what is in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use cli::text::clean_path;
use rootfs::Root;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, fchmod, flock, fstat,
    mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::place::{Doing as _, Name};

/// The name of the mark: an empty file in a directory that isn't whole yet.
pub(crate) const MARK: &str = layer_format::layer::INCOMPLETE;
/// The name of the tree in the private directory.
const TREE: &str = "tree";
/// How many bytes of a directory's name are in the name of its private directory. A name has 255 bytes at most.
const MAX_NAME: usize = 200;
const MAX_ATTEMPTS: u32 = 1000;
/// How many hexadecimal digits a private directory's name ends with.
const N_DRAWN: usize = 16;
/// The mode of a private directory, without its special bits.
const PRIVATE: u32 = 0o700;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tree that is being made. It is removed when dropped, unless it was [published](Self::publish).
#[derive(Debug)]
pub(crate) struct Draft {
    place: Name,
    /// The private directory, locked.
    private: File,
    name: OsString,
    /// The tree in it.
    tree: File,
}

impl Draft {
    /// Makes the private directory, and an empty tree of mode 0755 in it.
    pub(crate) fn new(place: Name) -> anyhow::Result<Self> {
        for _ in 0..MAX_ATTEMPTS {
            let mut name = prefix(&place.name);
            name.push(format!("{:0N_DRAWN$x}", RandomState::new().build_hasher().finish()));
            match mkdirat(&place.parent, &name, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                made => made.doing("making the directory")?,
            }
            let private = match take(place.parent.as_fd(), &name) {
                Ok(Some(private)) => private,
                failed => {
                    // It may still be the empty one that was made. The error of removing it isn't the user's to solve.
                    unlinkat(&place.parent, &name, AtFlags::REMOVEDIR).ok();
                    failed?;
                    continue;
                }
            };
            let tree = match make_tree(&private) {
                Ok(tree) => tree,
                Err(error) => {
                    drop(discard(place.parent.as_fd(), &name, &private));
                    return Err(error);
                }
            };
            return Ok(Self { place, private, name, tree });
        }
        anyhow::bail!(
            "no directory of this user's own can be made beside it: another user takes it away, or the file system \
             doesn't keep its mode of 0700"
        )
    }

    pub(crate) fn tree(&self) -> &File {
        &self.tree
    }

    /// The private directory.
    pub(crate) fn private(&self) -> &File {
        &self.private
    }

    /// Renames the tree to its place.
    ///
    /// # Errors
    /// The system's, and if something has appeared at the place meanwhile.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        let renamed = match self.rename() {
            // The directory's own mode forbids its owner to give it another parent.
            Err(Errno::ACCESS) => self.rename_writable(),
            renamed => renamed,
        };
        renamed.doing("moving the directory to its place")
    }

    /// Syncs the parent, so that the tree's name is on the disk.
    pub(crate) fn sync_name(&self) -> anyhow::Result<()> {
        const SYNCING: &str = "bringing the directory's name to the disk";
        if !self.place.parent.is_readable {
            return rustix::fs::syncfs(&self.tree).doing(SYNCING);
        }
        match rustix::fs::fsync(&self.place.parent) {
            // Some file systems can't sync directories, and say so.
            Err(Errno::INVAL) => rustix::fs::syncfs(&self.tree).doing(SYNCING),
            synced => synced.doing(SYNCING),
        }
    }

    /// Removes the private directory, with the tree if it is still in it.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        discard(self.place.parent.as_fd(), &self.name, &self.private)
    }

    fn rename(&self) -> rustix::io::Result<()> {
        let Name { parent, name } = &self.place;
        match renameat_with(&self.private, TREE, parent, name, RenameFlags::NOREPLACE) {
            // The file system has no RENAME_NOREPLACE: rename replaces an empty directory at most.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(&self.private, TREE, parent, name),
            renamed => renamed,
        }
    }

    fn rename_writable(&self) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(fstat(&self.tree)?.st_mode & 0o7777);
        fchmod(&self.tree, mode | Mode::RWXU)?;
        let renamed = self.rename();
        fchmod(&self.tree, mode).and(renamed)
    }
}

/// Removes the private directories for `place` that killed programs left: those of this user that have the mark or are empty,
/// and that no program has locked. Warns about each that can't be removed.
pub(crate) fn sweep(place: &Name) -> Vec<String> {
    if !place.parent.is_readable {
        return vec![];
    }
    let prefix = prefix(&place.name);
    let Ok(entries) = Dir::read_from(&place.parent) else { return vec![] };
    let names = entries.flatten().map(|entry| entry.file_name().to_bytes().to_vec());
    let names = names.filter(|name| name.starts_with(prefix.as_bytes())).map(OsString::from_vec);
    let left = names.filter_map(|name| {
        let error = sweep_one(place.parent.as_fd(), &name).err()?;
        let (name, why) = (clean_path(Path::new(&name)), cli::error::chain(error.as_ref()));
        Some(format!("what a killed unpack left can't be removed: {name}: {why}"))
    });
    left.collect()
}

fn sweep_one(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
    let Ok(private) = openat(parent, name, DIRECTORY, Mode::empty()) else { return Ok(()) };
    let stat = fstat(&private).doing("opening the directory")?;
    let is_left =
        is_ours(&stat) && flock(&private, FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_left && holds_our_mark(private.as_fd()) {
        return remove(parent, name, &private.into());
    }
    if is_left && is_drawn(name) && stat.st_mode & 0o777 == PRIVATE {
        // It has no mark: if it is empty, it was perhaps killed before it was marked; otherwise it isn't ours.
        unlinkat(parent, name, AtFlags::REMOVEDIR).ok();
    }
    Ok(())
}

/// Whether a private directory's name ends as [`Draft::new`] draws it.
fn is_drawn(name: &OsStr) -> bool {
    let drawn = name.as_bytes().rsplit(|&byte| byte == b'-').next().unwrap_or_default();
    drawn.len() == N_DRAWN && drawn.iter().all(u8::is_ascii_hexdigit)
}

/// Whether a directory has a mark that only this user can have put there.
pub(crate) fn holds_our_mark(directory: BorrowedFd<'_>) -> bool {
    statat(directory, MARK, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // With a second name it may be the mark of another directory.
        is_file && is_ours(&stat) && stat.st_nlink == 1
    })
}

/// Marks a directory as not being whole.
pub(crate) fn mark(directory: BorrowedFd<'_>) -> anyhow::Result<()> {
    create_mark(directory).doing(MARKING)
}

const MARKING: &str = "marking the directory";

fn create_mark(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, MARK, flags, Mode::RUSR | Mode::WUSR).map(drop)
}

/// Opens, locks and marks the private directory that was just made; `None` if it is no longer the one that has the name.
fn take(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<Option<File>> {
    let private = match openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened.doing("opening the directory")?,
    };
    let stat = fstat(&private).doing("opening the directory")?;
    // A user who may rename in the parent may have put another one there.
    let is_private = stat.st_mode & 0o777 == PRIVATE && is_empty(private.as_fd())?;
    if !is_private || !is_ours(&stat) && !is_squashed(parent, private.as_fd(), &stat)? {
        return Ok(None);
    }
    match flock(&private, FlockOperation::NonBlockingLockExclusive) {
        // Another program is removing it, because it wasn't locked yet.
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked.doing("locking the directory")?,
    }
    match create_mark(private.as_fd()) {
        // Another program removed it before it was locked.
        Err(Errno::NOENT) => Ok(None),
        made => made.doing(MARKING).map(|()| Some(private.into())),
    }
}

/// Whether what this user makes in the directory has the directory's owner. A file system over a network or in user space may
/// change owners, for example NFS with `root_squash`, which gives root's files to `nobody`.
fn is_squashed(
    parent: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    stat: &Stat,
) -> anyhow::Result<bool> {
    const TRYING: &str = "trying whose files are there";
    if fstat(parent).doing(TRYING)?.st_dev != stat.st_dev {
        return Ok(false);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = match openat(directory, MARK, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        made => made.doing(TRYING)?,
    };
    let owner = fstat(&made).doing(TRYING)?.st_uid;
    unlinkat(directory, MARK, AtFlags::empty()).doing(TRYING)?;
    Ok(owner == stat.st_uid)
}

fn make_tree(private: &File) -> anyhow::Result<File> {
    const MAKING: &str = "making the directory";
    mkdirat(private, TREE, Mode::RWXU).doing(MAKING)?;
    let tree = openat(private, TREE, DIRECTORY, Mode::empty()).doing(MAKING)?;
    // The umask may have taken bits of the mode.
    fchmod(&tree, Mode::from_raw_mode(0o755)).doing(MAKING)?;
    Ok(tree.into())
}

/// Removes a private directory. If its tree is empty or has been published, that opens no other descriptor.
fn discard(parent: BorrowedFd<'_>, name: &OsStr, private: &File) -> anyhow::Result<()> {
    match unlinkat(private, TREE, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {
            unlinkat(private, MARK, AtFlags::empty()).doing("removing the mark")?;
            remove_name(parent, name, private)
        }
        Err(_) => remove(parent, name, private),
    }
}

/// Empties a private directory by its descriptor, the mark last, and removes it if `name` is still its name.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, private: &File) -> anyhow::Result<()> {
    let root = private.try_clone().context("opening the directory")?;
    rootfs::clear(&Root::from_fd(root.into()), Some(MARK))?;
    rootfs::remove_tree(private, MARK.as_bytes())?;
    remove_name(parent, name, private)
}

fn remove_name(parent: BorrowedFd<'_>, name: &OsStr, private: &File) -> anyhow::Result<()> {
    let own = private.metadata().context("looking at the directory")?;
    let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.dev(), own.ino())) {
        return Ok(());
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed.doing("removing the directory"),
    }
}

fn is_empty(directory: BorrowedFd<'_>) -> anyhow::Result<bool> {
    Ok(names(directory)?.is_empty())
}

/// The names in a directory.
pub(crate) fn names(directory: BorrowedFd<'_>) -> anyhow::Result<Vec<OsString>> {
    const READING: &str = "reading the directory";
    let mut names = vec![];
    for entry in Dir::read_from(directory).doing(READING)? {
        let name = entry.doing(READING)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == geteuid().as_raw()
}

fn prefix(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut prefix = b".".to_vec();
    prefix.extend_from_slice(&name[..name.len().min(MAX_NAME)]);
    prefix.extend_from_slice(b".strata-");
    OsString::from_vec(prefix)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, DirBuilder};
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    /// Whether a directory without a mark is there after it was swept.
    fn stays(name: &str, mode: u32, is_empty: bool) -> bool {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(name);
        DirBuilder::new().mode(mode).create(&path).unwrap();
        if !is_empty {
            fs::write(path.join("file"), "").unwrap();
        }
        let parent = File::open(parent.path()).unwrap();
        sweep_one(parent.as_fd(), OsStr::new(name)).unwrap();
        path.exists()
    }

    #[test]
    fn without_a_mark_only_an_empty_private_directory_with_a_drawn_name_is_swept() {
        let drawn = ".app.strata-0123456789abcdef";
        assert!(!stays(drawn, PRIVATE, true));
        assert!(stays(drawn, PRIVATE, false));
        assert!(stays(drawn, 0o750, true));
        assert!(stays(".app.strata-backup", PRIVATE, true));
        assert!(stays(".app.strata-backup", 0o750, true));
    }

    #[test]
    fn what_another_program_has_locked_is_not_swept() {
        for is_marked in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let name = OsStr::new(".app.strata-0123456789abcdef");
            let path = parent.path().join(name);
            DirBuilder::new().mode(PRIVATE).create(&path).unwrap();
            let private = File::open(&path).unwrap();
            if is_marked {
                mark(private.as_fd()).unwrap();
            }
            flock(&private, FlockOperation::LockExclusive).unwrap();
            let parent = File::open(parent.path()).unwrap();
            sweep_one(parent.as_fd(), name).unwrap();
            assert!(path.exists());
            drop(private);
            sweep_one(parent.as_fd(), name).unwrap();
            assert!(!path.exists());
        }
    }
}
