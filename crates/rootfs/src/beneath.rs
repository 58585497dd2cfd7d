//! Opens paths beneath the root, either through no link at all or with links that can't lead out. Paths may have any length.
//!
//! The kernel does it in one call, `openat2`. If it lacks that (before Linux 5.6) or a filter forbids it, the names are opened
//! one by one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::{MAX_LINKS, components};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// The size of the pieces, in bytes, in which a long path is opened. The kernel takes less than 4096 bytes, and a name has at
/// most 255.
const PIECE: usize = 3800;

/// How the directories above the last name are opened.
const PASSING: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `path` beneath the root. No link is followed, not even at its end. The empty path is the root.
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut rest = path;
    let mut here = None;
    while rest.len() > PIECE {
        let cut = rest[..PIECE].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        here = Some(open_piece(directory(here.as_ref(), root), &rest[..cut], PASSING)?);
        rest = &rest[cut + 1..];
    }
    open_piece(directory(here.as_ref(), root), if rest.is_empty() { b"." } else { rest }, flags)
}

/// A descriptor that refers to what is at `path` without opening it (`O_PATH`).
pub(crate) fn hold(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

/// The same, with links followed as if the root were `/`, one at the end too.
pub(crate) fn hold_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // The last says that something was renamed or mounted anywhere on the machine while a `..` was followed.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => hold_in_root_by_names(root, path),
        held => held,
    }
}

fn hold_in_root_by_names(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    // The directories above what comes next, without the root.
    let mut above: Vec<OwnedFd> = vec![];
    let mut ahead = vec![];
    let mut n_links = 0;
    push_names(&mut ahead, path);
    while let Some(name) = ahead.pop() {
        if name == b".." {
            above.pop();
            continue;
        }
        let held = open_piece_by_name(directory(above.last(), root), &name, OFlags::PATH)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode) {
            FileType::Directory => above.push(held),
            FileType::Symlink => {
                n_links += 1;
                if n_links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&held, c"", Vec::new())?;
                if target.to_bytes().starts_with(b"/") {
                    above.clear();
                }
                push_names(&mut ahead, target.to_bytes());
            }
            _ if ahead.is_empty() => return Ok(held),
            _ => return Err(Errno::NOTDIR),
        }
    }
    above.pop().map_or_else(|| open_piece_by_name(root, b".", OFlags::PATH), Ok)
}

/// Puts the names of a path before those that are still to be opened. The next one is the last of the list.
fn push_names(ahead: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = components(path).filter(|&name| name != b".");
    ahead.extend(names.rev().map(<[u8]>::to_vec));
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
    let mut names = path.split(|&byte| byte == b'/').peekable();
    let mut here: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { PASSING } else { flags };
        let next = open_piece_by_name(self::directory(here.as_ref(), directory), name, flags)?;
        here = Some(next);
    }
    here.ok_or(Errno::NOENT)
}

