//! What this process may set on files, and what a file system can hold. It is decided by capabilities and by trying, not by
//! the user id: uid 0 of a container often lacks some capabilities, and that of a user namespace has them only there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{Gid, MemfdFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

/// The inode number of the first user namespace's file in proc, a constant of the kernel (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What this process may set. It doesn't change while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, with yes or no for an answer"
)]
pub(crate) struct Powers {
    /// Whether files can get another owner and still be worked on. The first takes `CHOWN`, the second `DAC_OVERRIDE`,
    /// `FOWNER` and `FSETID`.
    pub(crate) gives_files: bool,
    /// Whether files could get another owner, but could not be worked on then. So no owner is set.
    pub(crate) keeps_files: bool,
    /// Whether the user can't change owners, and isn't root. A stranger's image that names this user as the owner of a setuid
    /// program must not let others become this user.
    pub(crate) is_plain_user: bool,
    /// Whether directories can be entered whatever their modes say (`DAC_OVERRIDE`).
    pub(crate) passes_modes: bool,
    /// Whether device nodes can be made: `MKNOD` in the first user namespace.
    pub(crate) makes_devices: bool,
    /// Whether file capabilities can be set: `SETFCAP`.
    pub(crate) sets_capabilities: bool,
    /// Whether extended attributes can be set at all.
    pub(crate) sets_xattrs: bool,
    /// Whether attributes in `trusted.` can be set and are shown, and those in `security.` that are no capabilities can be set:
    /// `SYS_ADMIN` in the first user namespace.
    pub(crate) is_admin: bool,
}

impl Powers {
    /// What this process may do: what it has the capabilities for, and what also works when it is tried.
    pub(crate) fn of_process() -> Self {
        static FOUND: OnceLock<Powers> = OnceLock::new();
        *FOUND.get_or_init(|| Self::promised().tried(is_first_namespace()))
    }

    /// What this process has the capabilities for.
    pub(crate) fn promised() -> Self {
        static FOUND: OnceLock<Powers> = OnceLock::new();
        *FOUND.get_or_init(|| {
            // Linux answers this since 2.6. Where a filter forbids it, the process counts as a plain user's.
            let all = rustix::thread::capabilities(None).map(|sets| sets.effective);
            let is_root = rustix::process::geteuid().is_root();
            Self::of(all.unwrap_or(CapabilitySet::empty()), is_root, is_first_namespace())
        })
    }

    /// These powers without those that fail when they are tried on a file in memory. A filter of system calls or a security
    /// module may refuse what the capabilities promise, or do nothing and report success.
    fn tried(self, is_first_namespace: bool) -> Self {
        let file = rustix::fs::memfd_create(c"strata", MemfdFlags::CLOEXEC);
        let Ok(file) = file else { return self };
        Self {
            sets_capabilities: self.sets_capabilities && sets(&file, CAPABILITY, &NET_RAW),
            sets_xattrs: sets(&file, "user.strata", b"1"),
            is_admin: self.is_admin && sets(&file, "trusted.strata", b"1"),
            // Another namespace may not know the id.
            gives_files: self.gives_files && (!is_first_namespace || gives(&file)),
            ..self
        }
    }

    fn of(has: CapabilitySet, is_root: bool, is_first_namespace: bool) -> Self {
        let all = |wanted: CapabilitySet| has.contains(wanted);
        let works_on = CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER | CapabilitySet::FSETID;
        Self {
            gives_files: all(CapabilitySet::CHOWN | works_on),
            keeps_files: all(CapabilitySet::CHOWN) && !all(works_on),
            is_plain_user: !all(CapabilitySet::CHOWN | works_on) && !is_root,
            passes_modes: all(CapabilitySet::DAC_OVERRIDE),
            makes_devices: all(CapabilitySet::MKNOD) && is_first_namespace,
            sets_capabilities: all(CapabilitySet::SETFCAP),
            sets_xattrs: true,
            is_admin: all(CapabilitySet::SYS_ADMIN) && is_first_namespace,
        }
    }
}

const CAPABILITY: &str = "security.capability";
/// `CAP_NET_RAW`, as a file has it (linux/capability.h, `vfs_cap_data`).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whether an attribute is there after it was set. If files in memory have no such attributes on this system, it counts as set.
fn sets(file: &OwnedFd, name: &str, value: &[u8]) -> bool {
    match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
        Err(Errno::NOTSUP | Errno::NOSYS) => true,
        Err(_) => false,
        Ok(()) => rustix::fs::fgetxattr(file, name, &mut [0_u8; 64][..]).is_ok(),
    }
}

/// Whether a file has another owner after that was set.
fn gives(file: &OwnedFd) -> bool {
    rustix::fs::fchown(file, Some(Uid::from_raw(1)), Some(Gid::from_raw(1))).is_ok()
        && rustix::fs::fstat(file).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == (1, 1))
}

/// Whether this is the machine's own user namespace. A system without /proc is taken for one without namespaces.
fn is_first_namespace() -> bool {
    rustix::fs::stat(c"/proc/self/ns/user").map_or(true, |stat| stat.st_ino == FIRST_USER_NAMESPACE)
}

