//! Owner, extended attributes, mode and times of an inode, set in their one right order.
//!
//! ```text
//! 1. owner    chown takes setuid, setgid and security.capability away
//! 2. xattrs   user.* needs write permission; an access ACL changes the mode
//! 3. mode     with setuid, setgid and sticky
//! 4. times    every other call would move them
//! ```
//!
//! FUSE may write a file's bytes late, which takes away the same as chown. So they are synced before step 2.

use layer_format::layer::{Entry, EntryKind, Timestamp, is_acl, is_xattr};
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::error::{Doing, SETTING_XATTR, SystemError};
use crate::inode::InodeHandle;
use crate::powers::{self, Powers};
use crate::xattrs::{Xattrs, is_of_bytes};

/// Which owner the files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The layer's. Each owner that the system refuses (to a plain user, nearly all) is counted as skipped.
    Keep,
    /// The user of this process. No owner is set, and none counted.
    Ignore,
}

/// What becomes of the setuid and setgid bits of a file whose owner was not set. With them it would run as a user whom the
/// image doesn't mean (hpc/charliecloud#155, umoci#181).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialBits {
    /// They are set only together with the owner. A plain user's files never get them, even if the image names that user.
    WithOwner,
    /// They are set in any case.
    Always,
}

/// The numbers of attributes and entries that the system refused to this user or on this file system, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Entries that have another owner than the layer says, for lack of privilege.
    pub owners: u64,
    /// Entries whose owner is an id that the user namespace doesn't know.
    pub unmapped_owners: u64,
    /// Access control lists with an id that the user namespace doesn't know.
    pub unmapped_xattrs: u64,
    /// Programs with special bits whose owner the file system didn't change, though it said so.
    pub ignored_owners: u64,
    /// Files without the setuid or setgid bit that the layer gives them, since their owner was not set.
    pub special_bits: u64,
    /// Device nodes that could not be made, for lack of privilege, and hard links to them.
    pub devices: u64,
    /// Extended attributes that are not set, for lack of privilege.
    pub xattrs: u64,
    /// Extended attributes of a kind that the file system doesn't have.
    pub unsupported_xattrs: u64,
}

impl Skipped {
    /// Adds the numbers of another.
    pub fn add(&mut self, other: Self) {
        let Self {
            owners,
            unmapped_owners,
            unmapped_xattrs,
            ignored_owners,
            special_bits,
            devices,
            xattrs,
            unsupported_xattrs,
        } = other;
        self.owners += owners;
        self.unmapped_owners += unmapped_owners;
        self.unmapped_xattrs += unmapped_xattrs;
        self.ignored_owners += ignored_owners;
        self.special_bits += special_bits;
        self.devices += devices;
        self.xattrs += xattrs;
        self.unsupported_xattrs += unsupported_xattrs;
    }

    /// What was skipped as text, one for each reason.
    pub fn reasons(&self) -> Vec<Reason> {
        let powers = Powers::promised();
        let count = |n, what, is_surprise| SkippedCount { n, what, is_surprise };
        let all = [
            Reason::of(
                "not set, for lack of privilege",
                &[
                    count(self.owners, "owner", powers.gives_files),
                    count(self.devices, "device", powers.makes_devices),
                    count(
                        self.xattrs,
                        "extended attribute",
                        powers.sets_capabilities && powers.is_admin,
                    ),
                ],
            ),
            Reason::of(
                "not set, since this user namespace has no such user or group",
                &[
                    count(self.unmapped_owners, "owner", false),
                    count(self.unmapped_xattrs, "extended attribute", false),
                ],
            ),
            Reason::of(
                "not set, though this file system said so",
                &[count(self.ignored_owners, "owner", true)],
            ),
            Reason::of(
                "not set, since this file system has none",
                &[count(self.unsupported_xattrs, "extended attribute", true)],
            ),
            Reason::of(
                "without setuid and setgid bits, since their owners were not set",
                &[count(self.special_bits, "file", false)],
            ),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Why something was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason and the numbers, for example `not set, for lack of privilege: 2 owners`.
    pub text: String,
    /// Whether this process has all privileges for it, so that it could not be expected.
    pub is_surprise: bool,
}

/// The number of things of one kind that were skipped for one reason.
struct SkippedCount {
    n: u64,
    /// The name of one of them.
    what: &'static str,
    /// See [`Reason::is_surprise`].
    is_surprise: bool,
}

impl Reason {
    /// `None` if nothing was skipped.
    fn of(why: &str, counts: &[SkippedCount]) -> Option<Self> {
        let counts: Vec<_> = counts.iter().filter(|count| count.n > 0).collect();
        let told: Vec<_> = counts
            .iter()
            .map(|SkippedCount { n, what, .. }| {
                format!("{n} {what}{}", if *n == 1 { "" } else { "s" })
            })
            .collect();
        (!told.is_empty()).then(|| Self {
            text: format!("{why}: {}", told.join(", ")),
            is_surprise: counts.iter().any(|count| count.is_surprise),
        })
    }
}

/// The attributes that an inode is to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedAttributes<'a> {
    /// The user and the group.
    pub(crate) owner: (u32, u32),
    /// `None` for a symbolic link, which has no mode of its own.
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Whether it is a regular file, for which setuid and setgid bits say as whom it runs.
    pub(crate) is_file: bool,
}

impl<'a> WantedAttributes<'a> {
    /// Those that an entry says.
    pub(crate) fn of(entry: &'a Entry) -> Self {
        Self {
            owner: (entry.uid, entry.gid),
            mode: Some(entry.mode & 0o7777),
            mtime: entry.mtime,
            xattrs: &entry.xattrs,
            is_file: matches!(entry.kind, EntryKind::File { .. }),
        }
    }

