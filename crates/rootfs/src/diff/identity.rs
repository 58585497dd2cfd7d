//! Which attributes of a tree can be relied on. A tree may lack what this process could not set when it made the tree.
//!
//! | what could not be set | how that is known | what `snapshot` takes |
//! |---|---|---|
//! | an owner, a list that names one | the capabilities of this process, the ids of its user namespace | the base's |
//! | owners of a file system that gives all files to one | of its type, and one owner of all that is there | the base's |
//! | the setuid and setgid bits of a file whose owner was not set | as above | the base's |
//! | a device | no `MKNOD`, or another user namespace than the machine's | it is there |
//! | an attribute | no `SETFCAP` or `SYS_ADMIN`, or a file system that has none of the kind | the base's |

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::AsFd;

use layer_format::layer::{EntryKind, is_acl};
use layer_format::listing::Inode;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Gid;

use crate::powers::{self, Holds, Powers};
use crate::scan::Scan;
use crate::xattrs::{Xattr, is_of_images};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Which attributes of a tree can be relied on, and which may be different since this process could not set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    owners: Owners,
    /// The ids that the user namespace knows, if it doesn't know all. Other owners can't be told.
    ids: Option<Ids>,
    powers: Powers,
    holds: Holds,
}

/// Which owners of a tree can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owners {
    /// All.
    Real,
    /// All but this user. A file of this user may have any owner in the image, since owners could not be set.
    Mine {
        /// The user.
        uid: u32,
        /// The user's groups.
        gids: Vec<u32>,
    },
}

/// The permission bits and the owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) mode: u32,
    /// The user and the group.
    pub(super) owner: (u32, u32),
}

/// The users and groups that a user namespace knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ids {
    users: Vec<Range<u32>>,
    groups: Vec<Range<u32>>,
}

impl Identity {
    /// All attributes can be relied on.
    pub const REAL: Self = Self {
        owners: Owners::Real,
        ids: None,
        powers: Powers {
            gives_files: true,
            keeps_files: false,
            is_plain_user: false,
            passes_modes: true,
            makes_devices: true,
            sets_capabilities: true,
            sets_xattrs: true,
            is_admin: true,
        },
        holds: Holds::ALL,
    };

    /// What follows from the process, and from the file system of the tree's root.
    pub fn of_process(root: impl AsFd) -> Self {
        let powers = Powers::of_process();
        let ids = Ids::of_process();
        Self { owners: Owners::of_process(powers), ids, powers, holds: Holds::of(root) }
    }

    /// What follows from the process, and from the file system and the owners of the tree.
    pub fn of_scan(scan: &Scan) -> Self {
        let identity = Self::of_process(scan.root());
        if !powers::may_make_up_owners(scan.root()) {
            return identity;
        }
        let Some(uid) = scan.only_user() else { return identity };
        let mut gids: Vec<_> = scan.only_group().into_iter().collect();
        if let Owners::Mine { gids: ours, .. } = &identity.owners {
            gids.extend(ours);
        }
        Self { owners: Owners::Mine { uid, gids }, ..identity }
    }

    /// The same, if it is known that devices could not be made.
    #[must_use]
    pub fn without_devices(mut self) -> Self {
        self.powers.makes_devices = false;
        self
    }

    /// The same, if it is known that extended attributes could not be set, whatever the file system tells.
    #[must_use]
    pub fn without_xattrs(mut self) -> Self {
        self.powers.sets_xattrs = false;
        self
    }

    /// Whether all owners can be relied on.
    pub fn knows_owners(&self) -> bool {
        self.owners == Owners::Real && self.ids.is_none()
    }

    /// Whether a file of this user may have any owner.
    pub(super) fn has_uncertain_owners(&self) -> bool {
        matches!(self.owners, Owners::Mine { .. })
    }

    /// The owner that is meant by the one that was found, if the earlier record has `earlier`.
    pub(super) fn owner(&self, found: (u32, u32), earlier: (u32, u32)) -> (u32, u32) {
        let meant = match &self.owners {
            Owners::Real => found,
            Owners::Mine { uid, gids } => (
                if found.0 == *uid { earlier.0 } else { found.0 },
                if gids.contains(&found.1) { earlier.1 } else { found.1 },
            ),
        };
        match &self.ids {
            // A file whose owner isn't known stays root's, since user and group are set together or not at all. Elsewhere the
            // kernel shows such an owner as nobody.
            Some(ids) if self.owners == Owners::Real && found == (0, 0) && !ids.know(earlier) => {
                earlier
            }
            Some(ids) => (
                if ids.know_user(found.0) { meant.0 } else { earlier.0 },
                if ids.know_group(found.1) { meant.1 } else { earlier.1 },
            ),
            None => meant,
        }
    }

