//! A command, with the union for its root directory or mounted on a directory, in a mount namespace of its own.
//!
//! This process becomes the command: signals, terminal and exit status are its own, and the mount ends with the last
//! process that was started from it. Where the union is the root, the system's `/dev`, `/proc` and `/sys` are mounted in
//! it, and its `resolv.conf`; it is a change of root, no wall.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use cli::Io;
use cli::text::clean_path;
use layer_format::Run;
use rootfs::overlay::Mount;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::thread::UnshareFlags;
use store::Store;
use stream::archive::Image;

use crate::cache::Stack;
use crate::floor::{MOUNT_POINTS, RESOLV_CONF};
use crate::mounting;

/// The exit status of errors before the command has begun, the same as env(1)'s.
pub(crate) const OURS: u8 = 125;

/// The exit status if the command can't be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status if there is no such command.
const NOT_FOUND: u8 = 127;

/// The command, and what it runs in.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) image: &'a Image,
    pub(crate) store: &'a Store,
    /// The directory that the union is mounted on; `None` if it is the root.
    pub(crate) point: Option<&'a Path>,
}

/// Becomes the command; returns only if that fails.
pub(crate) fn run(
    plan: &Plan<'_>,
    stack: &Stack,
    mount: Mount,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let [program, arguments @ ..] = plan.command else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments);
    #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .map_err(io::Error::from)
        .context("making a mount namespace")?;
    // What the system mounts later appears here too, but nothing that is mounted here appears there.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(io::Error::from).context("separating the mounts")?;
    if let Some(point) = plan.point {
        mounting::attach(mount, point, plan.store, plan.image)?;
    } else {
        let run = plan.image.config.run()?;
        change_root(mount, stack)?;
        settle(&mut command, &run);
    }
    cli::interrupt::check()?;
    io.progress.finish();
    let error = command.exec();
    let status = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let program = clean_path(Path::new(program));
    cli::error::report(io.name(), &anyhow::Error::new(error).context(program));
    Err(cli::silent(status))
}

/// Gives the command the environment and the working directory of the image's config.
fn settle(command: &mut Command, run: &Run) {
    command.env_remove("STRATA_STORE");
    for (name, value) in run.env.iter().filter_map(|it| it.split_once('=')) {
        if !name.is_empty() && !has_nul(name) && !has_nul(value) {
            command.env(name, value);
        }
    }
    let dir = run.working_dir.as_str();
    if dir.is_empty() || rustix::process::chdir(dir).is_err() {
        // It can't fail: the process is in the union's root.
        rustix::process::chdir("/").ok();
    }
}

fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

/// Makes the union the root directory of this process, and detaches the old one.
fn change_root(mount: Mount, stack: &Stack) -> anyhow::Result<()> {
    let below = system_trees().context("looking at the system's own mounts")?;
    let place = stack.layers.first().context("a union has layers")?.tree();
    mount.attach(&place)?;
    let root = rustix::fs::openat(CWD, &place, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)
        .context("opening the union")?;
    for (name, tree) in &below {
        mount_beneath(&root, name, tree)
            .map_err(io::Error::from)
            .with_context(|| format!("mounting /{name}"))?;
    }
    let enter = || {
        rustix::process::fchdir(&root)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    enter().map_err(io::Error::from).context("changing the root directory")
}

/// Copies of the system's mounts for the new root, each with its path in it. Those that the system lacks are left out.
fn system_trees() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut trees = vec![];
    for name in MOUNT_POINTS.into_iter().chain([RESOLV_CONF]) {
        // resolv.conf is often a symbolic link.
        let Ok(path) = fs::canonicalize(Path::new("/").join(name)) else { continue };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        trees.push((name, open_tree(CWD, &path, flags)?));
    }
    Ok(trees)
}

/// Mounts a tree beneath the root; does nothing if the image has a link there, or a file for a directory or the reverse.
fn mount_beneath(root: &OwnedFd, name: &str, tree: &OwnedFd) -> rustix::io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::openat2(root, name, flags, Mode::empty(), resolve) else {
        return Ok(());
    };
    let kind = |fd: &OwnedFd| {
        Ok(rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd.as_fd())?.st_mode))
    };
    if kind(&place)? != kind(tree)? {
        return Ok(());
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &place, "", flags)
}
