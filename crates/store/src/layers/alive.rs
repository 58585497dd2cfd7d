//! Whether a mounted file system still exists, in whatever mount namespace.
//!
//! The kernel gives every overlay a device number of its own, for as long as anything holds it: a mount in any namespace, one
//! that was detached and still has a program in it, an open file. `ustat` looks for a number among all file systems of
//! the kernel, not among the mounts in sight, and needs neither privilege nor `/proc`. A number that is free is proof; one that
//! is taken isn't, because numbers are given anew.

/// Whether any file system has this device number. `None` if the kernel doesn't tell: newer architectures never had the call,
/// and containers are often forbidden it.
pub(super) fn has_device(device: u64) -> Option<bool> {
    #[cfg(target_arch = "x86_64")]
    return ustat(device);
    #[cfg(not(target_arch = "x86_64"))]
    return {
        let _ = device;
        None
    };
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "no safe wrapper has this call")]
fn ustat(device: u64) -> Option<bool> {
    use rustix::fs::{major, minor};
    // Room for `struct ustat`, which has 32 bytes.
    let mut answer = [0_u64; 8];
    let (major, minor) = (u64::from(major(device)), u64::from(minor(device)));
    // As the kernel writes a device number in 32 bits (new_encode_dev).
    let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    // SAFETY: the call reads the number and writes at most the 32 bytes of `struct ustat` to `answer`, which has 64 and
    // outlives it.
    let result = unsafe { libc::syscall(libc::SYS_ustat, number, answer.as_mut_ptr()) };
    if result == 0 {
        return Some(true);
    }
    let refused = std::io::Error::last_os_error().raw_os_error();
    (refused == Some(libc::EINVAL)).then_some(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_file_system_of_a_file_is_there() {
        let device = std::fs::metadata("/proc/self").unwrap().dev();
        assert_ne!(has_device(device), Some(false));
    }

    #[test]
    fn a_number_that_no_file_system_has_is_never_there() {
        assert_ne!(has_device(rustix::fs::makedev(0, 0xf_ff00)), Some(true));
    }
}
