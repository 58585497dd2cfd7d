//! Limits of Linux that hold for any file system. A layer with an entry beyond them can't be unpacked.

use super::entry::{Change, Entry, EntryKind};
use super::path::{EntryPath, refuse};
use crate::error::Error;

/// A name that no layer may have in an image's root. It marks a directory that isn't filled completely.
pub const INCOMPLETE: &str = ".strata-incomplete";

/// The largest device numbers that the kernel has.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;
/// The longest target of a symbolic link, in bytes.
const MAX_TARGET: usize = 4095;
/// The longest name of a file or an extended attribute, in bytes.
const MAX_NAME: usize = 255;
/// The longest value of an extended attribute, in bytes.
const MAX_VALUE: usize = 64 << 10;

/// The reason why no system can have this entry; `None` if one can. Its attributes and names aren't checked here.
pub fn impossible(entry: &Entry) -> Option<&'static str> {
    match &entry.kind {
        _ if entry.uid == u32::MAX || entry.gid == u32::MAX => {
            Some("its owner is 4294967295, which no system takes")
        }
        EntryKind::Symlink { target }
            if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) =>
        {
            Some("a symbolic link to nothing, or to more than a path can be")
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }
            if *major > MAX_MAJOR || *minor > MAX_MINOR =>
        {
            Some("a device number that no system has")
        }
        // A file system under an overlay takes it for a whiteout, and another one takes it for a device. The tree would
        // depend on that.
        EntryKind::CharDevice { major: 0, minor: 0 } => {
            Some("a character device 0:0, which overlayfs takes for a whiteout")
        }
        _ => None,
    }
}

/// Refuses a change that can't be unpacked on any system. Only the change itself is checked.
///
/// # Errors
/// [`Error::MalformedEntry`] says why.
pub fn check_possible(change: &Change) -> Result<(), Error> {
    let Change::Add(entry) = change else { return Ok(()) };
    let reason = impossible(entry).or_else(|| bad_name(&entry.path)).or_else(|| {
        let is_bad = |(name, value): &(Vec<u8>, Vec<u8>)| !is_xattr(name, value);
        let reason = "an extended attribute has a name or a value that no system takes";
        entry.xattrs.iter().any(is_bad).then_some(reason)
    });
    reason.map_or(Ok(()), |reason| Err(refuse(entry.path.as_bytes(), reason)))
}

fn bad_name(path: &EntryPath) -> Option<&'static str> {
    if path.components().next() == Some(INCOMPLETE.as_bytes()) {
        return Some("a name that is kept for marking the directory while it is filled");
    }
    let is_long = path.components().any(|name| name.len() > MAX_NAME);
    is_long.then_some("a name is longer than any file system takes")
}

/// Whether an extended attribute of this name is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

/// Whether the kernel accepts an extended attribute with this name and value, or ignores it.
pub fn is_xattr(name: &[u8], value: &[u8]) -> bool {
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let is_name = name.len() <= MAX_NAME && !name.contains(&0) && !spaces.contains(&name);
    let is_value = match name {
        b"security.capability" => value.is_empty() || is_capability(value),
        b"system.posix_acl_access" | b"system.posix_acl_default" => {
            value.is_empty() || is_good_acl(value)
        }
        _ => true,
    };
    is_name && value.len() <= MAX_VALUE && is_value
}

/// Whether the value is a file capability of version 2 or 3 (linux/capability.h, `vfs_ns_cap_data`).
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value), (20, [0 | 1, 0, 0, 2, ..]) | (24, [0 | 1, 0, 0, 3, ..]))
}

/// The entries that may come next in an access control list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Owner,
    Users,
    Groups,
    Others,
    Nothing,
}

/// Whether the value is a valid access control list: a version, then tag, permissions and ID of each entry, with the
/// tags in their order (`posix_acl_valid` in the kernel).
fn is_good_acl(value: &[u8]) -> bool {
    let Some((version, entries)) = value.split_first_chunk() else { return false };
    // The kernel ignores another version and an empty list.
    if *version != [2, 0, 0, 0] || entries.is_empty() {
        return true;
    }
    let (mut expected, mut needs_mask) = (Expected::Owner, false);
    for entry in entries.chunks(8) {
        let &[tag, 0, 0..=7, 0, ref id @ ..] = entry else { return false };
        let is_id = *id != [0xff; 4] && id.len() == 4;
        expected = match (tag, expected) {
            (0x01, Expected::Owner) => Expected::Users,
            (0x02, Expected::Users) | (0x08, Expected::Groups) if is_id => {
                needs_mask = true;
                expected
            }
            (0x04, Expected::Users) => Expected::Groups,
            (0x10, Expected::Groups) => Expected::Others,
            (0x20, Expected::Others) => Expected::Nothing,
            (0x20, Expected::Groups) if !needs_mask => Expected::Nothing,
            _ => return false,
        };
    }
    entries.len().is_multiple_of(8) && expected == Expected::Nothing
}

#[cfg(test)]
mod tests {
    use super::super::entry::Timestamp;
    use super::*;

    fn add(path: &[u8], kind: EntryKind, xattrs: &[(&[u8], &[u8])]) -> Change {
        let path = EntryPath::parse(path).unwrap();
        let xattrs = xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Change::Add(Entry {
            path,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs,
        })
    }

