//! What is mounted in a tree, and whether it keeps files at all.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::CWD;

use crate::overlay::{MountPoint, mount_points};
use crate::root::{self, magic_link};

/// The magic numbers of file systems that show the kernel's or a daemon's state and keep no files: autofs, binderfs,
/// `binfmt_misc`, bpf, cgroup, cgroup2, configfs, debugfs, devpts, efivarfs, fusectl, mqueue, nfsd, nsfs, proc, pstore,
/// resctrl, `rpc_pipefs`, securityfs, selinuxfs, smackfs, sysfs, tracefs and xenfs.
const PSEUDO: [u64; 24] = [
    0x0187,
    0x6c6f_6f70,
    0x4249_4e4d,
    0xcafe_4a11,
    0x0027_e0eb,
    0x6367_7270,
    0x6265_6570,
    0x6462_6720,
    0x1cd1,
    0xde5e_81e4,
    0x6573_5543,
    0x1980_0202,
    0x6e66_7364,
    0x6e73_6673,
    0x9fa0,
    0x6165_676c,
    0x0765_5821,
    0x6759_6969,
    0x7363_6673,
    0xf97c_ff8c,
    0x4341_5d53,
    0x6265_6572,
    0x7472_6163,
    0xabba_1974,
];

/// The mounts beneath the root of a scan. The kernel's list of them is read when it is first needed.
#[derive(Debug)]
pub(super) struct MountTable<'a> {
    root: BorrowedFd<'a>,
    listed: OnceLock<Option<Listed>>,
    passed: Mutex<Vec<Vec<u8>>>,
}

/// The kernel's list of mounts, and the root's path in it.
#[derive(Debug)]
struct Listed {
    root: PathBuf,
    places: Vec<MountPoint>,
}

impl<'a> MountTable<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, listed: OnceLock::new(), passed: Mutex::default() }
    }

    /// One whose list can't be read.
    #[cfg(test)]
    pub(super) fn unreadable(root: BorrowedFd<'a>) -> Self {
        Self { listed: OnceLock::from(None), ..Self::new(root) }
    }

    /// Whether something is mounted on `path` beneath the root. `None` if the list can't be read.
    pub(super) fn has(&self, path: &[u8]) -> Option<bool> {
        self.listed().map(|listed| listed.has(path))
    }

    /// Whether `name`, the root of a mount, is that of a file system that keeps no files.
    pub(super) fn is_pseudo(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        device: (u32, u32),
    ) -> bool {
        let is_listed = |magic: u64| PSEUDO.contains(&magic);
        let held = root::hold(directory, name);
        let magic = held.and_then(rustix::fs::fstatfs).ok();
        // The type of this field depends on the machine.
        let magic = magic.and_then(|stat| u64::try_from(stat.f_type).ok());
        magic.is_some_and(is_listed) || self.is_devtmpfs(device)
    }

    /// The machine's own /dev has the magic number of a tmpfs.
    fn is_devtmpfs(&self, device: (u32, u32)) -> bool {
        let is_it = |place: &MountPoint| place.device == device && place.kind == b"devtmpfs";
        self.listed().is_some_and(|listed| listed.places.iter().any(is_it))
    }

    /// Notes a path at which the mount isn't looked at.
    pub(super) fn pass(&self, path: Vec<u8>) {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    /// The paths that were noted, sorted.
    pub(super) fn into_passed(self) -> Vec<Vec<u8>> {
        let mut passed = self.passed.into_inner().unwrap_or_else(PoisonError::into_inner);
        passed.sort_unstable();
        passed
    }

    fn listed(&self) -> Option<&Listed> {
        let read = || {
            let root = rustix::fs::readlinkat(CWD, magic_link(self.root.as_fd()), Vec::new());
            let root = std::ffi::OsString::from(root.ok()?.to_str().ok()?).into();
            Some(Listed { root, places: mount_points().ok()? })
        };
        self.listed.get_or_init(read).as_ref()
    }
}

impl Listed {
    fn has(&self, path: &[u8]) -> bool {
        let beneath = |place: &MountPoint| {
            let rest = place.point.strip_prefix(&self.root).map(Path::as_os_str);
            rest.is_ok_and(|rest| rest.as_encoded_bytes() == path)
        };
        self.places.iter().any(beneath)
    }
}