/// The types of file systems that may show one owner for all files, or refuse or ignore a change of it (`statfs(2)`). They
/// are network file systems, those of a program (FUSE), and those without owners.
const MADE_UP_OWNERS: [u32; 10] = [
    0x6969,      // NFS
    FUSE,        // virtiofs, too
    0x0102_1997, // 9p
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x517b,      // SMB
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS
    0x00c3_6400, // Ceph
];

/// A FUSE file system may write a file's bytes after its attributes were set (`writeback_cache`). What a writing takes from a
/// file, for example a capability, is lost then.
const FUSE: u32 = 0x6573_5546;

/// Whether the file system may write a file's bytes after the calls that follow.
pub(crate) fn may_write_late(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| is_of_type(&found, FUSE))
}

fn is_of_type(found: &rustix::fs::StatFs, kind: u32) -> bool {
    i128::from(found.f_type) & 0xffff_ffff == i128::from(kind)
}

/// Whether the file system of a directory is one of [`MADE_UP_OWNERS`]. One that can't be asked is taken for another.
pub(crate) fn may_make_up_owners(directory: impl AsFd) -> bool {
    let found = rustix::fs::fstatfs(directory);
    found.is_ok_and(|found| MADE_UP_OWNERS.iter().any(|&kind| is_of_type(&found, kind)))
}

/// The kinds of extended attributes that a file system can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, with yes or no for an answer"
)]
pub(crate) struct Holds {
    pub(crate) user: bool,
    pub(crate) trusted: bool,
    pub(crate) security: bool,
    pub(crate) acls: bool,
}

impl Holds {
    /// Everything.
    pub(crate) const ALL: Self = Self { user: true, trusted: true, security: true, acls: true };

    /// Nothing.
    const NONE: Self = Self { user: false, trusted: false, security: false, acls: false };

    /// Asks the file system of a directory for attributes that need not exist. It answers that they don't, or that it knows no
    /// attributes of that kind. For access control lists the kernel may answer by itself, so a file system that can't list
    /// attributes counts as one without any.
    pub(crate) fn of(directory: impl AsFd) -> Self {
        let listed = rustix::fs::flistxattr(&directory, &mut [0_u8; 0][..]);
        if matches!(listed, Err(Errno::NOTSUP | Errno::NOSYS)) {
            return Self::NONE;
        }
        let knows = |name: &str| {
            let answer = rustix::fs::fgetxattr(&directory, name, &mut [0_u8; 1][..]);
            !matches!(answer, Err(Errno::NOTSUP | Errno::NOSYS))
        };
        Self {
            user: knows("user.strata"),
            trusted: knows("trusted.strata"),
            security: knows("security.capability"),
            acls: knows("system.posix_acl_access"),
        }
    }

    /// Whether an attribute of this name can exist.
    pub(crate) fn may_have(self, name: &[u8]) -> bool {
        match name {
            _ if name.starts_with(b"security.") => self.security,
            _ if name.starts_with(b"user.") => self.user,
            _ if name.starts_with(b"trusted.") => self.trusted,
            _ => self.acls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: [CapabilitySet; 6] = [
        CapabilitySet::CHOWN,
        CapabilitySet::DAC_OVERRIDE,
        CapabilitySet::FOWNER,
        CapabilitySet::FSETID,
        CapabilitySet::MKNOD,
        CapabilitySet::SETFCAP,
    ];

    fn without(missing: CapabilitySet) -> Powers {
        let all = CONTAINER.into_iter().fold(CapabilitySet::empty(), |all, one| all | one);
        Powers::of(all - missing, true, true)
    }

    #[test]
    fn giving_files_away_takes_four_capabilities() {
        assert!(without(CapabilitySet::empty()).gives_files);
        for missing in &CONTAINER[..4] {
            let powers = without(*missing);
            assert!(!powers.gives_files, "{missing:?}");
            assert_eq!(powers.keeps_files, *missing != CapabilitySet::CHOWN, "{missing:?}");
        }
        for irrelevant in &CONTAINER[4..] {
            assert!(without(*irrelevant).gives_files, "{irrelevant:?}");
        }
    }

    #[test]
    fn who_gives_nothing_away_is_a_plain_user_unless_the_name_is_root() {
        for (has, is_root, expected) in [
            (CapabilitySet::all(), false, false),
            (CapabilitySet::all(), true, false),
            (CapabilitySet::empty(), true, false),
            (CapabilitySet::empty(), false, true),
        ] {
            assert_eq!(Powers::of(has, is_root, true).is_plain_user, expected);
        }
    }

    #[test]
    fn devices_and_trusted_attributes_are_for_the_first_namespace() {
        let all = CapabilitySet::all();
        let first = Powers::of(all, true, true);
        assert!(first.makes_devices && first.is_admin && first.sets_capabilities);
        let other = Powers::of(all, true, false);
        assert!(!other.makes_devices && !other.is_admin && other.sets_capabilities);
        assert!(!without(CapabilitySet::MKNOD).makes_devices);
        assert!(!without(CapabilitySet::SETFCAP).sets_capabilities);
        assert!(!without(CapabilitySet::empty()).is_admin);
    }

    #[test]
    fn as_root_trying_finds_no_power_that_was_not_promised() {
        let none = Powers::of(CapabilitySet::empty(), true, true);
        for is_first_namespace in [true, false] {
            let tried = none.tried(is_first_namespace);
            assert!(!tried.gives_files && !tried.sets_capabilities && !tried.is_admin);
        }
    }
}
