//! What the caller of a scan decides.

use super::known::Known;

/// How a tree is scanned.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Tells which paths are left out, with all below them.
    pub leave_out: Option<LeaveOut<'a>>,
    /// What to do about other file systems that are mounted in the tree.
    pub mounts: Mounts,
    /// An earlier record of the tree, if entries that are the same as there are to be left out.
    pub known: Option<&'a Known<'a>>,
    /// Called often. The scan ends with an error once it is true.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Whether a path is left out. The second argument is whether it is a directory.
pub type LeaveOut<'a> = &'a (dyn Fn(&[u8], bool) -> bool + Sync);

impl std::fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanOptions").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

/// What a scan does about file systems that are mounted in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// They are part of the tree, except for those that keep no files, for example proc, sysfs and the machine's /dev.
    Enter,
    /// They are not looked at, and neither are directories and files of the same file system that are mounted there. What a
    /// mount hides counts as unchanged.
    Pass,
}
