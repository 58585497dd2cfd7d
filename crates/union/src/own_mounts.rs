//! A mount namespace of this process's own, in which nothing that it mounts is seen by others.
//!
//! The root directory of a `chroot` is no mount point as a rule: there `/` can neither be separated from what others see nor
//! exchanged for another one. So the process steps out of the `chroot`, separates everything, and comes back to a root
//! directory that is a mount point, which it has mounted on itself (podman#22680, bubblewrap#135).

use std::io;

use anyhow::Context as _;
use cli::Explain as _;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
use rustix::process::{chdir, chroot, fchdir, getcwd};
use rustix::thread::UnshareFlags;

/// What the system mounts later appears here too, but nothing that is mounted here appears there.
const SEPARATE: MountPropagationFlags =
    MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC);
/// A directory that is in every root directory where a union can be mounted.
const BELOW: &str = "/proc";
/// No directory is as deep as this leads up.
const N_LEVELS: usize = 1000;

/// Enters the namespace, before anything that is mounted for a command is opened: a mount takes no directories of another one,
/// and root of a user namespace may mount in no other.
pub(crate) fn enter() -> anyhow::Result<()> {
    #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .map_err(io::Error::from)
        .context("making a mount namespace")?;
    match mount_change("/", SEPARATE) {
        Err(Errno::INVAL) => separate_in_chroot()
            .map_err(io::Error::from)
            .context("separating the mounts of a chroot")
            .hint("make its root a mount point: mount --bind ROOT ROOT"),
        separated => separated.map_err(io::Error::from).context("separating the mounts"),
    }
}

/// Does so where the root directory is no mount point, and makes it one.
fn separate_in_chroot() -> rustix::io::Result<()> {
    let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let here = getcwd(vec![])?;
    // Who is above his root directory can go up to the one that the namespace has.
    chroot(BELOW)?;
    fchdir(&root)?;
    chdir("../".repeat(N_LEVELS))?;
    let separated = mount_change(".", SEPARATE);
    fchdir(&root)?;
    chroot(".")?;
    separated?;
    mount_bind_recursive("/", "/")?;
    // The way up ends at the root, and there it leads into what is mounted on it.
    chdir("/..")?;
    chroot(".")?;
    chdir(here)
}