    /// Whether it is a file with the setuid or setgid bit.
    fn is_special(&self) -> bool {
        self.is_file && self.mode.is_some_and(|mode| mode & 0o6000 != 0)
    }

    /// Whether it would lose something if its bytes were written late: special bits or capabilities.
    fn suffers_from_writing(&self) -> bool {
        let speaks_of_them = |(name, _): &(Vec<u8>, Vec<u8>)| is_of_bytes(name);
        self.is_special() || self.is_file && self.xattrs.iter().any(speaks_of_them)
    }

    /// Those of a parent directory that no layer describes.
    pub(crate) fn implied(owner: (u32, u32)) -> Self {
        Self { owner, mode: Some(0o755), mtime: Timestamp::default(), xattrs: &[], is_file: false }
    }
}

/// The attributes that an inode has before any are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentAttributes {
    pub(crate) owner: (u32, u32),
    pub(crate) mode: u32,
    pub(crate) xattrs: Leftovers,
}

/// Whether an inode may have extended attributes that no entry gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It is new, and its directory passes nothing on.
    None,
    /// It existed, or its directory has a default ACL.
    Possible,
}

impl PresentAttributes {
    /// Those that a look at the inode has shown.
    pub(crate) fn of(stat: &Stat, xattrs: Leftovers) -> Self {
        Self { owner: (stat.st_uid, stat.st_gid), mode: stat.st_mode & 0o7777, xattrs }
    }
}

/// Sets attributes, and counts those that it may not set.
#[derive(Debug)]
pub(crate) struct AttributeSetter {
    owner: Owner,
    special_bits: SpecialBits,
    /// Whether no owner is set, since this process could not work on the file any more.
    keeps_files: bool,
    /// Whether no file gets special bits, since it could only be this user's own.
    is_plain_user: bool,
    /// Whether setting a user was refused once, which does not change later.
    giving_refused: bool,
    pub(crate) skipped: Skipped,
}

impl AttributeSetter {
    pub(crate) fn new(owner: Owner, special_bits: SpecialBits) -> Self {
        let Powers { keeps_files, is_plain_user, .. } = Powers::of_process();
        Self {
            owner,
            special_bits,
            keeps_files,
            is_plain_user,
            giving_refused: false,
            skipped: Skipped::default(),
        }
    }

    /// Sets everything but the times. The result is whether the owner was set.
    pub(crate) fn set(
        &mut self,
        inode: InodeHandle<'_>,
        has: PresentAttributes,
        wanted: &WantedAttributes<'_>,
    ) -> Result<bool, SystemError> {
        let given = self.set_owner(inode, has.owner, wanted.owner)?;
        if let (InodeHandle::Open(file), true) = (inode, wanted.suffers_from_writing())
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
        // chown takes special bits away, and an ACL that is set or removed alters the mode.
        let disturbed = given && mode & 0o7000 != 0
            || has.xattrs == Leftovers::Possible
            || !wanted.xattrs.is_empty();
        if has.mode != mode || disturbed {
            inode.set_mode(mode)?;
        }
        Ok(given)
    }

    /// The owner that an inode has after it was set. On some file systems chown succeeds and does nothing.
    fn owner_given(
        &mut self,
        inode: InodeHandle<'_>,
        wanted: (u32, u32),
    ) -> Result<(u32, u32), SystemError> {
        let owner = inode.owner()?;
        self.skipped.ignored_owners += u64::from(owner != wanted);
        Ok(owner)
    }

    /// The mode without the special bits that a file of this owner may not have.
    fn allowed(&mut self, mode: u32, owner: (u32, u32), wanted: &WantedAttributes<'_>) -> u32 {
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

    /// Sets the owner if that is wanted and possible. The result is whether it was set.
    fn set_owner(
        &mut self,
        inode: InodeHandle<'_>,
        has: (u32, u32),
        wanted: (u32, u32),
    ) -> Result<bool, SystemError> {
        if self.owner == Owner::Ignore || has == wanted {
            return Ok(false);
        }
        if self.keeps_files || has.0 != wanted.0 && self.giving_refused {
            self.skipped.owners += 1;
            return Ok(false);
        }
        match inode.set_owner(wanted) {
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
        inode: InodeHandle<'_>,
        has: Leftovers,
        wanted: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), SystemError> {
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
                // The list is well-formed, but names an id that this user namespace doesn't know.
                Err(Errno::INVAL) if is_acl(name) && is_xattr(name, value) => {
                    self.skipped.unmapped_xattrs += 1;
                }
                // The kernel lets no process set user.* on links and special files, whatever the file system is.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_counted_by_its_kind() {
        let one = Skipped {
            owners: 1,
            unmapped_owners: 2,
            unmapped_xattrs: 3,
            ignored_owners: 4,
            special_bits: 5,
            devices: 6,
            xattrs: 7,
            unsupported_xattrs: 8,
        };
        let mut sum = one;
        sum.add(one);
        let reasons: Vec<_> = sum.reasons().into_iter().map(|reason| reason.text).collect();
        assert_eq!(
            reasons,
            [
                "not set, for lack of privilege: 2 owners, 12 devices, 14 extended attributes",
                "not set, since this user namespace has no such user or group: 4 owners, 6 extended attributes",
                "not set, though this file system said so: 8 owners",
                "not set, since this file system has none: 16 extended attributes",
                "without setuid and setgid bits, since their owners were not set: 10 files",
            ]
        );
        assert!(Skipped::default().reasons().is_empty());
    }
}
