//! Owner, extended attributes, mode and times: each in its one right order, and never through a link.
//!
//! ```text
//! 1. owner    chown takes setuid, setgid and security.capability away
//! 2. xattrs   user.* needs write permission; an access ACL changes the mode
//! 3. mode     with setuid, setgid and sticky
//! 4. times    every other call would move them
//! ```
//!
//! FUSE may write a file's bytes late, which takes away what chown does: it must have them before 2.

use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{Entry, EntryKind, Timestamp, is_acl, is_xattr};
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{Doing, Failure, SETTING_XATTR};
use crate::powers::{self, Powers};
use crate::root;
use crate::xattrs::{Xattrs, is_of_bytes};

/// Whose the files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whom the layer says. What the system refuses (to a plain user, nearly everything) is counted as skipped.
    Keep,
    /// Whoever runs this. Nothing is tried and nothing counted.
    Ignore,
}

/// What becomes of the setuid and setgid bits of a file whose owner was not set: with them it would run as somebody whom
/// the image doesn't mean (hpc/charliecloud#155, umoci#181).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialBits {
    /// They go with the owner: what isn't given away has none, nor has what a stranger's image says is a plain user's.
    WithOwner,
    /// They are set whoever owns the file.
    Always,
}

/// How many attributes and entries the system refused to this user or on this file system, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Entries that belong to someone else than the layer says, for lack of privilege.
    pub owners: u64,
    /// Entries whose owner has an id that the user namespace doesn't know.
    pub unmapped_owners: u64,
    /// Access control lists with an id that the user namespace doesn't know.
    pub unmapped_xattrs: u64,
    /// Programs with special bits whose owner the file system didn't change, though it said so.
    pub ignored_owners: u64,
    /// Files without the setuid or setgid bit that the layer gives them, since their owner was not set.
    pub special_bits: u64,
    /// Device nodes, and further names of them, that are not there, for lack of privilege.
    pub devices: u64,
    /// Extended attributes that are not set, for lack of privilege.
    pub xattrs: u64,
    /// Extended attributes of a kind that the file system doesn't have.
    pub unsupported_xattrs: u64,
}

impl Skipped {
    /// Adds what was skipped elsewhere.
    pub fn add(&mut self, other: Self) {
        let Self { owners, unmapped_owners, ignored_owners, special_bits, devices, .. } = other;
        let Self { xattrs, unsupported_xattrs, unmapped_xattrs, .. } = other;
        self.owners += owners;
        self.unmapped_owners += unmapped_owners;
        self.ignored_owners += ignored_owners;
        self.special_bits += special_bits;
        self.devices += devices;
        self.xattrs += xattrs;
        self.unsupported_xattrs += unsupported_xattrs;
        self.unmapped_xattrs += unmapped_xattrs;
    }

