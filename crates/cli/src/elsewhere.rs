//! What the programs do without on a system that isn't Linux: the same functions as in `linux`.

use std::fs::File;
use std::io;

use rustix::io::Errno;

/// A pipe stays as it is.
pub(crate) fn grow_pipe(_: &File) {}

/// No call for it is known.
pub(crate) fn hide_memory() {}

/// Syncs the file: of what is around it, no more can be asked.
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// There is no such call, so the bytes are read and written.
pub(crate) fn copy_range(_: &File, _: &mut u64, _: &File, _: usize) -> rustix::io::Result<usize> {
    Err(Errno::NOSYS)
}

/// There is no such call, so the bytes are read and written.
pub(crate) fn splice(_: &File, _: &mut u64, _: &File, _: usize) -> rustix::io::Result<usize> {
    Err(Errno::NOSYS)
}

/// There is no such call into a pipe, so the bytes are read and written.
pub(crate) fn send_file(_: &File, _: &mut u64, _: &File, _: usize) -> rustix::io::Result<usize> {
    Err(Errno::NOSYS)
}
