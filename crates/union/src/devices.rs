//! A `/dev` of the command's own: the nodes that programs expect, pseudo-terminals, shared memory, and none of the machine's
//! disks.
//!
//! | name | what it is |
//! |---|---|
//! | `null zero full random urandom tty` | the machine's |
//! | `fd stdin stdout stderr ptmx` | links |
//! | `pts` | pseudo-terminals of its own |
//! | `shm` | shared memory of its own |
//! | `console` | the terminal that the command runs on, if it does |

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// The nodes that are the machine's.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// The options of the pseudo-terminals. They belong to the user's own group: the group `tty` may not be there.
const TERMINALS: [(&str, &str); 3] = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];

/// Mounts a `/dev` on the directory `dev` of a root.
///
/// # Errors
/// The kernel's.
pub(crate) fn mount(place: &OwnedFd, root: &OwnedFd) -> rustix::io::Result<()> {
    attach(&file_system("tmpfs", &[("mode", "0755")], MountAttrFlags::MOUNT_ATTR_NOEXEC)?, place)?;
    let dev =
        openat(root, "dev", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in NODES {
        bind(&format!("/dev/{name}"), &dev, name)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    let pts = directory(&dev, "pts")?;
    attach(&file_system("devpts", &TERMINALS, MountAttrFlags::MOUNT_ATTR_NOEXEC)?, &pts)?;
    let shm = directory(&dev, "shm")?;
    attach(&file_system("tmpfs", &[("mode", "1777")], MountAttrFlags::MOUNT_ATTR_NODEV)?, &shm)?;
    match terminal() {
        Some(path) => bind(&path, &dev, "console"),
        None => Ok(()),
    }
}

/// The path of the terminal that one of the standard streams is.
fn terminal() -> Option<String> {
    let stream = |n: usize| {
        std::fs::read_link(format!("/proc/self/fd/{n}")).ok()?.into_os_string().into_string().ok()
    };
    let is_terminal = |path: &String| path.starts_with("/dev/pts/") || path.starts_with("/dev/tty");
    (0..3).filter_map(stream).find(is_terminal)
}

/// Makes a directory that is about to have something mounted on it.
fn directory(dev: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    openat(dev, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Mounts a node of the machine on a file of that name; does nothing if the machine has none.
fn bind(path: &str, dev: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let node = match open_tree(CWD, path, flags) {
        Err(Errno::NOENT) => return Ok(()),
        node => node?,
    };
    let flags = OFlags::CREATE | OFlags::CLOEXEC;
    attach(&node, &openat(dev, name, flags, Mode::from_raw_mode(0o666))?)
}

fn file_system(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&context, *key)?;
        } else {
            fsconfig_set_string(&context, *key, *value)?;
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes | MountAttrFlags::MOUNT_ATTR_NOSUID)
}

fn attach(mount: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}
