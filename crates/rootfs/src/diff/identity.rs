//! What a tree can tell: all that an image says, or what a user could make of it.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;

use layer_format::layer::EntryKind;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Gid;

use crate::xattrs::is_of_images;

/// Whether owners, devices and privileged attributes are what an image says, or what a user could make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The tree says what it is.
    Real,
    /// The tree is a plain user's: what is his may be anybody's, and what he can't make may be missing.
    Plain {
        /// The user.
        uid: u32,
        /// His groups.
        gids: Vec<u32>,
    },
    /// The tree is that of root in a user namespace: what is his may be that of somebody whom the namespace doesn't know.
    Namespace {
        /// The users that it knows.
        uids: Vec<Range<u32>>,
        /// The groups that it knows.
        gids: Vec<Range<u32>>,
    },
}

impl Identity {
    /// What follows from who runs this.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            let maps = (map("/proc/self/uid_map"), map("/proc/self/gid_map"));
            return match maps {
                (Some(uids), Some(gids)) => Self::Namespace { uids, gids },
                _ => Self::Real,
            };
        }
        // If the groups can't be had, the first of them is what files have anyway.
        let groups = rustix::process::getgroups().unwrap_or_default();
        let gids = groups.into_iter().chain([rustix::process::getegid()]);
        Self::Plain { uid: uid.as_raw(), gids: gids.map(Gid::as_raw).collect() }
    }

    /// The owner that is meant, given that `earlier` was said before.
    pub(super) fn owner(&self, found: (u32, u32), earlier: (u32, u32)) -> (u32, u32) {
        match self {
            Self::Real => found,
            Self::Plain { uid, gids } => (
                if found.0 == *uid { earlier.0 } else { found.0 },
                if gids.contains(&found.1) { earlier.1 } else { found.1 },
            ),
            Self::Namespace { uids, gids } => {
                let knows = |ids: &[Range<u32>], id| ids.iter().any(|range| range.contains(&id));
                // Both are given at once, or neither.
                let could_give = knows(uids, earlier.0) && knows(gids, earlier.1);
                if found == (0, 0) && !could_give { earlier } else { found }
            }
        }
    }

    /// Whether the tree tells if this attribute is set on something of this kind.
    pub(super) fn tells(&self, kind: &EntryKind, name: &[u8]) -> bool {
        // The kernel lets nobody set those of users on links and special files, whatever a layer says.
        let is_possible = matches!(kind, EntryKind::File { .. } | EntryKind::Directory)
            || !name.starts_with(b"user.");
        let is_privileged = match self {
            Self::Real => false,
            Self::Plain { .. } => name.starts_with(b"trusted.") || name.starts_with(b"security."),
            Self::Namespace { .. } => name.starts_with(b"trusted."),
        };
        is_possible && is_of_images(name) && !is_privileged
    }

    /// Whether this may be missing without having been removed.
    pub(super) fn may_be_missing(&self, kind: &EntryKind) -> bool {
        let is_device =
            matches!(kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        *self != Self::Real && is_device
    }
}

/// The ids that this process's user namespace knows; none where it knows all, or there is no telling.
fn map(path: &str) -> Option<Vec<Range<u32>>> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut text = String::new();
    File::from(file.ok()?).read_to_string(&mut text).ok()?;
    parse_map(&text)
}

/// Lines of an id inside, the same outside, and how many from there.
fn parse_map(text: &str) -> Option<Vec<Range<u32>>> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, _, n) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
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
        let known = || vec![0..1, 1..65537];
        let identity = Identity::Namespace { uids: known(), gids: known() };
        assert_eq!(identity.owner((0, 0), (7, 7)), (0, 0));
        assert_eq!(identity.owner((0, 0), (70_000, 7)), (70_000, 7));
        assert_eq!(identity.owner((5, 0), (70_000, 7)), (5, 0));
    }
}
