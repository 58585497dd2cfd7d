//! The first process of the command's PID namespace.
//!
//! A PID namespace begins with a child, and its first process is special: signals that it has no handler for don't reach it, and
//! orphans are its children. So this program executes itself again as that process, starts the command, reaps what comes to it,
//! and ends with the command's status. With it the kernel ends whatever is left in the namespace.
//!
//! ```text
//! union ── waits, passes TERM and HUP on
//!   └── union --init USER GROUP GROUPS ROOT DIR COMMAND…     process 1 of the namespace: own root, /proc and user
//!         └── COMMAND…
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Context as _;
use image::User;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::{Gid, Uid, UnshareFlags};

use crate::status::{OURS, report};

/// The word that makes this program the first process of a namespace.
const FLAG: &str = "--init";
/// What stands before the names of the command's variables in this process, for which they are not meant: a loader would obey
/// some of them, and they are a stranger's.
const PREFIX: &[u8] = b"STRATA_UNION_";

/// What the first process of a namespace does.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) user: &'a User,
    /// The variables of the command.
    pub(crate) variables: &'a BTreeMap<OsString, OsString>,
    /// The directory that becomes the root.
    pub(crate) root: &'a Path,
    /// Where the command starts, if that is there.
    pub(crate) dir: &'a str,
    pub(crate) command: &'a [OsString],
}

impl Task<'_> {
    /// Runs the command in a PID namespace of its own, and returns its exit status once it has ended.
    ///
    /// # Errors
    /// The namespace can't be made, or its first process can't be started.
    pub(crate) fn run(&self) -> anyhow::Result<u8> {
        let groups: Vec<_> = self.user.groups.iter().map(u32::to_string).collect();
        let mut init = Command::new("/proc/self/exe");
        init.arg0("union").env_clear().envs(
            self.variables.iter().map(|(name, value)| {
                (OsString::from_vec([PREFIX, name.as_bytes()].concat()), value)
            }),
        );
        init.args([
            FLAG,
            &self.user.uid.to_string(),
            &self.user.gid.to_string(),
            &groups.join(","),
        ]);
        init.arg(self.root).arg(self.dir).args(self.command);
        #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
        rustix::thread::unshare(UnshareFlags::NEWPID)
            .map_err(io::Error::from)
            .context("making a PID namespace")?;
        let mut child = init.spawn().context("starting the first process of the namespace")?;
        cli::interrupt::pass_on(child.id());
        let status = child.wait().context("waiting for the command")?;
        Ok(shell_status(status))
    }
}

/// What a shell would say of it.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OURS)
}

/// Acts as the first process, if that is what this program was started as. Returns the exit status.
pub(crate) fn begin() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    (words.next().as_deref() == Some(OsStr::new(FLAG))).then_some(())?;
    let ended = Init::parse(words).context("starting the command").and_then(Init::run);
    Some(ended.unwrap_or_else(|error| {
        cli::error::report("union", &error);
        OURS
    }))
}

/// The first process, as [`Task::run`] has told it what to do.
#[derive(Debug)]
struct Init {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    root: PathBuf,
    dir: OsString,
    program: OsString,
    arguments: Vec<OsString>,
}

impl Init {
    /// Reads the words after the flag.
    fn parse(mut words: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        let mut next = || words.next().context("a word is missing");
        let id = |word: OsString| word.to_str().and_then(|word| word.parse::<u32>().ok());
        let uid = id(next()?).context("the user is not a number")?;
        let gid = id(next()?).context("the group is not a number")?;
        let groups = next()?.into_string().ok().context("the groups are no text")?;
        let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::parse::<u32>);
        let groups: Vec<_> = groups.collect::<Result<_, _>>().context("a group is not a number")?;
        Ok(Self {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            groups: groups.into_iter().map(Gid::from_raw).collect(),
            root: next()?.into(),
            dir: next()?,
            program: next()?,
            arguments: words.collect(),
        })
    }

    /// Runs the command, and returns its status when it has ended.
    fn run(self) -> anyhow::Result<u8> {
        // The namespace ends with the program that waits for it, however that ends.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(variables());
        self.change_root().context("changing the root directory")?;
        mount_proc();
        self.become_user().context("changing the user")?;
        cli::interrupt::install()?;
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(report(&self.program, error)),
        };
        cli::interrupt::pass_on(child.id());
        reap(child.id())
    }

    /// Makes the union the root directory, and detaches the old one.
    fn change_root(&self) -> rustix::io::Result<()> {
        rustix::process::chdir(&self.root)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        if !self.dir.is_empty() {
            // An image may name a directory that it doesn't have.
            rustix::process::chdir(&self.dir).ok();
        }
        Ok(())
    }

    /// Takes on the user and the groups. In a user namespace without other users there is nothing to change.
    fn become_user(&self) -> rustix::io::Result<()> {
        match rustix::thread::set_thread_groups(&self.groups) {
            // It denies changes of groups.
            Err(Errno::PERM) => {}
            done => done?,
        }
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)
    }
}

/// The command's variables.
fn variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.as_bytes().strip_prefix(PREFIX)?;
        Some((OsString::from_vec(name.to_vec()), value))
    })
}

/// Mounts the namespace's own `/proc`. Where that is forbidden, as in a container that hides parts of its own, the machine's
/// stays, in which the command finds itself too.
fn mount_proc() {
    if Path::new("/proc").symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("proc", "/proc", "proc", flags, None).ok();
    }
}

/// Waits for all children until the command has ended, and returns its status.
fn reap(command: u32) -> anyhow::Result<u8> {
    let command = i32::try_from(command).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == command => {
                return Ok(shell_status(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno)).context("waiting for the command"),
        }
    }
}
