//! What a store asks of Linux alone; `elsewhere` does without.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Stat, StatxFlags, makedev, statx, syncfs};
use rustix::time::{ClockId, clock_gettime};

/// Syncs the file system that a file is on.
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    Ok(syncfs(file)?)
}

/// How long ago this system was booted, in whole seconds.
pub(crate) fn uptime() -> Duration {
    Duration::from_secs(clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs())
}

/// The number of the device that a file is on.
pub(crate) fn device(stat: &Stat) -> u64 {
    stat.st_dev
}

/// A directory's device, its inode, and when it was made, as seconds and nanoseconds since 1970, if the file system knows.
pub(crate) type Identity = (u64, u64, Option<(i64, u32)>);

/// The identity of an open directory.
pub(crate) fn identity(dir: impl AsFd) -> io::Result<Identity> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = statx(dir, "", AtFlags::EMPTY_PATH, mask)?;
    let knows_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = knows_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
    Ok((makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino, born))
}
