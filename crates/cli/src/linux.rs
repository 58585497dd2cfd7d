//! What the programs ask of Linux alone; `elsewhere` does without.

use std::fs::File;
use std::io;

use rustix::fs::syncfs;
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The size in bytes that pipes between the programs are given; the most that an ordinary user may ask for.
const PIPE_SIZE: usize = 1 << 20;

/// Makes a pipe hold more, which halves the switches between its two programs; no matter if it can't.
pub(crate) fn grow_pipe(pipe: &File) {
    if fcntl_getpipe_size(pipe).is_ok_and(|size| size < PIPE_SIZE) {
        fcntl_setpipe_size(pipe, PIPE_SIZE).ok();
    }
}

/// Keeps this program's memory out of core files, and from the same user's other programs.
pub(crate) fn hide_memory() {
    // Nothing else depends on it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
}

/// Syncs the file system that a file is on.
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    Ok(syncfs(file)?)
}

/// Copies up to `n` bytes from `position` on into a file, sharing blocks where the file system can.
pub(crate) fn copy_range(
    from: &File,
    position: &mut u64,
    to: &File,
    n: usize,
) -> rustix::io::Result<usize> {
    rustix::fs::copy_file_range(from, Some(position), to, None, n)
}

/// Moves up to `n` bytes from `position` on into a pipe.
pub(crate) fn splice(
    from: &File,
    position: &mut u64,
    to: &File,
    n: usize,
) -> rustix::io::Result<usize> {
    rustix::pipe::splice(from, Some(position), to, None, n, SpliceFlags::empty())
}

/// Sends up to `n` bytes from `position` on into a socket, or whatever takes them.
pub(crate) fn send_file(
    from: &File,
    position: &mut u64,
    to: &File,
    n: usize,
) -> rustix::io::Result<usize> {
    rustix::fs::sendfile(to, from, Some(position), n)
}
