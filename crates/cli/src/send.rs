//! Sends files without a copy through our memory: the kernel knows a way for every kind of output.
//!
//! | to | by |
//! |---|---|
//! | a regular file, at a block's beginning | `copy_file_range`, which shares blocks where the file system can |
//! | a pipe | `splice` |
//! | a socket and the rest | `sendfile` |
//! | what none of them suits | `read` and `write` |
//!
//! Elsewhere in a regular file no block can be shared, and `read` and `write` cost a fifth less than `copy_file_range`: the
//! kernel copies a page at a time, each into two (measured on ext4; on tmpfs they cost the same).
//!
//! `std::io::copy` was compared, in pieces of 8 MiB of a file of 1.2 GB that is in memory. It doesn't splice a file into a
//! pipe, for a reader would see later changes of the file; blobs never change. Into a pipe it takes 3.4 to 4.8 s, and this
//! 0.3 to 0.6 s; into /dev/null 0.31 and 0.13 s; into a file on ext4, not at a block's beginning, 3.3 to 3.6 s, and all of
//! `save` 1.9 to 2.0 s. And where a non-blocking output isn't ready, it loses what it has read.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::{interrupt, system};

/// How many bytes are asked of the kernel at once: signals are looked for, and progress is told, in between.
const PIECE: u64 = 8 << 20;
/// The size in bytes of the buffer for what must be copied.
const BUFFER: usize = 256 << 10;
/// The size in bytes of a block: no file system that shares blocks has smaller ones.
const BLOCK: u64 = 4096;

/// The system call that brings bytes from a file to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    CopyFileRange,
    Splice,
    Sendfile,
    Copy,
}

impl Method {
    fn to(mut file: &File, kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => match file.stream_position() {
                Ok(position) if position % BLOCK == 0 => Self::CopyFileRange,
                _ => Self::Copy,
            },
            FileType::Fifo => Self::Splice,
            _ => Self::Sendfile,
        }
    }

    /// The method to try when the kernel doesn't know this one between these two files.
    const fn fallback(self) -> Self {
        match self {
            Self::CopyFileRange | Self::Sendfile | Self::Copy => Self::Copy,
            Self::Splice => Self::Sendfile,
        }
    }
}

/// One file on its way into another.
struct Sending<'a> {
    from: &'a File,
    to: &'a File,
    method: Method,
    /// Empty until something must be copied.
    buffer: Vec<u8>,
}

impl Sending<'_> {
    /// Sends up to `n` bytes from `offset` on.
    fn piece(&mut self, offset: u64, n: u64) -> io::Result<u64> {
        let mut to = self.to;
        let mut position = offset;
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let sent = match self.method {
            Method::CopyFileRange => system::copy_range(self.from, &mut position, to, n)?,
            Method::Splice => system::splice(self.from, &mut position, to, n)?,
            Method::Sendfile => system::send_file(self.from, &mut position, to, n)?,
            Method::Copy => {
                self.buffer.resize(BUFFER, 0);
                let read = self.from.read_at(&mut self.buffer[..n.min(BUFFER)], offset)?;
                to.write(&self.buffer[..read])?
            }
        };
        Ok(sent as u64)
    }
}

