//! Writes a file's bytes, from the layer's own buffer to the file. Blocks of zeros become holes (moby#5419), since the file is
//! new and what isn't written is zero.

use std::io::{BufRead, ErrorKind};
use std::os::fd::BorrowedFd;

use layer_format::layer::EntryPath;
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// The size of a file, in bytes, beyond which the layer is to blame if the system refuses it: what ext4 takes, 16 TiB.
const LARGEST: u64 = 16 << 40;

/// The number of zeros in a row, in bytes, that are not written.
const BLOCK: usize = 64 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The size of a file, and where its bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileShape<'a> {
    /// In bytes, holes included.
    pub(super) size: u64,
    /// The offset and the length of each piece of a sparse file, in order; `None` for one without holes.
    pub(super) pieces: Option<&'a [(u64, u64)]>,
}

/// Writes the bytes of a file. The result is their number.
pub(super) fn fill(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    shape: FileShape<'_>,
    content: &mut impl BufRead,
) -> Result<u64, Error> {
    let size = shape.size;
    let Some(pieces) = shape.pieces else {
        if copy(fd, path, 0, size, content)? == Last::Hole {
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
        copy(fd, path, offset, length, content)?;
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

/// What became of the last bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Written,
    /// They are zeros that were not written, so that the file's size must be set.
    Hole,
}

/// Copies `length` bytes to `offset` of the file.
fn copy(
    fd: BorrowedFd<'_>,
    path: &EntryPath,
    offset: u64,
    length: u64,
    content: &mut impl BufRead,
) -> Result<Last, Error> {
    let mut done = 0;
    // The number of zeros before `done` that aren't written yet. They become a hole if there are enough of them.
    let mut n_zeros = 0_u64;
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
        let (zero, n) = run(piece, offset + done);
        if zero {
            n_zeros += n as u64;
        } else {
            write_zeros(fd, path, offset + done, n_zeros)?;
            n_zeros = 0;
            write(fd, path, offset + done, &piece[..n])?;
        }
        content.consume(n);
        done += n as u64;
    }
    write_zeros(fd, path, offset + done, n_zeros)?;
    Ok(if n_zeros < BLOCK as u64 { Last::Written } else { Last::Hole })
}

/// Whether the bytes for `offset` begin with zeros, and the length of that run, or of the run of others. They are looked at in
/// blocks, of which the first and the last may be cut.
fn run(piece: &[u8], offset: u64) -> (bool, usize) {
    let into = usize::try_from(offset % BLOCK as u64).unwrap_or_default();
    let (first, rest) = piece.split_at((BLOCK - into).min(piece.len()));
    let is_zero = |block: &[u8]| *block == ZEROS[..block.len()];
    let zero = is_zero(first);
    let more = rest.chunks(BLOCK).take_while(|block| is_zero(block) == zero);
    (zero, first.len() + more.map(<[u8]>::len).sum::<usize>())
}

/// Writes the zeros before `end`, unless there are so many that they become a hole.
fn write_zeros(fd: BorrowedFd<'_>, path: &EntryPath, end: u64, n_zeros: u64) -> Result<(), Error> {
    match usize::try_from(n_zeros) {
        Ok(n) if n < BLOCK => write(fd, path, end - n_zeros, &ZEROS[..n]),
        _ => Ok(()),
    }
}

fn write(fd: BorrowedFd<'_>, path: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done as u64;
        done += rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, &bytes[done..], at))
            .doing("writing its content")
            .map_err(|failure| match failure.errno() {
                Errno::FBIG if at > LARGEST => too_large(path),
                _ => failure.at(path.clone()),
            })?;
    }
    Ok(())
}