    /// The mode that is meant by the one of a file that was found. If the owner could not be set, neither could the setuid and
    /// setgid bits, so those are the earlier ones.
    pub(super) fn mode(&self, found: Permissions, earlier: Permissions) -> u32 {
        let meant = self.owner(found.owner, earlier.owner);
        let lost_uid = meant.0 == earlier.owner.0 && found.owner.0 != earlier.owner.0;
        let lost_gid = meant.1 == earlier.owner.1 && found.owner.1 != earlier.owner.1;
        // A plain user's own files get no special bits from any image.
        let never = self.powers.is_plain_user && meant == earlier.owner;
        let setuid = if lost_uid || never { SETUID } else { 0 };
        let setgid = if lost_gid || never { SETGID } else { 0 };
        found.mode | earlier.mode & (setuid | setgid)
    }

    /// Whether the tree tells what has become of an extended attribute, which the base or the tree has.
    pub(super) fn sees(&self, name: &[u8], base: &Inode, found: &[Xattr]) -> bool {
        let value = value_of(found, name).or_else(|| value_of(&base.xattrs, name));
        self.tells(&base.kind, name) && value.is_none_or(|value| self.can_name(name, value))
    }

    /// Whether an extended attribute can have this value here. An access control list may name users and groups that the user
    /// namespace doesn't know.
    pub(super) fn can_name(&self, name: &[u8], value: &[u8]) -> bool {
        let Some(ids) = self.ids.as_ref().filter(|_| is_acl(name)) else { return true };
        // The value is a version, then entries of a tag, permissions, and an id.
        let entries = value.get(4..).unwrap_or_default().chunks_exact(8);
        entries.into_iter().all(|entry| match *entry {
            [2, 0, _, _, a, b, c, d] => ids.know_user(u32::from_le_bytes([a, b, c, d])),
            [8, 0, _, _, a, b, c, d] => ids.know_group(u32::from_le_bytes([a, b, c, d])),
            _ => true,
        })
    }

    /// Whether the tree tells if an extended attribute is set on something of this kind.
    fn tells(&self, kind: &EntryKind, name: &[u8]) -> bool {
        // The kernel lets no process set user.* on links and special files, whatever a layer says.
        let is_possible = matches!(kind, EntryKind::File { .. } | EntryKind::Directory)
            || !name.starts_with(b"user.");
        let is_privileged = match name {
            b"security.capability" => !self.powers.sets_capabilities,
            _ if name.starts_with(b"security.") || name.starts_with(b"trusted.") => {
                !self.powers.is_admin
            }
            _ => false,
        };
        is_possible
            && is_of_images(name)
            && self.powers.sets_xattrs
            && !is_privileged
            && self.holds.may_have(name)
    }

    /// Whether something of this kind may be missing without having been removed.
    pub(super) fn may_be_missing(&self, kind: &EntryKind) -> bool {
        let is_device =
            matches!(kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        is_device && !self.powers.makes_devices
    }
}

impl Owners {
    fn of_process(powers: Powers) -> Self {
        if !powers.gives_files {
            // If the groups can't be read, the effective one is known, which new files have.
            let groups = rustix::process::getgroups().unwrap_or_default();
            let gids = groups.into_iter().chain([rustix::process::getegid()]);
            let uid = rustix::process::geteuid().as_raw();
            return Self::Mine { uid, gids: gids.map(Gid::as_raw).collect() };
        }
        Self::Real
    }
}

impl Ids {
    /// `None` if the namespace knows all, or that can't be told.
    fn of_process() -> Option<Self> {
        Some(Self { users: map("/proc/self/uid_map")?, groups: map("/proc/self/gid_map")? })
    }

    fn know_user(&self, id: u32) -> bool {
        self.users.iter().any(|range| range.contains(&id))
    }

    fn know_group(&self, id: u32) -> bool {
        self.groups.iter().any(|range| range.contains(&id))
    }