/// Sends these bytes of `from` to where `to` is; `advance` is told how many bytes more were sent.
///
/// # Errors
/// `UnexpectedEof` if `from` is shorter, [`Interrupted`](interrupt::Interrupted) after a signal, and what the system says.
pub(crate) fn send(
    from: &File,
    to: &File,
    kind: FileType,
    range: Range<u64>,
    advance: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut sending = Sending { from, to, method: Method::to(to, kind), buffer: vec![] };
    let Range { start: mut offset, end } = range;
    while offset < end {
        interrupt::switch().check()?;
        let method = sending.method;
        match sending.piece(offset, (end - offset).min(PIECE)) {
            // Some file systems answer so instead of saying that they don't know the call.
            Ok(0) if method != Method::Copy => sending.method = method.fallback(),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n;
                advance(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that shares the description may have made it non-blocking, as ssh does.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                interrupt::switch().wait_writable(to.as_fd())?;
            }
            Err(error) if method != Method::Copy && is_unsuitable(&error) => {
                sending.method = method.fallback();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_unsuitable(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    matches!(
        number,
        Some(
            Errno::INVAL
                | Errno::NOSYS
                | Errno::XDEV
                | Errno::OPNOTSUPP
                | Errno::PERM
                | Errno::BADF
                | Errno::SPIPE
                | Errno::OVERFLOW
        )
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Seek as _};
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    fn content() -> Vec<u8> {
        (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn every_way_brings_the_same_bytes() {
        let content = content();
        let kinds = [FileType::RegularFile, FileType::Fifo, FileType::Socket, FileType::Unknown];
        let befores = [&b"before"[..], &[7; 8192]];
        for (kind, before) in kinds.into_iter().flat_map(|it| befores.map(|before| (it, before))) {
            let from = file(&content);
            let mut to = file(before);
            to.seek(io::SeekFrom::End(0)).unwrap();
            let mut told = 0;
            let end = content.len() as u64;
            send(&from, &to, kind, 0..5, &mut |n| told += n).unwrap();
            send(&from, &to, kind, 5..end, &mut |n| told += n).unwrap();
            assert_eq!(told, end);
            to.rewind().unwrap();
            let mut found = Vec::new();
            to.read_to_end(&mut found).unwrap();
            assert!(found == [before, &content[..]].concat(), "{kind:?}");
        }
    }

    #[test]
    fn a_pipe_gets_it_too_even_one_that_does_not_block() {
        for is_non_blocking in [false, true] {
            let (mut reader, writer) = io::pipe().unwrap();
            rustix::io::ioctl_fionbio(&writer, is_non_blocking).unwrap();
            let content = content();
            let from = file(&content);
            let reading = thread::spawn(move || {
                let mut found = Vec::new();
                reader.read_to_end(&mut found).unwrap();
                found
            });
            let to = File::from(OwnedFd::from(writer));
            send(&from, &to, FileType::Fifo, 0..content.len() as u64, &mut |_| ()).unwrap();
            drop(to);
            assert!(reading.join().unwrap() == content);
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_noticed() {
        let from = file(b"abc");
        let to = file(b"");
        let error = send(&from, &to, FileType::RegularFile, 0..4, &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_file_of_proc_comes_by_copying() {
        let from = File::open("/proc/self/cmdline").unwrap();
        let size = fs::read("/proc/self/cmdline").unwrap().len() as u64;
        send(&from, &file(b""), FileType::RegularFile, 0..size, &mut |_| ()).unwrap();
    }

    #[test]
    fn only_a_call_that_does_not_fit_is_replaced_by_another() {
        for errno in [
            Errno::INVAL,
            Errno::NOSYS,
            Errno::XDEV,
            Errno::OPNOTSUPP,
            Errno::PERM,
            Errno::BADF,
            Errno::SPIPE,
            Errno::OVERFLOW,
        ] {
            assert!(is_unsuitable(&errno.into()), "{errno}");
        }
        // These may be told once only.
        for errno in [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::PIPE, Errno::FBIG] {
            assert!(!is_unsuitable(&errno.into()), "{errno}");
        }
        assert!(!is_unsuitable(&io::ErrorKind::InvalidInput.into()), "not the system's");
    }

    #[test]
    fn what_a_file_system_copies_none_of_is_read_and_written() {
        // A file of /proc has no size, so that copy_file_range finds nothing to copy to another one.
        let from = File::open("/proc/sys/kernel/ostype").unwrap();
        let to = File::options().write(true).open("/proc/thread-self/comm").unwrap();
        let mut told = 0;
        send(&from, &to, FileType::RegularFile, 0..6, &mut |n| told += n).unwrap();
        assert_eq!(told, 6);
        assert!(fs::read("/proc/thread-self/comm").unwrap().starts_with(b"Linux"));
    }
}