    #[track_caller]
    fn check_path(path: &[u8], is_possible: bool) {
        let change = add(path, EntryKind::Fifo, &[]);
        assert_eq!(check_possible(&change).is_ok(), is_possible);
    }

    #[track_caller]
    fn check_xattr(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>, is_possible: bool) {
        let change = add(b"a", EntryKind::Directory, &[(name.as_ref(), value.as_ref())]);
        assert_eq!(check_possible(&change).is_ok(), is_possible);
    }

    #[test]
    fn names_have_a_length_and_the_mark_is_ours() {
        let long = [&b"a/"[..], &[b'n'; 255], b"/b"].concat();
        check_path(&long, true);
        check_path(&[&long[..], b"/", &[b'n'; 256]].concat(), false);
        for path in [&b".strata-incomplete"[..], b".strata-incomplete/a"] {
            check_path(path, false);
        }
        for path in [&b"a/.strata-incomplete"[..], b".strata-incomplet"] {
            check_path(path, true);
        }
        assert!(check_possible(&Change::Remove(EntryPath::parse(&[b'n'; 256]).unwrap())).is_ok());
    }

    #[test]
    fn owners_links_and_devices_have_limits() {
        let check = |kind, is_possible| {
            assert_eq!(check_possible(&add(b"a", kind, &[])).is_ok(), is_possible);
        };
        check(EntryKind::Symlink { target: vec![b'a'; 4095] }, true);
        check(EntryKind::Symlink { target: vec![b'a'; 4096] }, false);
        check(EntryKind::CharDevice { major: 0xfff, minor: 0xf_ffff }, true);
        check(EntryKind::CharDevice { major: 0x1000, minor: 0 }, false);
        check(EntryKind::CharDevice { major: 0, minor: 0 }, false);
        check(EntryKind::CharDevice { major: 0, minor: 1 }, true);
        check(EntryKind::BlockDevice { major: 0, minor: 0 }, true);
        check(EntryKind::BlockDevice { major: 0, minor: 0x10_0000 }, false);
        let Change::Add(entry) = add(b"a", EntryKind::Fifo, &[]) else { unreachable!() };
        assert!(impossible(&Entry { uid: u32::MAX, ..entry.clone() }).is_some());
        assert!(impossible(&Entry { gid: u32::MAX - 1, ..entry }).is_none());
    }

    #[test]
    fn attributes_have_lengths_and_spaces() {
        check_xattr("user.a", "", true);
        check_xattr("nobody.knows", "x", true);
        check_xattr("user.", "x", false);
        check_xattr("user.a\0b", "x", false);
        check_xattr([b"user.".to_vec(), vec![b'n'; 250]].concat(), "", true);
        check_xattr([b"user.".to_vec(), vec![b'n'; 251]].concat(), "", false);
        check_xattr("user.a", vec![0; 64 << 10], true);
        check_xattr("user.a", vec![0; (64 << 10) + 1], false);
    }

    #[test]
    fn capabilities_are_of_a_known_version() {
        let capability = |size, revision| {
            let mut value = vec![0; size];
            value[3] = revision;
            value
        };
        for (size, revision, is_possible) in
            [(20, 2, true), (24, 3, true), (12, 1, false), (20, 3, false), (24, 2, false)]
        {
            check_xattr("security.capability", capability(size, revision), is_possible);
        }
        check_xattr("security.capability", [&[1, 1][..], &capability(18, 0)].concat(), false);
        check_xattr("security.capability", "", true);
    }

    /// Tags, permissions and ids.
    fn acl(entries: &[(u8, u8, u32)]) -> Vec<u8> {
        let entry = |&(tag, permissions, id): &(u8, u8, u32)| {
            [vec![tag, 0, permissions, 0], id.to_le_bytes().to_vec()].concat()
        };
        [vec![2, 0, 0, 0], entries.iter().flat_map(entry).collect()].concat()
    }

    #[test]
    fn access_control_lists_are_in_order_and_whole() {
        let name = "system.posix_acl_access";
        let none = u32::MAX;
        let plain = [(1, 7, none), (4, 5, none), (0x20, 0, none)];
        let full =
            [(1, 6, none), (2, 4, 9), (4, 4, none), (8, 4, 9), (0x10, 4, none), (0x20, 0, none)];
        for entries in [&plain[..], &full, &[]] {
            check_xattr(name, acl(entries), true);
        }
        for left_out in 0..full.len() {
            let mut entries = full.to_vec();
            entries.remove(left_out);
            let is_named = matches!(full[left_out].0, 2 | 8);
            check_xattr(name, acl(&entries), is_named);
        }
        for wrong in [
            &[(4, 5, none), (1, 7, none), (0x20, 0, none)][..],
            &[(1, 8, none), (4, 5, none), (0x20, 0, none)],
            &[(1, 7, none), (2, 7, none), (4, 5, none), (0x10, 7, none), (0x20, 0, none)],
            &[(1, 7, none), (3, 7, 1), (4, 5, none), (0x20, 0, none)],
        ] {
            check_xattr(name, acl(wrong), false);
        }
        let whole = acl(&plain);
        check_xattr("system.posix_acl_default", &whole[..whole.len() - 1], false);
        check_xattr(name, "acl", false);
        check_xattr(name, "acl1", true);
    }
}