    /// What was skipped, in words, one text for each reason.
    pub fn reasons(&self) -> Vec<Reason> {
        let powers = Powers::promised();
        let privileges = [
            (self.owners, "owner", powers.gives_files),
            (self.devices, "device", powers.makes_devices),
            (self.xattrs, "extended attribute", powers.sets_capabilities && powers.is_admin),
        ];
        let all = [
            Reason::of("not set, for lack of privilege", &privileges),
            Reason::of(
                "not set, since this user namespace has no such user or group",
                &[
                    (self.unmapped_owners, "owner", false),
                    (self.unmapped_xattrs, "extended attribute", false),
                ],
            ),
            Reason::of(
                "not set, though this file system said so",
                &[(self.ignored_owners, "owner", true)],
            ),
            Reason::of(
                "not set, since this file system has none",
                &[(self.unsupported_xattrs, "extended attribute", true)],
            ),
            Reason::of(
                "without setuid and setgid bits, since their owners were not set",
                &[(self.special_bits, "file", false)],
            ),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Why something was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason and what it is about, as `not set, for lack of privilege: 2 owners`.
    pub text: String,
    /// Whether this process has every right that it takes, so that nobody expects it.
    pub is_surprise: bool,
}

impl Reason {
    /// `counts` has a number, the name of one of these, and whether one of them is a surprise.
    fn of(why: &str, counts: &[(u64, &str, bool)]) -> Option<Self> {
        let counts: Vec<_> = counts.iter().filter(|(n, ..)| *n > 0).collect();
        let told: Vec<_> = counts
            .iter()
            .map(|(n, what, _)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
            .collect();
        (!told.is_empty()).then(|| Self {
            text: format!("{why}: {}", told.join(", ")),
            is_surprise: counts.iter().any(|(.., is_surprise)| *is_surprise),
        })
    }
}

/// What an inode is to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) owner: (u32, u32),
    /// `None` for what has no mode of its own: symbolic links.
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Whether it is a regular file, which its setuid and setgid bits make a program of somebody's.
    pub(crate) is_file: bool,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(entry: &'a Entry) -> Self {
        let owner = (entry.uid, entry.gid);
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        let mode = Some(entry.mode & 0o7777);
        Self { owner, mode, mtime: entry.mtime, xattrs: &entry.xattrs, is_file }
    }

    /// Whether it is a program of its owner's or its group's.
    fn is_special(&self) -> bool {
        self.is_file && self.mode.is_some_and(|mode| mode & 0o6000 != 0)
    }

    /// Whether a late writing of its bytes would take something from it: special bits, capabilities.
    fn suffers_from_writing(&self) -> bool {
        let speaks_of_them = |(name, _): &(Vec<u8>, Vec<u8>)| is_of_bytes(name);
        self.is_special() || self.is_file && self.xattrs.iter().any(speaks_of_them)
    }

    /// Those of a directory that no layer describes.
    pub(crate) fn implied() -> Self {
        Self {
            owner: (0, 0),
            mode: Some(0o755),
            mtime: Timestamp::default(),
            xattrs: &[],
            is_file: false,
        }
    }
}

/// What an inode has so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub(crate) owner: (u32, u32),
    pub(crate) mode: u32,
    pub(crate) xattrs: Leftovers,
}

/// Whether an inode may have extended attributes that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It is new, and its directory passes nothing on.
    None,
    /// It existed, or its directory has a default ACL.
    Possible,
}

impl Present {
    pub(crate) fn of(stat: &Stat, xattrs: Leftovers) -> Self {
        Self { owner: (stat.st_uid, stat.st_gid), mode: stat.st_mode & 0o7777, xattrs }
    }
}

/// The inode to work on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inode<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Anything else, in an open directory.
    Named(BorrowedFd<'a>, &'a [u8]),
}

/// Sets attributes and counts what it may not set.
#[derive(Debug)]
pub(crate) struct Setter {
    owner: Owner,
    special_bits: SpecialBits,
    /// Whether nothing is given away, since it would be out of reach then.
    keeps_files: bool,
    /// Whether no file gets special bits: it could only be this user's own.
    is_plain_user: bool,
    /// Whether giving files away was refused once; nothing changes that later.
    giving_refused: bool,
    pub(crate) skipped: Skipped,
}

impl Setter {
    pub(crate) fn new(owner: Owner, special_bits: SpecialBits) -> Self {
        let Powers { keeps_files, is_plain_user, .. } = Powers::of_process();
        let skipped = Skipped::default();
        Self { owner, special_bits, keeps_files, is_plain_user, giving_refused: false, skipped }
    }

    /// Sets everything but the times. Says whether it gave the inode to the owner that is wanted.
    pub(crate) fn set(
        &mut self,
        inode: Inode<'_>,
        has: Present,
        wanted: &Attributes<'_>,
    ) -> Result<bool, Failure> {
        let given = self.set_owner(inode, has.owner, wanted.owner)?;
        if let (Inode::Open(file), true) = (inode, wanted.suffers_from_writing())
            && powers::may_write_late(file)
        {
            rustix::fs::fsync(file).doing("writing its content")?;
        }
        self.set_xattrs(inode, has.xattrs, wanted.xattrs)?;
        let Some(mode) = wanted.mode else { return Ok(given) };
        let owner = if !given {
            has.owner
        } else if wanted.is_special() {
            self.owner_given(inode, wanted.owner)?
        } else {
            wanted.owner
        };
        let mode = self.allowed(mode, owner, wanted);
        // A mode with special bits loses them to chown, an ACL that comes or goes alters the mode.
        let disturbed = given && mode & 0o7000 != 0
            || has.xattrs == Leftovers::Possible
            || !wanted.xattrs.is_empty();
        if has.mode != mode || disturbed {
            set_mode(inode, mode)?;
        }
        Ok(given)
    }