    fn know(&self, owner: (u32, u32)) -> bool {
        self.know_user(owner.0) && self.know_group(owner.1)
    }
}

fn value_of<'x>(xattrs: &'x [Xattr], name: &[u8]) -> Option<&'x [u8]> {
    xattrs.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..])
}

/// The ids that this process's user namespace knows. `None` if it knows all, or that can't be told.
fn map(path: &str) -> Option<Vec<Range<u32>>> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut text = String::new();
    File::from(file.ok()?).read_to_string(&mut text).ok()?;
    parse_map(&text)
}

/// Parses lines of an id inside the namespace, the same outside, and the number of ids from there.
fn parse_map(text: &str) -> Option<Vec<Range<u32>>> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let inside = numbers.next()?.ok()?;
        let n = numbers.nth(1)?.ok()?;
        Some(inside..inside.checked_add(n)?)
    };
    let ranges: Option<Vec<_>> = text.lines().map(range).collect();
    let knows_all = |range: &Range<u32>| *range == (0..u32::MAX);
    ranges.filter(|ranges| !ranges.iter().any(knows_all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_all_ids_is_none() {
        assert_eq!(parse_map("         0          0 4294967295\n"), None);
        assert_eq!(parse_map("0 1000 1\n1 100000 65536\n"), Some(vec![0..1, 1..65537]));
        assert_eq!(parse_map("0 0\n"), None);
    }

    #[test]
    fn root_of_a_namespace_keeps_owners_that_it_does_not_know() {
        let known = || vec![0..1, 1..60_000];
        let ids = Some(Ids { users: known(), groups: known() });
        let identity = Identity { ids, ..Identity::REAL };
        assert_eq!(identity.owner((0, 0), (7, 7)), (0, 0));
        assert_eq!(identity.owner((0, 0), (70_000, 7)), (70_000, 7));
        assert_eq!(identity.owner((5, 0), (70_000, 7)), (5, 0));
        // Whom the namespace doesn't know, the kernel shows as nobody.
        assert_eq!(identity.owner((65_534, 65_534), (70_000, 7)), (70_000, 7));
        assert_eq!(identity.owner((65_534, 5), (70_000, 7)), (70_000, 5));
        let mine = Owners::Mine { uid: 0, gids: vec![0] };
        let identity = Identity { owners: mine, ..identity };
        assert_eq!(identity.owner((65_534, 0), (70_000, 7)), (70_000, 7));
        let list = |id: u32| [&[2, 0, 0, 0, 2, 0, 4, 0][..], &id.to_le_bytes()].concat();
        let acl = b"system.posix_acl_access";
        assert!(identity.can_name(acl, &list(59_999)) && !identity.can_name(acl, &list(60_000)));
        assert!(identity.can_name(b"user.a", &list(60_000)));
        assert!(Identity::REAL.can_name(acl, &list(60_000)));
    }

    #[test]
    fn a_file_that_could_not_be_given_away_may_have_lost_its_special_bits() {
        let owners = Owners::Mine { uid: 1000, gids: vec![1000] };
        let identity = Identity { owners, ..Identity::REAL };
        let mode = |found, owner, earlier, earlier_owner| {
            let found = Permissions { mode: found, owner };
            identity.mode(found, Permissions { mode: earlier, owner: earlier_owner })
        };
        assert_eq!(mode(0o755, (1000, 1000), 0o6755, (0, 0)), 0o6755);
        assert_eq!(mode(0o700, (1000, 1000), 0o4755, (0, 0)), 0o4700);
        // The group was right, so that its bit was taken away by somebody.
        assert_eq!(mode(0o755, (1000, 1000), 0o6755, (0, 1000)), 0o4755);
        // The owner isn't ours: it was changed to that.
        assert_eq!(mode(0o755, (5, 1000), 0o4755, (0, 1000)), 0o755);
        let of = |mode, owner| Permissions { mode, owner };
        assert_eq!(Identity::REAL.mode(of(0o755, (0, 0)), of(0o4755, (7, 7))), 0o755);
        let powers = Powers { is_plain_user: true, ..identity.powers };
        let plain = Identity { powers, ..identity };
        let before = of(0o6755, (1000, 1000));
        assert_eq!(plain.mode(of(0o755, (1000, 1000)), before), 0o6755);
        assert_eq!(plain.mode(of(0o755, (5, 1000)), before), 0o755);
    }
}
