//! What a store does without on a system that isn't Linux: the same functions as in `linux`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{Stat, fstat};
use rustix::time::{ClockId, clock_gettime};

/// Syncs the file: of what is around it, no more can be asked.
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// How long ago this system was booted, in whole seconds.
pub(crate) fn uptime() -> Duration {
    Duration::from_secs(clock_gettime(ClockId::Monotonic).tv_sec.unsigned_abs())
}

/// The number of the device that a file is on.
pub(crate) fn device(stat: &Stat) -> u64 {
    u64::from(stat.st_dev.cast_unsigned())
}

/// A directory's device and inode; when it was made isn't asked.
pub(crate) type Identity = (u64, u64, Option<(i64, u32)>);

/// The identity of an open directory.
pub(crate) fn identity(dir: impl AsFd) -> io::Result<Identity> {
    let stat = fstat(dir)?;
    Ok((device(&stat), stat.st_ino, None))
}