    /// Whose an inode is that was given away: on some file systems chown succeeds and does nothing.
    fn owner_given(&mut self, inode: Inode<'_>, wanted: (u32, u32)) -> Result<(u32, u32), Failure> {
        let owner = owner(inode)?;
        self.skipped.ignored_owners += u64::from(owner != wanted);
        Ok(owner)
    }

    /// The mode without the special bits that a file may not have, given whose it is.
    fn allowed(&mut self, mode: u32, owner: (u32, u32), wanted: &Attributes<'_>) -> u32 {
        if !wanted.is_file || self.special_bits == SpecialBits::Always {
            return mode;
        }
        let is_meant = |is_same: bool| is_same && !self.is_plain_user;
        let setuid = if is_meant(owner.0 == wanted.owner.0) { 0 } else { 0o4000 };
        let setgid = if is_meant(owner.1 == wanted.owner.1) { 0 } else { 0o2000 };
        let lost = mode & (setuid | setgid);
        self.skipped.special_bits += u64::from(lost != 0);
        mode & !lost
    }

    fn set_owner(
        &mut self,
        inode: Inode<'_>,
        has: (u32, u32),
        wanted: (u32, u32),
    ) -> Result<bool, Failure> {
        if self.owner == Owner::Ignore || has == wanted {
            return Ok(false);
        }
        if self.keeps_files || has.0 != wanted.0 && self.giving_refused {
            self.skipped.owners += 1;
            return Ok(false);
        }
        let (uid, gid) = (Some(Uid::from_raw(wanted.0)), Some(Gid::from_raw(wanted.1)));
        let result = match inode {
            Inode::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Inode::Named(dir, name) => {
                rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        match result {
            Err(Errno::PERM) => {
                self.giving_refused |= has.0 != wanted.0;
                self.skipped.owners += 1;
                Ok(false)
            }
            // An id that this user namespace doesn't know.
            Err(Errno::INVAL) => {
                self.skipped.unmapped_owners += 1;
                Ok(false)
            }
            result => result.map(|()| true).doing("setting the owner"),
        }
    }

    fn set_xattrs(
        &mut self,
        inode: Inode<'_>,
        has: Leftovers,
        wanted: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), Failure> {
        if has == Leftovers::None && wanted.is_empty() {
            return Ok(());
        }
        let xattrs = Xattrs::of(inode)?;
        if has == Leftovers::Possible {
            xattrs.retain(wanted)?;
        }
        for (name, value) in wanted {
            match xattrs.set(name, value) {
                Err(Errno::PERM | Errno::ACCESS) => self.skipped.xattrs += 1,
                // A good list that names somebody whom this user namespace doesn't know.
                Err(Errno::INVAL) if is_acl(name) && is_xattr(name, value) => {
                    self.skipped.unmapped_xattrs += 1;
                }
                // Nobody can set those of users on links and special files: that is no matter of the file system.
                // mergerfs says that there is no such attribute.
                Err(Errno::NOTSUP | Errno::NOSYS | Errno::NODATA) => {
                    self.skipped.unsupported_xattrs += 1;
                }
                result => result.doing(SETTING_XATTR)?,
            }
        }
        Ok(())
    }
}

/// Whom it belongs to by now.
fn owner(inode: Inode<'_>) -> Result<(u32, u32), Failure> {
    let stat = match inode {
        Inode::Open(fd) => rustix::fs::fstat(fd),
        Inode::Named(dir, name) => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
    };
    let stat = stat.doing("looking at the owner")?;
    Ok((stat.st_uid, stat.st_gid))
}

/// Sets access and modification time to `mtime`, without following a link. The file system clamps what it can't hold.
pub(crate) fn set_times(inode: Inode<'_>, mtime: Timestamp) -> Result<(), Failure> {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.min(999_999_999).into() };
    let times = Timestamps { last_access: time, last_modification: time };
    let result = match inode {
        Inode::Open(fd) => rustix::fs::futimens(fd, &times),
        Inode::Named(dir, name) => {
            rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        }
    };
    result.doing("setting the time")
}

pub(crate) fn set_mode(inode: Inode<'_>, mode: u32) -> Result<(), Failure> {
    let mode = Mode::from_raw_mode(mode);
    let result = match inode {
        Inode::Open(fd) => rustix::fs::fchmod(fd, mode),
        Inode::Named(dir, name) => root::hold(dir, name)
            .and_then(|held| rustix::fs::chmod(root::magic_link(held.as_fd()), mode)),
    };
    result.doing("setting the mode")
}