fn open_piece_by_name(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use layer_format::layer::EntryPath;

    use super::*;
    use crate::content::Content;
    use crate::root::Root;
    use crate::scan::{Mounts, Scan, ScanOptions};

    const TREE: &str = "\
        -rw-r--r-- 0:0 a/b/file 1 \"x\"\n\
        lrwxrwxrwx 0:0 up -> ../../../a/b/file\n\
        lrwxrwxrwx 0:0 absolute -> /a/./b\n\
        lrwxrwxrwx 0:0 a/b/relative -> ../../absolute//file\n\
        lrwxrwxrwx 0:0 around -> around\n\
        lrwxrwxrwx 0:0 dangling -> a/nothing\n\
        lrwxrwxrwx 0:0 through -> a/b/file/x";

    const PATHS: &[&str] = &[
        "a/b/file",
        "/a/b/file",
        "up",
        "absolute",
        "absolute/file",
        "absolute/../b/relative",
        "a/b/relative",
        "around",
        "around/x",
        "dangling",
        "through",
        "a/b/file/x",
        "a/b/file/..",
        "../..",
        ".",
        "/",
        "a/",
        "nothing/..",
        "a/b/../..",
    ];

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        kit::tree::build(dir.path().join("root"), TREE);
        kit::tree::build(dir.path().join("outside"), "-rw-r--r-- 0:0 b/file 6 \"secret\"");
        let root = Root::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    fn inode(held: Result<OwnedFd>) -> Result<u64> {
        held.map(|held| rustix::fs::fstat(held).unwrap().st_ino)
    }

    #[test]
    fn links_of_the_root_are_followed_alike_without_openat2() {
        let (_dir, root) = tree();
        for path in PATHS {
            let new = inode(hold_in_root(root.as_fd(), path.as_bytes()));
            let old = inode(hold_in_root_by_names(root.as_fd(), path.as_bytes()));
            assert_eq!(new, old, "{path}");
        }
        let file = inode(hold(root.as_fd(), b"a/b/file"));
        assert!(file.is_ok());
        for path in ["up", "absolute/file", "a/b/relative"] {
            assert_eq!(inode(hold_in_root_by_names(root.as_fd(), path.as_bytes())), file, "{path}");
        }
    }

    /// The kernel gives up on `..` when it sees that (`EAGAIN`).
    #[test]
    fn what_others_rename_meanwhile_is_no_trouble() {
        let (dir, root) = tree();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = ["from", "to"].map(|name| dir.path().join(name));
                rustix::fs::mkdir(&names[0], Mode::RWXU).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    rustix::fs::rename(&names[0], &names[1]).unwrap();
                    rustix::fs::rename(&names[1], &names[0]).unwrap();
                }
            });
            let found: Result<Vec<_>> =
                (0..2000).map(|_| inode(hold_in_root(root.as_fd(), b"a/b/relative"))).collect();
            is_over.store(true, Ordering::Relaxed);
            found.unwrap();
        });
    }

    #[test]
    fn no_link_is_followed_with_openat2_or_without() {
        let (_dir, root) = tree();
        for path in ["a/b/file", "a/b", ".", "up", "absolute", "absolute/file", "a/x/y"] {
            // Which error it is of a link on the way is each kernel's own.
            let new =
                inode(open_piece(root.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::NOFOLLOW));
            let old = inode(open_by_names(root.as_fd(), path.as_bytes(), OFlags::RDONLY));
            assert_eq!(new.as_ref().ok(), old.as_ref().ok(), "{path}");
            assert_eq!(new.is_ok(), ["a/b/file", "a/b", "."].contains(&path), "{path}");
        }
    }

    /// Puts a link that leads out in the place of a directory.
    fn swap(root: &Root) {
        rustix::fs::renameat(root, c"a", root, c"moved").unwrap();
        rustix::fs::symlinkat(c"../outside", root, c"a").unwrap();
        // That is what it leads to for those who follow it.
        rustix::fs::openat(root, c"a/b/file", OFlags::RDONLY, Mode::empty()).unwrap();
    }

    #[test]
    fn a_directory_that_is_swapped_for_a_link_during_a_scan_is_not_followed() {
        let (_dir, root) = tree();
        let swapping = |path: &[u8], _| {
            if path == b"a/b" {
                swap(&root);
            }
            false
        };
        let options = ScanOptions {
            leave_out: Some(&swapping),
            mounts: Mounts::Enter,
            known: None,
            stop: &|| false,
        };
        let error = Scan::read(&root, &options).unwrap_err();
        assert!(error.to_string().starts_with("a/b"), "{error}");
    }

    #[test]
    fn a_directory_that_is_swapped_for_a_link_before_a_file_is_read_is_not_followed() {
        let (_dir, root) = tree();
        let options =
            ScanOptions { leave_out: None, mounts: Mounts::Enter, known: None, stop: &|| false };
        let scan = Scan::read(&root, &options).unwrap();
        let path = EntryPath::parse(b"a/b/file").unwrap();
        let found = scan.top().descend(&path).unwrap();
        Content::open_changed(&path, found).unwrap();
        swap(&root);
        Content::open(&path, found).unwrap_err();
        Content::open_changed(&path, found).unwrap_err();
    }
}
