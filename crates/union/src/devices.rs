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

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};

use rootfs::magic_link;
use rustix::fs::{Access, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind};

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
const TERMINALS: &str = "newinstance,ptmxmode=0666,mode=0620";

/// Mounts a `/dev` on the directory `dev` of a root.
///
/// # Errors
/// The kernel's.
pub(crate) fn mount(place: &OwnedFd, root: &OwnedFd) -> rustix::io::Result<()> {
    file_system("tmpfs", "mode=0755", MountFlags::NOEXEC, place)?;
    let dev =
        openat(root, "dev", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in NODES {
        bind(&format!("/dev/{name}"), &dev, name)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    let pts = directory(&dev, "pts")?;
    file_system("devpts", TERMINALS, MountFlags::NOEXEC, &pts)?;
    let shm = directory(&dev, "shm")?;
    file_system("tmpfs", "mode=1777", MountFlags::NODEV, &shm)?;
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
fn bind(node: &str, dev: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    if rustix::fs::access(node, Access::EXISTS) == Err(Errno::NOENT) {
        return Ok(());
    }
    let flags = OFlags::CREATE | OFlags::CLOEXEC;
    let place = openat(dev, name, flags, Mode::from_raw_mode(0o666))?;
    mount_bind(node, magic_link(place.as_fd()))
}

fn file_system(
    kind: &str,
    options: &str,
    flags: MountFlags,
    place: &OwnedFd,
) -> rustix::io::Result<()> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(
        kind,
        magic_link(place.as_fd()),
        kind,
        flags | MountFlags::NOSUID,
        options.as_c_str(),
    )
}
