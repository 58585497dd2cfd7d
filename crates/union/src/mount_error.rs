//! What to do about a kernel that refuses to mount.

use cli::Failure;
use rustix::io::Errno;

/// Adds a hint to an error of mounting or unmounting, if there is something to do about it.
pub(crate) fn explain(error: rootfs::Error) -> anyhow::Error {
    let (rootfs::Error::Mount { source, .. } | rootfs::Error::Unmount { source }) = &error else {
        return error.into();
    };
    let hint = match Errno::from_io_error(source) {
        Some(Errno::NODEV) => "this kernel has no overlayfs: modprobe overlay",
        Some(Errno::PERM) => "that takes root, or a user namespace on Linux 5.11 or later",
        Some(Errno::BUSY) => "a program is still in it: fuser -vm DIR tells which",
        _ => return error.into(),
    };
    Failure::from_cause(error).hint(hint).into()
}
