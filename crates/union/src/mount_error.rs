//! What to do about a kernel that refuses to mount.

use std::io;

use cli::Failure;
use rustix::io::Errno;

/// Adds a hint to an error of mounting or unmounting, if there is something to do about it.
pub(crate) fn explain(error: rootfs::Error) -> anyhow::Error {
    let (rootfs::Error::Mount { source, .. } | rootfs::Error::Unmount { source }) = &error else {
        return error.into();
    };
    match hint(source) {
        Some(hint) => Failure::from_cause(error).hint(hint).into(),
        None => error.into(),
    }
}

/// The error of a call that mounts something else than layers.
pub(crate) fn of_call(errno: Errno) -> anyhow::Error {
    let error = io::Error::from(errno);
    match hint(&error) {
        Some(hint) => Failure::from_cause(error).hint(hint).into(),
        None => error.into(),
    }
}

fn hint(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::NODEV => "this kernel has no overlayfs: modprobe overlay",
        Errno::PERM => "that takes root, or a user namespace on Linux 5.11 or later",
        Errno::BUSY => "a program is still in it: fuser -vm DIR tells which",
        _ => return None,
    })
}
