//! A file's bytes, from the layer's own buffer to the file. Blocks of zeros become holes (moby#5419): the file is new, so
//! that what isn't written is zero anyway.

use std::io::{BufRead, ErrorKind};
use std::os::fd::BorrowedFd;

use layer_format::layer::EntryPath;
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// What a file that is refused for its size may have before that is the layer's fault: what ext4 takes, 16 TiB.
const LARGEST: u64 = 16 << 40;

/// A block of zeros. One that lies whole, and at a multiple of its size, in what is at hand at once isn't written.
static ZEROS: [u8; BLOCK] = [0; BLOCK];
const BLOCK: usize = 64 << 10;

/// Writes `size` bytes, or the pieces of a sparse file of that size, and says how many were written.
pub(super) fn fill(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    (size, data): (u64, Option<&[(u64, u64)]>),
    content: &mut impl BufRead,
) -> Result<u64, Error> {
    let Some(pieces) = data else {
        if copy(fd, path, (0, size), content)? == Last::Hole {
            set_size(fd, path, size)?;
        }
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
    set_size(fd, path, size)?;
    Ok(written)
}

fn set_size(fd: BorrowedFd<'_>, path: &EntryPath, size: u64) -> Result<(), Error> {
    rustix::fs::ftruncate(fd, size).doing("setting the size").map_err(|failure| {
        match failure.errno() {
            Errno::FBIG if size > LARGEST => too_large(path),
            _ => failure.at(path.clone()),
        }
    })
}

fn too_large(path: &EntryPath) -> Error {
    Error::impossible(path, "it is larger than any file can be")
}

/// What a file's last bytes are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Written,
    /// Not written: the file's size must be set.
    Hole,
}

fn copy(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    (offset, length): (u64, u64),
    content: &mut impl BufRead,
) -> Result<Last, Error> {
    let (mut done, mut last) = (0, Last::Written);
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
        let n_zeros = leading_zeros(piece, offset + done);
        if n_zeros > 0 {
            content.consume(n_zeros);
            done += n_zeros as u64;
            last = Last::Hole;
            continue;
        }
        let piece = &piece[..before_zeros(piece, offset + done)];
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, piece, offset + done))
            .doing("writing its content")
            .map_err(|failure| match failure.errno() {
                Errno::FBIG if offset + done > LARGEST => too_large(path),
                _ => failure.at(path.clone()),
            })?;
        content.consume(written);
        done += written as u64;
        last = Last::Written;
    }
    Ok(last)
}

/// How many bytes at the beginning of a piece, which goes to `offset`, are whole blocks of zeros.
fn leading_zeros(piece: &[u8], offset: u64) -> usize {
    if !offset.is_multiple_of(BLOCK as u64) {
        return 0;
    }
    piece.chunks_exact(BLOCK).take_while(|block| **block == ZEROS[..]).count() * BLOCK
}

/// How many bytes come before the next whole block of zeros that isn't at the beginning.
fn before_zeros(piece: &[u8], offset: u64) -> usize {
    let into = usize::try_from(offset % BLOCK as u64).unwrap_or_default();
    let first = (BLOCK - into).min(piece.len());
    let blocks = piece[first..].chunks_exact(BLOCK);
    let n_blocks = blocks.clone().take_while(|block| **block != ZEROS[..]).count();
    if n_blocks == blocks.len() { piece.len() } else { first + n_blocks * BLOCK }
}
