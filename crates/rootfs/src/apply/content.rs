//! A file's bytes, from the layer's own buffer to the file.

use std::io::{BufRead, ErrorKind};
use std::os::fd::BorrowedFd;

use layer_format::layer::EntryPath;
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// What a file that is refused for its size may have before that is the layer's fault: what ext4 takes, 16 TiB.
const LARGEST: u64 = 16 << 40;

/// Writes `size` bytes, or the pieces of a sparse file of that size, and says how many were written.
pub(super) fn fill(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    (size, data): (u64, Option<&[(u64, u64)]>),
    content: &mut impl BufRead,
) -> Result<u64, Error> {
    let Some(pieces) = data else {
        copy(fd, path, (0, size), content)?;
        return Ok(size);
    };
    if i64::try_from(size).is_err() {
        return Err(too_large(path));
    }
    let mut written = 0;
    for &(offset, length) in pieces {
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::impossible(path, "its data lies beyond its end"));
        }
        copy(fd, path, (offset, length), content)?;
        written += length;
    }
    rustix::fs::ftruncate(fd, size).doing("setting the size").map_err(|failure| {
        match failure.errno() {
            Errno::FBIG if size > LARGEST => too_large(path),
            _ => failure.at(path.clone()),
        }
    })?;
    Ok(written)
}

fn too_large(path: &EntryPath) -> Error {
    Error::impossible(path, "it is larger than any file can be")
}

fn copy(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    (offset, length): (u64, u64),
    content: &mut impl BufRead,
) -> Result<(), Error> {
    let mut done = 0;
    while done < length {
        let piece = match content.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Content { path: path.clone(), source }),
        };
        if piece.is_empty() {
            return Err(Error::impossible(path, "its content is shorter than its size"));
        }
        let piece = &piece[..piece.len().min(usize::try_from(length - done).unwrap_or(usize::MAX))];
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, piece, offset + done))
            .doing("writing its content")
            .map_err(|failure| match failure.errno() {
                Errno::FBIG if offset + done > LARGEST => too_large(path),
                _ => failure.at(path.clone()),
            })?;
        content.consume(written);
        done += written as u64;
    }
    Ok(())
}
