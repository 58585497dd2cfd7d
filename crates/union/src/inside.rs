//! A command, with the union for its root directory or mounted on a directory, in a mount namespace of its own.
//!
//! With a directory, this process becomes the command, in the machine's root: signals, terminal and exit status are its own,
//! and the mount ends with the last process that was started from it.
//!
//! Where the union is the root, the command has the image's environment and user, a `/dev` of its own (`devices`), and a PID
//! namespace with its own `/proc` (`init`); `/sys`, `/etc/resolv.conf`, the network and the host name are the machine's. It is
//! a change of root, no wall.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use cli::text::{clean, clean_path};
use cli::{Code, Failure, Io};
use image::User;
use layer_format::Run;
use rootfs::overlay::Mount;
use rootfs::{Root, magic_link};
use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, mount_bind_recursive, mount_remount};
use store::{Reach, Store};
use stream::archive::Image;

use crate::cache::Stack;
use crate::floor::RESOLV_CONF;
use crate::init::Task;
use crate::mount_error::of_call;
use crate::status::report;
use crate::{devices, mounting};

/// Where programs are looked for, if the image doesn't say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is the machine's in the command's root.
const SYSTEM: [&str; 3] = ["proc", "sys", RESOLV_CONF];

/// The command, and what it runs in.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) image: &'a Image,
    pub(crate) store: &'a Store,
    /// The directory that the union is mounted on; `None` if it is the root.
    pub(crate) point: Option<&'a Path>,
    pub(crate) settings: &'a Settings,
}

/// How the command is to run, where that isn't the image's to say.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Settings {
    /// User and group of the command, as USER[:GROUP]; without it the image's
    #[arg(short, long, value_name = "USER", requires = "command", conflicts_with = "dir")]
    user: Option<String>,
    /// Variable for the command; without a value, the one that is set here
    #[arg(
        short,
        long,
        value_name = "NAME[=VALUE]",
        value_parser = parse_variable,
        requires = "command",
        conflicts_with = "dir"
    )]
    env: Vec<String>,
    /// Keep the variables that are set here; the image's come first
    #[arg(long, requires = "command", conflicts_with = "dir")]
    keep_env: bool,
}

/// Becomes the command; returns only if that fails.
pub(crate) fn run(
    plan: &Plan<'_>,
    stack: &Stack,
    mount: Mount,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let [program, arguments @ ..] = plan.command else { return Ok(()) };
    let Some(point) = plan.point else { return run_in_root(plan, stack, mount, io) };
    mounting::attach(mount, point, stack, plan.store, Reach::Private)
        .with_context(|| clean_path(point))?;
    mounting::note_image(point, plan.store, plan.image);
    cli::interrupt::check()?;
    io.progress.finish();
    let error = Command::new(program).args(arguments).exec();
    Err(cli::silent(report(program, error)))
}

/// Runs the command with the union for its root, and ends with its status.
fn run_in_root(
    plan: &Plan<'_>,
    stack: &Stack,
    mount: Mount,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let run = plan.image.config.run()?;
    let root = stack.layers.first().context("a union has layers")?.tree();
    mounting::attach(mount, &root, stack, plan.store, Reach::Private)?;
    let missing = furnish(&root)?;
    if !missing.is_empty() {
        let paths = missing.join(" and ");
        io.warn(&format!("nothing is mounted at {paths}: the image has something else there"));
    }
    let user = user(plan.settings, &run, &root, io)?;
    let variables = variables(plan.settings, &run, &user);
    cli::interrupt::check()?;
    io.progress.finish();
    let dir = run.working_dir.as_str();
    if !dir.is_empty() && !Root::open(&root)?.has(dir.trim_start_matches('/')).unwrap_or(true) {
        let dir = clean(dir);
        io.warn(&format!(
            "the image's working directory {dir} isn't there: the command starts in /"
        ));
    }
    let task = Task { user: &user, variables: &variables, root: &root, dir, command: plan.command };
    match task.run()? {
        0 => Ok(()),
        status => Err(cli::silent(status)),
    }
}

/// The user that the command runs as: the one that was asked for, else the image's, by the image's own files.
fn user(settings: &Settings, run: &Run, root: &Path, io: &Io<'_>) -> anyhow::Result<User> {
    let text = settings.user.as_ref().unwrap_or(&run.user);
    let user = User::find(text, &Root::open(root)?)?.ok_or_else(|| {
        let name = clean(text);
        let message = format!("the user {name} is not in the image's /etc/passwd and /etc/group");
        Failure::new(Code::Failed, message)
    })?;
    if is_mapped(user.uid, "uid_map") && is_mapped(user.gid, "gid_map") {
        return Ok(user);
    }
    let name = clean(text);
    io.warn(&format!("the command runs as root, not as {name}: a plain user's union has one user"));
    Ok(User { home: user.home, ..User::root() })
}

/// Whether an id is one of this process's user namespace. One that can't be read has all.
fn is_mapped(id: u32, map: &str) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/self/{map}")) else { return true };
    text.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(n))) = (numbers.next(), numbers.nth(1)) else { return false };
        (first..first + n).contains(&u64::from(id))
    })
}

/// Parses the value of `--env`.
fn parse_variable(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        None | Some("") => Err("a variable has a name".to_owned()),
        Some(_) => Ok(text.to_owned()),
    }
}

/// The command's variables: the image's, a few that every program expects, and what the user adds.
fn variables(settings: &Settings, run: &Run, user: &User) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    if settings.keep_env {
        variables.extend(std::env::vars_os());
        // It is a path of the machine's.
        variables.remove(OsStr::new("STRATA_STORE"));
    }
    variables.insert("PATH".into(), PATH.into());
    variables.insert("HOME".into(), user.home.as_str().into());
    variables.extend(std::env::var_os("TERM").map(|term| ("TERM".into(), term)));
    let is_sound = |(name, value): &(&str, &str)| {
        !name.is_empty() && !name.contains('\0') && !value.contains('\0')
    };
    let images = run.env.iter().filter_map(|variable| variable.split_once('='));
    variables.extend(images.filter(is_sound).map(|(name, value)| (name.into(), value.into())));
    for variable in &settings.env {
        match variable.split_once('=') {
            Some((name, value)) => drop(variables.insert(name.into(), value.into())),
            None => variables.extend(std::env::var_os(variable).map(|it| (variable.into(), it))),
        }
    }
    variables
}

/// Mounts in the union what its root needs, and returns the paths of what has no place there.
fn furnish(path: &Path) -> anyhow::Result<Vec<String>> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(io::Error::from)
        .context("opening the union")?;
    let mut missing = vec![];
    match place_beneath(&root, "dev").filter(is_directory) {
        Some(dev) => {
            devices::mount(&dev, &root).map_err(of_call).context("mounting /dev")?;
        }
        None => missing.push("/dev".to_owned()),
    }
    for (name, tree) in &system_trees().context("looking at the system's own mounts")? {
        let is_mounted = mount_beneath(&root, name, tree)
            .map_err(of_call)
            .with_context(|| format!("mounting /{name}"))?;
        if !is_mounted {
            missing.push(format!("/{name}"));
        }
        if is_mounted && *name == RESOLV_CONF {
            // It is the machine's own file.
            protect(&path.join(name), tree)
                .map_err(io::Error::from)
                .with_context(|| format!("mounting /{name}"))?;
        }
    }
    Ok(missing)
}

/// Makes a mounted copy read-only. What the machine forbids for it stays forbidden.
fn protect(place: &Path, tree: &OwnedFd) -> rustix::io::Result<()> {
    let forbidden = rustix::fs::fstatvfs(tree)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (stated, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ] {
        flags.set(flag, forbidden.contains(stated));
    }
    mount_remount(place, flags, "")
}

/// The system's mounts that the new root gets, each with its path in it. Those that the system lacks are left out.
fn system_trees() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut trees = vec![];
    for name in SYSTEM {
        // resolv.conf is often a symbolic link.
        let Ok(path) = fs::canonicalize(Path::new("/").join(name)) else { continue };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        trees.push((name, rustix::fs::openat(CWD, &path, flags, Mode::empty())?));
    }
    Ok(trees)
}

/// The file or directory of that name in the root; `None` where the image has a link in its place, or on the way.
fn place_beneath(root: &OwnedFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut place: Option<OwnedFd> = None;
    for name in name.split('/') {
        let above = place.as_ref().unwrap_or(root);
        place = Some(rustix::fs::openat(above, name, flags, Mode::empty()).ok()?);
    }
    place.filter(|place| file_type(place).is_some_and(|it| it != FileType::Symlink))
}

fn file_type(fd: &OwnedFd) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn is_directory(fd: &OwnedFd) -> bool {
    file_type(fd) == Some(FileType::Directory)
}

/// Mounts a tree beneath the root; does nothing if the image has a link there, or a file for a directory or the reverse. Returns
/// whether it is mounted.
fn mount_beneath(root: &OwnedFd, name: &str, tree: &OwnedFd) -> rustix::io::Result<bool> {
    let Some(place) = place_beneath(root, name) else { return Ok(false) };
    if is_directory(&place) != is_directory(tree) {
        return Ok(false);
    }
    mount_bind_recursive(magic_link(tree.as_fd()), magic_link(place.as_fd()))?;
    Ok(true)
}
